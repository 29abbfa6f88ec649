// A person's word: a dialog that asks why, shows what would change, and sends it only then.

import { $, attr, h, text } from './dom.js';
import { NO_TOKEN, call, me, signIn } from './api.js';
import { entered, open } from './dialogs.js';

/** The fields of one dialog, by the beginning of their ids. */
function form(prefix) {
  const part = (name) => $(`${prefix}-${name}`);
  return {
    part,
    say(words) {
      text(part('error'), words);
      part('error').hidden = !words;
    },
    /** The reason and the token as they were typed; null when one is missing, and says so. */
    read(plain = false) {
      const reason = part('reason').value.trim();
      const token = me.token || part('token').value.trim();
      if (!reason && !plain) { this.say('Say why: it is kept with the command.'); part('reason').focus(); return null; }
      if (!token) { this.say(NO_TOKEN); part('token').focus(); return null; }
      return { reason, token };
    },
    clear() {
      part('token-row').hidden = me.token !== '';
      part('reason').value = '';
      part('reason').disabled = false;
      this.say('');
    },
    /** Sends it; takes the token over once the gateway has accepted it. */
    async send(path, body, token, method = 'POST') {
      part('go').disabled = true;
      const answer = await call(path, { method, body: method === 'DELETE' ? undefined : body, token });
      part('go').disabled = false;
      // 401 is the only answer that says that the token is not known.
      if (answer.status !== 401 && answer.status !== 0 && !me.token) {
        await signIn(token);
        part('token').value = '';
      }
      part('token-row').hidden = me.token !== '';
      if (answer.status === 401) this.say(`${answer.error} ${NO_TOKEN}`);
      return answer;
    },
  };
}

let ask = null;
let current = null;
/** What is sent in the second step: the first one's answer is in it. */
let confirmed = null;

/**
 * Opens the dialog: `{title, go, danger, role, path, method, body, effect(problem) → [[name, value]…], note, plain, done(answer)}`.
 * A plain one takes no reason.
 */
export function command(asked) {
  current = asked;
  confirmed = null;
  text($('ask-title'), asked.title);
  text($('ask-go'), asked.go);
  $('ask-go').className = asked.danger ? 'button danger' : 'button main';
  $('ask-effect').replaceChildren();
  text($('ask-note'), asked.note ?? '');
  text($('ask-token-name'), `Token (role ${asked.role ?? 'operator'})`);
  $('ask-reason-row').hidden = asked.plain === true;
  ask.clear();
  open($('ask-dialog'), !asked.plain ? $('ask-reason') : me.token ? $('ask-go') : $('ask-token'));
}

async function go() {
  const told = ask.read(current.plain);
  if (!told) return;
  const { path, body, done, method } = current;
  const answer = await ask.send(path, { ...body, reason: told.reason, ...confirmed }, told.token, method);
  if (answer.ok) {
    $('ask-dialog').close();
    done?.(answer.data);
  } else if (answer.status === 428 && !confirmed) confirm(answer.data ?? {});
  else if (answer.status !== 401) ask.say(answer.error);
}

/** The second step: what would change is shown, and holds for the state that it was derived from. */
function confirm(problem) {
  confirmed = { confirm: true, ...(problem.revision === undefined ? {} : { revision: problem.revision }) };
  const rows = current.effect?.(problem) ?? [['Effect', problem.detail ?? '–']];
  $('ask-effect').replaceChildren(...rows.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
  $('ask-reason').disabled = true;
  text($('ask-go'), `Yes, ${current.go.toLowerCase()}`);
  ask.say('');
  $('ask-go').focus();
}

/** The kill switch: one step, for whoever is in a hurry. */
function killSwitch(isOn) {
  const kill = form('kill');
  let turnOn = true;
  $('kill').addEventListener('click', () => {
    turnOn = !isOn();
    text($('kill-title'), turnOn ? 'Stop every new order' : 'Let orders pass again');
    text($('kill-go'), turnOn ? 'Switch on' : 'Switch off');
    $('kill-go').className = turnOn ? 'button danger' : 'button main';
    $('kill-cancel-row').hidden = !turnOn;
    kill.clear();
    open($('kill-dialog'), $('kill-reason'));
  });
  const go = async () => {
    const told = kill.read();
    if (!told) return;
    const body = { on: turnOn, cancelOpen: turnOn && $('kill-cancel').checked, reason: told.reason };
    const answer = await kill.send('/api/exec/kill-switch', body, told.token);
    if (answer.ok) $('kill-dialog').close();
    else if (answer.status === 0) kill.say(`${answer.error} From a shell: spark kill on --reason …`);
    else if (answer.status !== 401) kill.say(answer.error);
  };
  $('kill-go').addEventListener('click', go);
  entered($('kill-dialog'), go);
}

export function start(isOn) {
  ask = form('ask');
  $('ask-go').addEventListener('click', go);
  entered($('ask-dialog'), go);
  $('ask-dialog').addEventListener('close', () => { attr($('ask-go'), 'disabled', null); });
  killSwitch(isOn);
}

export { form };
