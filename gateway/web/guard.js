// What may trade: kill switch, halts, reconciliation, strategies, and what was done last.

import { $, h, swap, tag, text } from './dom.js';
import { gate } from './api.js';
import { command } from './command.js';
import * as format from './format.js';

const ACTIONS_ROOM = 9;
const ACTIONS_MAX = 60;
const NAMES = { positions: 'positions', open_orders: 'open orders', average_price: 'average price', profit_and_loss: 'profit and loss' };
let all = false;

export function start(redraw) {
  $('actions-more').addEventListener('click', () => { all = !all; redraw(); });
}

export const isKilled = (guard) => guard?.killSwitch?.on ?? false;

/** What has stopped trading, in lines for the top of the page. */
export function stopped(guard) {
  const lines = [];
  if (isKilled(guard)) lines.push(`Kill switch is on: no new order is sent${guard.killSwitch.cancelOpen ? ', open ones are cancelled' : ''}. ${guard.killSwitch.actor}: ${guard.killSwitch.reason}`);
  for (const halt of guard?.halts ?? []) lines.push(`Trading is halted (${halt.scope === 'ledger' ? 'everywhere' : format.title(halt.scope)}): ${halt.reason}. ${halt.advice}`);
  return lines;
}

export function draw({ guard }, now) {
  const on = isKilled(guard);
  text($('kill'), on ? 'Switch off…' : 'Kill switch…');
  $('kill').className = on ? 'button' : 'button danger';
  gate($('kill'), 'operator', guard ? '' : 'The state of the kill switch is not known yet.');
  document.body.classList.toggle('killed', on);
  if (!guard) return { state: 'loading' };
  // Redrawn only when something changed, ages apart.
  const key = JSON.stringify([guard.complete, guard.killSwitch?.sequence, guard.halts, guard.reconciliations.map((row) => row.sequence), guard.strategies.map((row) => row.sequence), guard.limits.sequence]);
  swap($('guard'), key, () => [...state(guard, on), ...halts(guard), ...reconciliations(guard), ...strategies(guard), limits(guard.limits)]);
  for (const age of $('guard').querySelectorAll('[data-at]')) text(age, `${format.age(Math.max(0, now - Number(age.dataset.at)))} ago`);
  return { state: 'live' };
}

function state(guard, on) {
  const switched = guard.killSwitch;
  const line = (tone, word, ...rest) => h('p', { class: 'line' }, tag(tone, word), ...rest);
  const lines = [on
    ? line('bad', 'kill switch on', ' ', h('span', { class: 'dim', 'data-at': switched.atMs }))
    : line('good', 'orders may pass', switched ? h('span', { class: 'dim' }, ` kill switch off since ${format.clock(switched.atMs)}, ${switched.actor}: ${switched.reason}`) : null)];
  if (!guard.complete) lines.push(line('warn', 'reading the ledger', h('span', { class: 'dim' }, ' what is shown is not complete yet')));
  return lines;
}

function halts(guard) {
  return guard.halts.map((halt) => h('div', { class: 'banner' },
    h('p', {}, `Halted ${halt.scope === 'ledger' ? 'everywhere' : `at ${format.title(halt.scope)}`}: ${halt.reason}. ${halt.advice}`),
    gate(h('button', { type: 'button', class: 'button small', 'data-resume': halt.scope, onclick: () => resume(halt) }, 'Resume…'), 'admin')));
}

function resume(halt) {
  command({ title: `Resume trading (${halt.scope === 'ledger' ? 'everywhere' : format.title(halt.scope)})`, go: 'Resume', danger: true, role: 'admin', path: '/api/exec/resume', body: { scope: halt.scope } });
}

function reconciliations(guard) {
  if (!guard.reconciliations.length) return [h('p', { class: 'empty' }, 'Ledger and exchanges have not been compared yet.')];
  return guard.reconciliations.map((row) => {
    const wrong = row.invariants.filter((invariant) => !invariant.holds);
    const word = row.halted ? 'halted' : wrong.length ? 'differs' : 'agrees';
    const details = [...wrong.map((invariant) => `${NAMES[invariant.name] ?? invariant.name}: ${invariant.detail}`), ...(row.orphans.length ? [`orders nobody placed: ${row.orphans.join(', ')}`] : [])];
    return h('div', { class: 'line' },
      tag(row.halted ? 'bad' : wrong.length ? 'warn' : 'good', `${format.title(row.exchange)} ${word}`),
      h('span', { class: 'dim' }, ` with the ledger in ${row.invariants.length - wrong.length} of ${row.invariants.length}, ${row.mode}, `), h('span', { class: 'dim', 'data-at': row.atMs }),
      ...details.map((detail) => h('div', { class: 'small bad' }, detail)));
  });
}

function strategies(guard) {
  return guard.strategies.map((row) => h('p', { class: 'line' },
    tag(row.run ? 'good' : 'dim', `${row.strategy} ${row.run ? 'runs' : 'stopped'}`), h('span', { class: 'dim' }, ` ${row.actor}: ${row.reason}`)));
}

/** The limits that hold for every order without one of its own. */
function limits(told) {
  const of = told.limits.default;
  const money = (value) => format.usd(Number(value));
  const facts = [
    ['Order at most', money(of.notional_usd_max)], ['Exposure at most', money(of.exposure_usd_max)], ['Drawdown at most', `${of.drawdown_pct_max} %`],
    ['Price off the mark', `${of.collar_pct_max} %`], ['Orders a minute', String(of.orders_per_minute_max)], ['Mark at most', `${format.age(of.mark_age_ms_max)} old`],
  ];
  const others = Object.keys(told.limits.strategy).length + Object.keys(told.limits.symbol).length;
  return h('div', {}, h('h3', { class: 'caption' }, `Limits of orders${others ? `; ${others} of their own beside these` : ''}`),
    h('dl', { class: 'pairs two' }, facts.flatMap(([name, value]) => [h('dt', {}, name), h('dd', { class: 'num' }, value)])));
}

export function drawActions({ guard }) {
  if (!guard) return { state: 'loading' };
  const rows = guard.actions.slice(0, all ? ACTIONS_MAX : ACTIONS_ROOM);
  $('actions-more').hidden = guard.actions.length <= ACTIONS_ROOM;
  text($('actions-more'), all ? 'Show fewer' : `Show the last ${Math.min(guard.actions.length, ACTIONS_MAX)}`);
  $('actions-empty').hidden = rows.length > 0;
  swap($('actions'), rows.map((row) => row.sequence).join(), () => rows.map((action) => h('li', {},
    h('span', { class: 'dim num' }, format.clock(action.atMs)),
    h('span', { class: `clip ${action.action.startsWith('control') ? 'warn' : action.action === 'audit.damage' ? 'bad' : 'dim'}`, title: action.action }, action.action.replaceAll('_', ' ')),
    h('span', { class: 'clip', title: `${action.actor}: ${action.summary}` }, action.summary, h('span', { class: 'dim' }, ` · ${action.actor}`)))));
  return { state: rows.length ? 'live' : 'empty' };
}
