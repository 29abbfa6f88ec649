// The operator's word: a dialog that asks why, shows what would change, and sends it only then.

import { $, h, text } from './dom.js';

/** The operator's token, for as long as the page is open. It is kept nowhere else. */
export const operator = { token: '' };

export const NO_TOKEN = 'The operator\'s token is needed. `spark up` keeps it in <data>/keys/operator.token.';
export const WRONG_TOKEN = 'This is not the operator\'s token. `spark up` keeps it in <data>/keys/operator.token.';

/** What a problem document says, in one line. */
export const problemText = (status, problem) => [problem.title ?? `answer ${status}`, problem.detail, problem.fix].filter(Boolean).join('. ');

let current = null;
/** What is sent in the second step: the first one's answer is in it. */
let confirmed = null;

/** Opens the dialog: `{title, go, danger, path, body, effect(problem) → [[name, value]…]}`. */
export function ask(command) {
  current = command;
  confirmed = null;
  text($('ask-title'), command.title);
  text($('ask-go'), command.go);
  $('ask-go').className = command.danger ? 'button danger' : 'button';
  $('ask-token-row').hidden = operator.token !== '';
  $('ask-reason').value = '';
  $('ask-reason').disabled = false;
  $('ask-effect').replaceChildren();
  say('');
  $('ask-dialog').showModal();
  $('ask-reason').focus();
}

function say(message) {
  text($('ask-error'), message);
  $('ask-error').hidden = !message;
}

async function go() {
  const reason = $('ask-reason').value.trim();
  const offered = operator.token || $('ask-token').value.trim();
  if (!reason) { say('Say why: it is kept with the command.'); $('ask-reason').focus(); return; }
  if (!offered) { say(NO_TOKEN); $('ask-token').focus(); return; }
  $('ask-go').disabled = true;
  try {
    const answer = await fetch(current.path, {
      method: 'POST',
      headers: { Authorization: `Bearer ${offered}`, 'Content-Type': 'application/json' },
      body: JSON.stringify({ ...current.body, reason, ...confirmed }),
    });
    const told = await answer.json().catch(() => ({}));
    if (answer.ok) {
      operator.token = offered;
      $('ask-token').value = '';
      $('ask-dialog').close();
      return;
    }
    if (answer.status === 401) {
      operator.token = '';
      $('ask-token-row').hidden = false;
      say(WRONG_TOKEN);
      return;
    }
    if (answer.status === 428 && !confirmed) {
      operator.token = offered;
      confirm(told);
      return;
    }
    say(problemText(answer.status, told));
  } catch {
    say('The gateway does not answer.');
  } finally {
    $('ask-go').disabled = false;
  }
}

/** The second step: what would change is shown, and holds for the state that it was derived from. */
function confirm(problem) {
  confirmed = { confirm: true, ...(problem.revision === undefined ? {} : { revision: problem.revision }) };
  const rows = current.effect ? current.effect(problem) : [];
  $('ask-effect').replaceChildren(...rows.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
  $('ask-reason').disabled = true;
  $('ask-token-row').hidden = true;
  text($('ask-go'), `Yes, ${current.go.toLowerCase()}`);
  say('');
  $('ask-go').focus();
}

export function start() {
  $('ask-no').addEventListener('click', () => $('ask-dialog').close());
  $('ask-go').addEventListener('click', go);
  $('ask-dialog').addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && event.target.tagName === 'INPUT') { event.preventDefault(); go(); }
  });
}
