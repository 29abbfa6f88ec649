// Silences: one from an alert, those in force, and their end.

import { $, attr, h, swap, text } from './dom.js';
import { call, gate, me } from './api.js';
import { command, form } from './command.js';
import { entered, open } from './dialogs.js';
import * as format from './format.js';

const HOUR_MS = 3600000;
const ROOM = 2;
// What says where and what; the others follow from it.
const UNMATCHED = ['rule', 'severity'];

let known = null;
let failed = '';
let all = false;
let fields;
let subject = null;

export function start() {
  fields = form('silence');
  $('silence-go').addEventListener('click', go);
  entered($('silence-dialog'), go);
  $('silences-more').addEventListener('click', () => { all = !all; draw(Date.now()); });
}

/** Reads them again: at the start, after a reconnect, and when the gateway says that one began or ended. */
export async function reload() {
  const answer = await call('/api/v2/silences');
  failed = answer.ok ? '' : answer.error;
  if (answer.ok) known = answer.data.filter((silence) => silence.status.state !== 'expired');
  draw(Date.now());
}

export function draw(now) {
  const rows = known ?? [];
  const shown = all ? rows : rows.slice(0, ROOM);
  $('silences-more').hidden = rows.length <= ROOM;
  text($('silences-more'), all ? 'Show fewer' : `Show all ${rows.length}`);
  text($('silences-note'), failed || (known === null ? '' : rows.length ? '' : 'none'));
  attr($('silences-note'), 'title', failed || null);
  swap($('silences'), JSON.stringify(shown), () => shown.map(row));
  for (const left of $('silences').querySelectorAll('[data-ends]')) text(left, `ends in ${format.age(Math.max(0, Number(left.dataset.ends) - now))}`);
}

function row(silence) {
  const what = silence.matchers.map((matcher) => `${matcher.name}${matcher.isEqual ? (matcher.isRegex ? '=~' : '=') : matcher.isRegex ? '!~' : '!='}${matcher.value}`).join(', ');
  return h('li', { 'data-id': silence.id },
    h('span', { class: 'clip', title: `${what}: ${silence.comment} (${silence.createdBy})` }, what, h('span', { class: 'dim' }, ` ${silence.comment} · ${silence.createdBy}`)),
    h('span', { class: 'dim small num', 'data-ends': Date.parse(silence.endsAt) }),
    gate(h('button', { type: 'button', class: 'button small', 'data-expire': silence.id, 'aria-label': `Expire the silence of ${what}`, onclick: () => expire(silence, what) }, 'Expire'), 'operator'));
}

/** Opens the dialog with the alert's labels as matchers. */
export function ask(alert) {
  subject = alert.labels ?? { alertname: alert.name, ...alert.scope };
  text($('silence-title'), `Silence ${alert.name}`);
  $('silence-matchers').replaceChildren(...Object.entries(subject).map(([name, value]) => {
    const box = h('input', { type: 'checkbox', value: name });
    box.checked = !UNMATCHED.includes(name);
    return h('li', {}, h('label', { class: 'check' }, box, h('code', {}, `${name}="${value}"`)));
  }));
  $('silence-by').value = me.name ?? $('silence-by').value;
  fields.clear();
  open($('silence-dialog'), $('silence-reason'));
}

async function go() {
  const chosen = [...$('silence-matchers').querySelectorAll('input:checked')].map((box) => box.value);
  const by = $('silence-by').value.trim();
  if (!chosen.length) { fields.say('Choose at least one label: a silence without any would match everything.'); return; }
  if (!by) { fields.say('Say who you are: it is kept with the silence.'); $('silence-by').focus(); return; }
  const told = fields.read();
  if (!told) return;
  const now = Date.now();
  const body = {
    matchers: chosen.map((name) => ({ name, value: subject[name], isRegex: false, isEqual: true })),
    startsAt: new Date(now).toISOString(), endsAt: new Date(now + Number($('silence-for').value) * HOUR_MS).toISOString(),
    createdBy: by, comment: told.reason,
  };
  const answer = await fields.send('/api/v2/silences', body, told.token);
  if (answer.ok) {
    $('silence-dialog').close();
    reload();
  } else if (answer.status !== 401) fields.say(answer.error);
}

function expire(silence, what) {
  command({
    title: 'Expire a silence', go: 'Expire it', method: 'DELETE', plain: true,
    path: `/api/v2/silence/${encodeURIComponent(silence.id)}`, note: `${what}: who is to be told is told again.`, done: reload,
  });
}
