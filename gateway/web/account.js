// Signing in: the token, kept for as long as the tab is open.

import { $, attr, text } from './dom.js';
import { NO_TOKEN, forget, me, onidentity, signIn } from './api.js';
import { entered, open } from './dialogs.js';

let needed = false;

/** `onchange` is called after the token has changed: what is read with it must be read again. */
export function start(onchange) {
  $('account').addEventListener('click', () => show());
  const go = async () => {
    const token = $('sign-token').value.trim();
    if (!token) { say(NO_TOKEN); $('sign-token').focus(); return; }
    $('sign-go').disabled = true;
    const wrong = await signIn(token);
    $('sign-go').disabled = false;
    say(wrong);
    if (wrong) { $('sign-token').select(); return; }
    $('sign-token').value = '';
    needed = false;
    $('sign-dialog').close();
    onchange();
  };
  $('sign-go').addEventListener('click', go);
  entered($('sign-dialog'), go);
  $('sign-forget').addEventListener('click', async () => {
    await forget();
    // What only a token may read does not stay on the screen.
    if (me.reading === 'token') { location.reload(); return; }
    $('sign-dialog').close();
    onchange();
  });
  onidentity(draw);
  draw();
}

function say(words) {
  text($('sign-error'), words);
  $('sign-error').hidden = !words;
}

/** Opens the form; `why` says why it opens by itself. */
export function show(why = '') {
  if (why) needed = true;
  draw();
  say(why && me.token ? `${why} The token that was kept is not accepted any more.` : why);
  open($('sign-dialog'), $('sign-token'));
}

function draw() {
  const known = me.token !== '';
  text($('account'), known ? me.name ?? 'Signed in' : 'Sign in');
  attr($('account'), 'title', known ? `Role: ${me.role ?? 'not known'}` : 'Commands need a token');
  text($('sign-state'), known
    ? `Signed in${me.name ? ` as ${me.name}` : ''}${me.role ? `, role ${me.role}` : ''}.`
    : needed || me.reading === 'token' ? 'Reading needs a token here.' : 'Reading is open. Commands need a token.');
  $('sign-forget').hidden = !known;
}
