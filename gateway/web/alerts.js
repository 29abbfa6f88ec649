import { $, h, text } from './dom.js';
import * as format from './format.js';

const LOG_MAX = 40;
const BLIND = 'No sign of life from the guardrail: nothing is watched. What is shown is the last that it said.';
let open = false;
let drawn = '';

/** `watched` is how the guardrail is: without it nothing new fires and nothing resolves. */
export function draw(alerts, now, watched) {
  const order = { critical: 0, warning: 1 };
  const active = [...alerts.active].sort((a, b) =>
    (a.state !== 'firing') - (b.state !== 'firing') || (order[a.severity] ?? 2) - (order[b.severity] ?? 2) || b.at - a.at);
  text($('alerts-note'), active.length ? `${active.filter((alert) => alert.state === 'firing').length} firing, ${active.filter((alert) => alert.state === 'pending').length} pending` : '');
  // Redrawn only when something changed: a focused link or an open history must not vanish every second.
  const blind = watched && watched.presence !== 'up' && watched.presence !== 'late';
  const key = JSON.stringify([blind, active.map(identity), alerts.recent.slice(0, LOG_MAX).map(identity)]);
  if (key !== drawn) {
    drawn = key;
    $('alerts').replaceChildren(
      ...(blind ? [h('p', { class: 'banner' }, BLIND)] : []),
      ...active.map(card),
      ...(active.length || blind ? [] : [h('p', { class: 'empty' }, 'Nothing is firing. Every limit that is measured holds.')]),
      ...log(alerts.recent));
  }
  for (const age of $('alerts').querySelectorAll('[data-since]')) {
    text(age, `for ${format.age(now - Number(age.dataset.since))}`);
  }
}

const identity = (alert) => [alert.name, alert.scope, alert.revision, alert.state, alert.at, muted(alert)];

/** Why nobody is told about it. */
const muted = (alert) => (alert.silencedBy?.length ? 'silenced' : alert.inhibitedBy?.length ? 'follows from another one' : '');

function card(alert) {
  const since = format.fromNanos(alert.since ?? alert.at);
  const fact = (name, value) => (value ? [h('dt', {}, name), h('dd', {}, value)] : []);
  const limit = alert.value !== null && alert.threshold !== null
    ? `${format.value(alert.value, alert.unit)} ${alert.direction} ${format.value(alert.threshold, alert.unit)}${alert.samples > 1 ? `, ${format.count(alert.samples)} samples` : ''}`
    : null;
  const tone = alert.severity === 'critical' ? 'bad' : 'warn';
  return h('article', { class: `alert ${alert.severity || ''}` },
    h('h3', {}, h('span', { class: `sev ${tone}` }, alert.state === 'pending' ? `${alert.severity ?? ''} pending` : alert.severity), alert.name,
      h('span', { class: 'dim' }, format.scope(alert.scope)),
      ...(muted(alert) ? [h('span', { class: 'sev dim', title: 'Nobody is told about it' }, muted(alert))] : []), h('span', { class: 'age dim small', 'data-since': since })),
    h('p', {}, alert.summary),
    h('dl', {}, fact('Value', limit), fact('Cause', alert.cause), fact('First action', alert.first_action)));
}

function log(recent) {
  if (!recent.length) return [];
  const tone = (alert) => (alert.state === 'firing' ? (alert.severity === 'critical' ? 'bad' : 'warn') : alert.state === 'resolved' ? 'good' : 'dim');
  return [h('details', { open, ontoggle: (event) => { open = event.target.open; } },
    h('summary', {}, `History (${recent.length})`),
    h('ul', { class: 'log' }, recent.slice(0, LOG_MAX).map((alert) => h('li', {},
      h('span', { class: 'dim num' }, format.clock(format.fromNanos(alert.at))),
      h('span', { class: tone(alert) }, alert.state.replace('_', ' ')),
      h('span', {}, `${alert.name} · ${format.scope(alert.scope)}`)))))];
}
