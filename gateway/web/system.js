import { $, h, table, text } from './dom.js';
import * as format from './format.js';

export function draw(system, now) {
  text($('version'), `Spark ${system.version}`);
  drawProcesses(system, now);
  drawFeeds(system.feeds);
  drawParked(system.parked, now);
}

function drawProcesses(system, now) {
  const tones = { up: 'good', late: 'warn', down: 'bad', missing: 'bad', unknown: 'dim' };
  const rows = system.processes.map((row) => {
    const tone = row.presence === 'up' && row.state !== 'running' ? 'warn' : tones[row.presence];
    const word = row.presence === 'up' ? row.state : row.presence === 'down' && row.state === 'stopping' ? 'stopped' : row.presence;
    const heard = row.age_ms === null ? '–' : row.presence === 'up' ? format.age(now - Date.parse(row.started_at)) : `heard ${format.age(row.age_ms)} ago`;
    return [
      h('td', { class: 'sym' }, row.name),
      h('td', { class: 'wrap' }, h('span', { class: `tag ${tone}` }, word), row.detail ? h('div', { class: 'dim small' }, row.detail) : null),
      row.pid === null ? '–' : String(row.pid), format.bytes(row.resident_bytes), heard, String(row.restarts),
    ];
  });
  const total = system.processes.filter((row) => row.presence === 'up').reduce((sum, row) => sum + (row.resident_bytes ?? 0), 0);
  $('processes').replaceChildren(h('div', { class: 'scroll' }, table(
    [['Process'], ['State'], ['Pid', 'r opt'], ['Memory', 'r'], ['Up for', 'r opt'], ['Restarts', 'r opt']], rows,
    [h('td', {}, 'All'), h('td', { class: 'dim wrap' }, system.broker_connected ? 'broker connected' : 'broker away'), '', h('td', { class: 'r' }, format.bytes(total)), '', ''])));
}

function drawFeeds(feeds) {
  if (!feeds.length) {
    $('feeds').replaceChildren(h('p', { class: 'empty' }, 'No venue has reported yet.'));
    return;
  }
  const tones = { live: 'good', filling: 'warn', connecting: 'warn', reconnecting: 'bad' };
  $('feeds').replaceChildren(h('div', { class: 'scroll' }, table([['Venue'], ['State'], ['Newest', 'r'], ['Reconnects', 'r opt'], ['Gaps filled', 'r opt']], feeds.map((feed) => [
    h('td', { class: 'sym' }, format.title(feed.venue)),
    h('td', { class: 'wrap' }, h('span', { class: `tag ${tones[feed.state]}` }, feed.state), feed.detail ? h('div', { class: 'dim small' }, feed.detail) : null),
    format.age(feed.age_ms), format.count(feed.reconnects), `${format.count(feed.trades_filled)} / ${format.count(feed.trades_missing)}`,
  ]))));
}

function drawParked(parked, now) {
  text($('parked-note'), parked.count === null ? 'not known yet' : `${format.count(parked.count)} in all`);
  if (!parked.last.length) {
    $('parked').replaceChildren(h('p', { class: 'empty' }, parked.count ? 'The newest ones are listed by: spark parked ls' : 'None. Every message could be handled.'));
    return;
  }
  $('parked').replaceChildren(table([['From'], ['Why'], ['When', 'r']], parked.last.map((row) => [
    h('td', { class: 'sym' }, `${row.process} ${row.stream}:${row.sequence}`),
    h('td', { class: 'wrap' }, row.reason, h('div', { class: 'dim small' }, row.detail)),
    format.age(now - Date.parse(row.parked_at)),
  ])));
}
