// What may trade: kill switch, halts, reconciliation, strategies, what was done last.

import { $, h, text } from './dom.js';
import * as format from './format.js';
import { NO_TOKEN, WRONG_TOKEN, operator, problemText } from './operator.js';

const ACTIONS_SHOWN = 22;
const NAMES = { positions: 'positions', open_orders: 'open orders', average_price: 'average price', profit_and_loss: 'profit and loss' };
let drawn = '';

export function draw(guard, now) {
  const on = guard?.killSwitch?.on ?? false;
  const button = $('kill');
  text(button, on ? 'Switch off…' : 'Kill switch…');
  button.className = on ? 'button' : 'button danger';
  button.disabled = !guard;
  document.body.classList.toggle('killed', on);
  drawStopped(guard, on);
  // Redrawn only when something changed, ages apart: an open list must not close every second.
  const key = JSON.stringify([guard?.killSwitch?.sequence, guard?.halts, guard?.reconciliations.map((row) => row.sequence), guard?.strategies.map((row) => row.sequence), guard?.actions[0]?.sequence]);
  if (guard && key !== drawn) {
    drawn = key;
    $('guard').replaceChildren(...state(guard, on), ...reconciliations(guard), ...strategies(guard));
    $('actions').replaceChildren(...actions(guard));
  }
  for (const age of $('guard').querySelectorAll('[data-at]')) text(age, `${format.age(now - Number(age.dataset.at))} ago`);
}

function drawStopped(guard, on) {
  const lines = [];
  if (on) lines.push(`Kill switch is on: no new order is sent${guard.killSwitch.cancelOpen ? ', open ones are cancelled' : ''}. ${guard.killSwitch.actor}: ${guard.killSwitch.reason}`);
  for (const halt of guard?.halts ?? []) lines.push(`Trading is halted (${halt.scope === 'ledger' ? 'everywhere' : format.title(halt.scope)}): ${halt.reason}. ${halt.advice}`);
  const panel = $('stopped');
  panel.hidden = !lines.length;
  if (panel.dataset.key !== lines.join('\n')) {
    panel.dataset.key = lines.join('\n');
    panel.replaceChildren(...lines.map((line) => h('p', {}, line)));
  }
}

function state(guard, on) {
  const switched = guard.killSwitch;
  const line = (tone, word, ...rest) => h('p', { class: 'line' }, h('span', { class: `tag ${tone}` }, word), ...rest);
  const lines = [on
    ? line('bad', 'kill switch on', ' ', h('span', { class: 'dim', 'data-at': switched.atMs }))
    : line('good', 'orders may pass', switched ? h('span', { class: 'dim' }, ` kill switch off since ${format.clock(switched.atMs)}, ${switched.actor}: ${switched.reason}`) : '')];
  if (!guard.complete) lines.push(line('warn', 'reading the ledger', h('span', { class: 'dim' }, ' what is shown is not complete yet')));
  return lines;
}

function reconciliations(guard) {
  if (!guard.reconciliations.length) return [h('p', { class: 'empty' }, 'Ledger and exchanges have not been compared yet.')];
  return guard.reconciliations.map((row) => {
    const wrong = row.invariants.filter((invariant) => !invariant.holds);
    const word = row.halted ? 'halted' : wrong.length ? 'differs' : 'agrees';
    const details = [...wrong.map((invariant) => `${NAMES[invariant.name] ?? invariant.name}: ${invariant.detail}`), ...(row.orphans.length ? [`orders nobody placed: ${row.orphans.join(', ')}`] : [])];
    return h('div', { class: 'line' },
      h('span', { class: `tag ${row.halted ? 'bad' : wrong.length ? 'warn' : 'good'}` }, `${format.title(row.exchange)} ${word}`),
      h('span', { class: 'dim' }, ` with the ledger in ${row.invariants.length - wrong.length} of ${row.invariants.length}, ${row.mode}, `), h('span', { class: 'dim', 'data-at': row.atMs }),
      ...details.map((detail) => h('div', { class: 'small bad' }, detail)));
  });
}

function strategies(guard) {
  return guard.strategies.map((row) => h('p', { class: 'line' },
    h('span', { class: `tag ${row.run ? 'good' : 'dim'}` }, `${row.strategy} ${row.run ? 'runs' : 'stopped'}`),
    h('span', { class: 'dim' }, ` ${row.actor}: ${row.reason}`)));
}

function actions(guard) {
  if (!guard.actions.length) return [h('p', { class: 'empty' }, 'Nothing was done yet.')];
  return [h('ul', { class: 'log actions' }, guard.actions.slice(0, ACTIONS_SHOWN).map((action) => h('li', {},
    h('span', { class: 'dim num' }, format.clock(action.atMs)),
    h('span', { class: action.action.startsWith('control') ? 'warn' : action.action === 'audit.damage' ? 'bad' : 'dim' }, action.action.replace('_', ' ')),
    h('span', { class: 'clip', title: `${action.actor}: ${action.summary}` }, action.summary))))];
}

/** The dialog: a reason, the token once, and for switching on whether open orders go too. */
export function start(isOn) {
  const dialog = $('kill-dialog');
  const say = (message) => { text($('kill-error'), message); $('kill-error').hidden = !message; };
  let turnOn = true;
  $('kill').addEventListener('click', () => {
    turnOn = !isOn();
    text($('kill-title'), turnOn ? 'Stop every new order' : 'Let orders pass again');
    text($('kill-go'), turnOn ? 'Switch on' : 'Switch off');
    $('kill-go').className = turnOn ? 'button danger' : 'button';
    $('kill-cancel-row').hidden = !turnOn;
    $('kill-token-row').hidden = operator.token !== '';
    $('kill-reason').value = '';
    say('');
    dialog.showModal();
    $('kill-reason').focus();
  });
  $('kill-no').addEventListener('click', () => dialog.close());
  const go = async () => {
    const reason = $('kill-reason').value.trim();
    const offered = operator.token || $('kill-token').value.trim();
    if (!reason) { say('Say why: it is kept with the command.'); $('kill-reason').focus(); return; }
    if (!offered) { say(NO_TOKEN); $('kill-token').focus(); return; }
    $('kill-go').disabled = true;
    try {
      const answer = await fetch('/api/exec/kill-switch', {
        method: 'POST',
        headers: { Authorization: `Bearer ${offered}`, 'Content-Type': 'application/json' },
        body: JSON.stringify({ on: turnOn, cancelOpen: turnOn && $('kill-cancel').checked, reason }),
      });
      if (answer.ok) {
        operator.token = offered;
        $('kill-token').value = '';
        dialog.close();
        return;
      }
      const problem = await answer.json().catch(() => ({}));
      if (answer.status === 401) {
        operator.token = '';
        $('kill-token-row').hidden = false;
        say(WRONG_TOKEN);
        return;
      }
      say(problemText(answer.status, problem));
    } catch {
      say('The gateway does not answer. From a shell: spark kill on --reason …');
    } finally {
      $('kill-go').disabled = false;
    }
  };
  $('kill-go').addEventListener('click', go);
  dialog.addEventListener('keydown', (event) => { if (event.key === 'Enter' && event.target.tagName === 'INPUT') { event.preventDefault(); go(); } });
}
