// Alerts: what is wrong, why, what to do first; what was wrong before; and silences.

import { $, attr, h, swap, text } from './dom.js';
import { gate } from './api.js';
import { open } from './dialogs.js';
import * as format from './format.js';
import { isWeb } from './markdown.js';
import { runbook } from './reports.js';
import * as silences from './silences.js';

const LOG_ROOM = 5;
const LOG_MAX = 60;
const ORDER = { critical: 0, warning: 1 };
/** Cards that are always given their place: where the page is narrow they are long. */
const room = () => (matchMedia('(max-width: 720px)').matches ? 1 : 2);

let allCards = false;
let allLog = false;
let redraw;
let shown = '';

export function start(again) {
  redraw = again;
  $('alerts-more').addEventListener('click', () => { allCards = !allCards; redraw(); });
  $('alerts-log-more').addEventListener('click', () => { allLog = !allLog; redraw(); });
  silences.start();
}

export const keyOf = (alert) => `${alert.name} ${JSON.stringify(alert.scope)}`;

/** Why nobody is told about it. */
const muted = (alert) => (alert.silencedBy?.length ? 'silenced' : alert.inhibitedBy?.length ? 'follows from another one' : '');

export function draw({ alerts, system }, now) {
  const active = [...alerts.active].sort((a, b) =>
    (a.state !== 'firing') - (b.state !== 'firing') || (ORDER[a.severity] ?? 2) - (ORDER[b.severity] ?? 2) || b.at - a.at);
  const firing = active.filter((alert) => alert.state === 'firing').length;
  const watched = system?.processes.find((row) => row.name === 'guardrail');
  const blind = watched && watched.presence !== 'up' && watched.presence !== 'late';
  text($('alerts-note'), active.length ? `${firing} firing, ${active.length - firing} pending` : '');
  // Redrawn only when something changed: a focused button must not vanish every second.
  swap($('alerts'), JSON.stringify([blind, allCards, room(), active.map((alert) => [keyOf(alert), alert.revision, alert.state, alert.value, muted(alert)])]), () => {
    if (!active.length) return [h('p', { class: 'calm' }, blind ? 'Nothing is watched: there is no sign of life from the guardrail.' : 'Nothing is firing. Every limit that is measured holds.')];
    return (allCards ? active : active.slice(0, room())).map(card);
  });
  $('alerts-more').hidden = active.length <= room();
  text($('alerts-more'), allCards ? 'Show fewer' : `Show all ${active.length}`);
  attr($('alerts-more'), 'aria-expanded', String(allCards));
  log(alerts.recent);
  for (const age of $('alerts').querySelectorAll('[data-since]')) text(age, `for ${format.age(Math.max(0, now - Number(age.dataset.since)))}`);
  silences.draw(now);
  if (!system) return { state: 'loading' };
  const at = watched?.age_ms === null || !watched ? null : system.now_ms - watched.age_ms;
  return { state: blind ? 'stale' : active.length ? 'live' : 'empty', why: 'no sign of life from the guardrail', at };
}

const figures = (alert) => (alert.value !== null && alert.threshold !== null
  ? `${format.value(alert.value, alert.unit)}, ${alert.direction} ${format.value(alert.threshold, alert.unit)}${alert.samples > 1 ? `, ${format.count(alert.samples)} samples` : ''}`
  : '');

function card(alert) {
  const tone = alert.severity === 'critical' ? 'bad' : 'warn';
  const word = [alert.severity, alert.state === 'pending' ? 'pending' : ''].filter(Boolean).join(' ');
  return h('article', { class: `alert ${alert.severity ?? ''}`, 'data-key': `${alert.name} ${format.scope(alert.scope)}`, 'aria-label': alert.name },
    h('h3', {}, h('span', { class: `sev ${tone}` }, word), h('b', {}, alert.name), h('span', { class: 'dim' }, format.scope(alert.scope)),
      muted(alert) ? h('span', { class: 'sev dim', title: 'Nobody is told about it' }, muted(alert)) : null,
      h('span', { class: 'age dim small', 'data-since': format.fromNanos(alert.since ?? alert.at) })),
    h('p', { class: 'summary', title: alert.summary }, alert.summary),
    h('dl', {}, h('dt', {}, 'Cause'), h('dd', { class: 'cause', title: alert.cause }, alert.cause || '–'),
      h('dt', {}, 'First action'), h('dd', { class: 'first-action', title: alert.first_action }, alert.first_action || '–')),
    h('p', { class: 'acts' }, book(alert),
      h('button', { type: 'button', class: 'button small', 'data-detail': keyOf(alert), onclick: () => detail(alert) }, 'Details'),
      gate(h('button', { type: 'button', class: 'button small', 'data-silence': keyOf(alert), onclick: () => silences.ask(alert) }, 'Silence…'), 'operator')));
}

/** The runbook: on the web, or one of Spark's own, which the gateway has with it. */
function book(alert) {
  if (!alert.runbook) return null;
  if (isWeb(alert.runbook)) return h('a', { class: 'runbook', href: alert.runbook, rel: 'noreferrer', target: '_blank' }, 'Runbook');
  const own = /^docs\/runbooks\/([a-z0-9-]+\.md)$/.exec(alert.runbook)?.[1];
  if (own) return h('button', { type: 'button', class: 'button small runbook', onclick: () => runbook(own, alert.name) }, 'Runbook');
  return h('span', { class: 'runbook dim small' }, alert.runbook);
}

function detail(alert) {
  const rows = [
    ['State', [alert.severity, alert.state].filter(Boolean).join(', ')], ['Where', format.scope(alert.scope)], ['Value', figures(alert)],
    ['Since', new Date(format.fromNanos(alert.since ?? alert.at)).toLocaleString('en-GB')], ['Summary', alert.summary], ['Cause', alert.cause],
    ['First action', alert.first_action], ['For good', alert.permanent_fix], ['Runbook', alert.runbook], ['Rule', alert.rule],
  ];
  text($('detail-title'), alert.name);
  $('detail-facts').replaceChildren(...rows.filter(([, value]) => value).flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
  open($('detail-dialog'));
}

function log(recent) {
  const tone = (alert) => (alert.state === 'firing' ? (alert.severity === 'critical' ? 'bad' : 'warn') : alert.state === 'resolved' ? 'good' : 'dim');
  const rows = recent.slice(0, allLog ? LOG_MAX : LOG_ROOM);
  const key = JSON.stringify(rows.map((alert) => [keyOf(alert), alert.revision]));
  $('alerts-log-more').hidden = recent.length <= LOG_ROOM;
  text($('alerts-log-more'), allLog ? 'Show fewer' : `Show the last ${Math.min(recent.length, LOG_MAX)}`);
  attr($('alerts-log-more'), 'aria-expanded', String(allLog));
  if (key === shown) return;
  shown = key;
  $('alerts-log').replaceChildren(...rows.map((alert) => h('li', {},
    h('span', { class: 'dim num' }, format.clock(format.fromNanos(alert.at))),
    h('span', { class: tone(alert) }, alert.state.replaceAll('_', ' ')),
    h('span', { class: 'clip', title: alert.summary }, `${alert.name} · ${format.scope(alert.scope)}`))));
}
