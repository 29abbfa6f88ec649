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
const NARROW = matchMedia('(max-width: 720px)');
/** How many whole cards and how many lines fit into the room that is kept: with more alerts there are more lines. */
function fit(count) {
  if (NARROW.matches) return count > 1 ? [0, 6] : [1, 0];
  return count > 2 ? [1, 6] : [2, 0];
}

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

/** Why nobody is told about it: in a word. */
const muted = (alert) => (alert.silencedBy?.length ? 'silenced' : alert.inhibitedBy?.length ? 'follows' : '');
const MUTED = { silenced: 'Nobody is told about it: it is silenced', follows: 'Nobody is told about it: it follows from another one' };

export function draw({ alerts, system }, now) {
  const active = [...alerts.active].sort((a, b) =>
    (a.state !== 'firing') - (b.state !== 'firing') || (ORDER[a.severity] ?? 2) - (ORDER[b.severity] ?? 2) || b.at - a.at);
  const firing = active.filter((alert) => alert.state === 'firing').length;
  const watched = system?.processes.find((row) => row.name === 'guardrail');
  const blind = watched && watched.presence !== 'up' && watched.presence !== 'late';
  text($('alerts-note'), active.length ? `${firing} firing, ${active.length - firing} pending` : '');
  // Redrawn only when something changed: a focused button must not vanish every second.
  const [cards, lines] = fit(active.length);
  swap($('alerts'), JSON.stringify([blind, allCards, cards, active.map((alert) => [keyOf(alert), alert.revision, alert.state, alert.value, muted(alert)])]), () => {
    if (!active.length) return [h('p', { class: 'calm' }, blind ? 'Nothing is watched: there is no sign of life from the guardrail.' : 'Nothing is firing. Every limit that is measured holds.')];
    return allCards ? active.map(card) : [...active.slice(0, cards).map(card), ...active.slice(cards, cards + lines).map(line)];
  });
  $('alerts-more').hidden = active.length <= cards;
  text($('alerts-more'), allCards ? 'Show less' : active.length > cards + lines ? `Show all ${active.length}` : 'Show all in full');
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

const named = (alert) => ({ 'data-key': `${alert.name} ${format.scope(alert.scope)}`, 'aria-label': `${alert.name} ${format.scope(alert.scope)}` });

/** What it is, where, since when. */
function title(alert) {
  const tone = alert.severity === 'critical' ? 'bad' : 'warn';
  const word = [alert.severity, alert.state === 'pending' ? 'pending' : ''].filter(Boolean).join(' ');
  return h('h3', {}, h('span', { class: `sev ${tone}` }, word), h('b', {}, alert.name), h('span', { class: 'dim' }, format.scope(alert.scope)),
    muted(alert) ? h('span', { class: 'sev dim', title: MUTED[muted(alert)] }, muted(alert)) : null,
    h('span', { class: 'age dim small', 'data-since': format.fromNanos(alert.since ?? alert.at) }));
}

const buttons = (alert) => [
  h('button', { type: 'button', class: 'button small', 'data-detail': keyOf(alert), onclick: () => detail(alert) }, 'Details'),
  gate(h('button', { type: 'button', class: 'button small', 'data-silence': keyOf(alert), onclick: () => silences.ask(alert) }, 'Silence…'), 'operator'),
];

/** One of many: its cause and what to do first are behind its details. */
function line(alert) {
  return h('article', { class: `alert slim ${alert.severity ?? ''}`, ...named(alert) }, title(alert), h('p', { class: 'acts' }, buttons(alert)));
}

function card(alert) {
  return h('article', { class: `alert ${alert.severity ?? ''}`, ...named(alert) },
    title(alert),
    h('p', { class: 'summary', title: alert.summary }, alert.summary),
    h('dl', {}, h('dt', {}, 'Cause'), h('dd', { class: 'cause', title: alert.cause }, alert.cause || '–'),
      h('dt', {}, 'First action'), h('dd', { class: 'first-action', title: alert.first_action }, alert.first_action || '–')),
    h('p', { class: 'acts' }, book(alert), buttons(alert)));
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
