// Processes, the venues' connections, and messages that could not be handled.

import { $, attr, h, text } from './dom.js';
import { gate } from './api.js';
import { command } from './command.js';
import * as format from './format.js';
import { Table } from './table.js';

const TONES = { up: 'good', late: 'warn', down: 'bad', missing: 'bad', unknown: 'dim' };
const FEEDS = { live: 'good', filling: 'warn', connecting: 'warn', reconnecting: 'bad' };
let processes;
let feeds;
let parked;

const word = (row) => (row.presence === 'up' ? row.state : row.presence === 'down' && row.state === 'stopping' ? 'stopped' : row.presence);
const tone = (row) => (row.presence === 'up' && row.state !== 'running' ? 'warn' : TONES[row.presence]);

export function start() {
  processes = new Table($('processes'), {
    name: 'processes', label: 'Processes', room: 16, width: 42, key: (row) => row.name, empty: 'No process was heard of yet.',
    columns: [
      { key: 'name', title: 'Process', width: 8.6, by: (row) => row.name, draw: (cell, row) => ({ text: row.name, class: 'sym' }) },
      { key: 'state', title: 'State', by: (row) => word(row), draw: drawState },
      { key: 'memory', title: 'Memory', kind: 'r', width: 7.4, by: (row) => row.resident_bytes, draw: (cell, row) => format.bytes(row.resident_bytes) },
      { key: 'up', title: 'Up for', kind: 'r', width: 7.5, by: (row) => -Date.parse(row.started_at ?? 0), draw: drawAge },
      { key: 'restarts', title: 'Restarts', kind: 'r', width: 5.5, by: (row) => row.restarts, draw: (cell, row) => String(row.restarts) },
      { key: 'pid', title: 'Pid', kind: 'r', width: 5, by: (row) => row.pid, draw: (cell, row) => ({ text: row.pid === null ? '–' : String(row.pid), class: 'dim' }) },
      { key: 'act', title: '', label: 'Restart', width: 5.6, draw: drawRestart },
    ],
  });
  feeds = new Table($('feeds'), {
    name: 'feeds', label: 'Market data', room: 4, width: 28, key: (row) => row.venue, empty: 'No venue has reported yet.',
    columns: [
      { key: 'venue', title: 'Venue', width: 6, by: (row) => row.venue, draw: (cell, row) => ({ text: format.title(row.venue), class: 'sym', title: row.symbols.join(', ') }) },
      { key: 'state', title: 'State', by: (row) => row.state, draw: (cell, row) => drawTagged(cell, FEEDS[row.state] ?? 'dim', row.state, row.detail) },
      { key: 'newest', title: 'Newest', kind: 'r', width: 6, by: (row) => row.age_ms, draw: (cell, row) => ({ text: format.age(row.age_ms), class: row.age_ms > 30000 ? 'warn' : '' }) },
      { key: 'reconnects', title: 'Reconnects', kind: 'r', width: 7, by: (row) => row.reconnects, draw: (cell, row) => format.count(row.reconnects) },
      { key: 'gaps', title: 'Gaps filled', kind: 'r', width: 7, by: (row) => row.trades_missing, draw: (cell, row) => `${format.count(row.trades_filled)} / ${format.count(row.trades_missing)}` },
    ],
  });
  parked = new Table($('parked'), {
    name: 'parked', label: 'Newest parked messages', room: 4, width: 28, sort: { key: 'when', dir: 'descending' }, key: (row) => `${row.process} ${row.stream}:${row.sequence}`,
    empty: 'None. Every message could be handled.',
    columns: [
      { key: 'from', title: 'From', width: 10, by: (row) => row.process, draw: (cell, row) => ({ text: `${row.process} ${row.stream}:${row.sequence}`, class: 'sym', title: row.subject }) },
      { key: 'why', title: 'Why', by: (row) => row.reason, draw: (cell, row) => ({ text: `${row.reason}: ${row.detail}`, title: `${row.reason}: ${row.detail}` }) },
      { key: 'when', title: 'When', kind: 'r', width: 7, by: (row) => Date.parse(row.parked_at), draw: (cell, row, now) => ({ text: format.age(Math.max(0, now - Date.parse(row.parked_at))), class: 'dim' }) },
    ],
  });
}

/** A state, and beside it what is said about it. */
export function drawTagged(cell, kind, words, detail) {
  if (!cell.firstChild) cell.append(h('span'), h('small', { class: 'dim' }));
  text(cell.firstChild, words);
  cell.firstChild.className = `tag ${kind}`;
  text(cell.lastChild, detail ?? '');
  attr(cell, 'title', detail || null);
  attr(cell, 'data-value', words);
}

const drawState = (cell, row) => drawTagged(cell, tone(row), word(row), row.detail);

function drawAge(cell, row, now) {
  if (row.age_ms === null) return '–';
  if (row.presence === 'up') return format.age(Math.max(0, now - Date.parse(row.started_at)));
  return { text: `${format.age(row.age_ms)} ago`, class: 'warn', title: 'heard last' };
}

function drawRestart(cell, row) {
  if (!cell.firstChild) cell.append(gate(h('button', { type: 'button', class: 'button small', onclick: () => restart(cell.parentElement.row) }, 'Restart…'), 'operator'));
  attr(cell.firstChild, 'data-restart', row.name);
  attr(cell.firstChild, 'aria-label', `Restart ${row.name}`);
}

function restart({ name }) {
  command({
    title: `Restart ${name}`, go: 'Restart', danger: true, path: `/api/processes/${encodeURIComponent(name)}/restart`, body: {},
    effect: ({ detail, effect }) => [['Effect', detail ?? '–'], ...(effect ? [['Process now', `pid ${effect.pid ?? '–'}, ${effect.presence}, ${effect.restarts} restarts`]] : [])],
  });
}

export function drawProcesses({ system }, now) {
  if (!system) return { state: 'loading' };
  const up = system.processes.filter((row) => row.presence === 'up');
  const total = up.reduce((sum, row) => sum + (row.resident_bytes ?? 0), 0);
  text($('processes-note'), system.broker_connected ? '' : 'the broker is away');
  processes.set(system.processes, now, { name: 'All', state: `${up.length} of ${system.processes.length} up`, memory: format.bytes(total) });
  return { state: system.broker_connected ? 'live' : 'stale', why: '', at: system.now_ms };
}

export function drawFeeds({ system }, now) {
  if (!system) return { state: 'loading' };
  feeds.set(system.feeds, now);
  if (!system.feeds.length) return { state: 'empty' };
  return { state: system.feeds.some((feed) => feed.state === 'live') ? 'live' : 'stale', why: 'no venue is connected' };
}

export function drawParked({ system }, now) {
  if (!system) return { state: 'loading' };
  const { count, last } = system.parked;
  text($('parked-count'), count === null ? 'not known yet' : `${format.count(count)} in all`);
  parked.set(last, now, null, count ? 'The newest ones are listed by: spark parked ls' : count === null ? 'The broker has not told their number yet.' : undefined);
  return { state: count ? 'live' : 'empty' };
}
