// Prices as they come, and shares of Borsa Istanbul with the phase of the session.

import { $, h, swap, tag } from './dom.js';
import * as format from './format.js';
import { Table } from './table.js';

const OLD_MS = 30000;
const VERY_OLD_MS = 120000;
const PHASES = { closed: 'closed', opening_auction: 'opening auction', continuous: 'continuous trading', closing_auction: 'closing auction', trades_at_close: 'trades at close' };
const TONES = { good: 'good', degraded: 'warn', stale: 'bad', closed: 'dim' };
const calm = matchMedia('(prefers-reduced-motion: reduce)');
let time = 0;
let prices;
let shares;

/** A figure that lights up when it moves. */
function moving(key) {
  return (cell, row, now, same) => {
    const value = row[key];
    const before = cell.held;
    cell.held = value;
    if (same && !calm.matches && typeof before === 'number' && typeof value === 'number' && before !== value) flash(cell, value > before);
    return { text: format.price(value), title: value === null ? null : String(value) };
  };
}

function flash(cell, up) {
  const tone = up ? 'good' : 'bad';
  cell.animate([{ color: `var(--${tone})`, backgroundColor: `var(--${tone}-bg)` }, {}], { duration: 900, easing: 'ease-out' });
}

const spread = (row) => (row.bid && row.ask ? ((row.ask - row.bid) / row.ask) * 10000 : null);

export function start() {
  const money = (key, title) => ({ key, title, kind: 'r', by: (row) => row[key], draw: moving(key) });
  prices = new Table($('prices'), {
    name: 'prices', label: 'Prices', room: 8, width: 42, sort: { key: 'symbol', dir: 'ascending' }, key: (row) => `${row.venue}.${row.symbol}`, old: (row) => time - row.stored_at_ms > OLD_MS,
    empty: 'No prices yet. They appear as soon as a venue delivers.',
    columns: [
      { key: 'symbol', title: 'Symbol', width: 7, by: (row) => row.symbol, draw: (cell, row) => ({ text: row.symbol, class: 'sym' }) },
      money('last', 'Last'), money('bid', 'Bid'), money('ask', 'Ask'),
      { key: 'spread', title: 'Spread', kind: 'r', width: 6, by: spread, draw: (cell, row) => ({ text: spread(row) === null ? '–' : `${spread(row).toFixed(2)} bp`, class: 'dim' }) },
      { key: 'venue', title: 'Venue', width: 5.5, by: (row) => row.venue, draw: (cell, row) => ({ text: format.title(row.venue), class: 'dim' }) },
      { key: 'age', title: 'Age', kind: 'r', width: 6.5, by: (row) => -row.stored_at_ms, draw(cell, row, now) {
        const age = Math.max(0, now - row.stored_at_ms);
        return { text: format.age(age), class: age > VERY_OLD_MS ? 'bad' : age > OLD_MS ? 'warn' : 'dim' };
      } },
    ],
  });
  shares = new Table($('bist'), {
    name: 'bist', label: 'Shares of Borsa Istanbul', room: 8, width: 44, sort: { key: 'symbol', dir: 'ascending' }, key: (row) => row.symbol,
    empty: 'No share was told yet. A provider is set under [feed.bist].',
    columns: [
      { key: 'symbol', title: 'Share', width: 5.2, by: (row) => row.symbol, draw: (cell, row) => ({ text: row.symbol, class: 'sym', title: row.provider }) },
      money('last', 'Last'),
      { key: 'change', title: 'Change', kind: 'r', by: (row) => row.changePct, draw: (cell, row) => signed(row.changePct, ' %') },
      money('bid', 'Bid'), money('ask', 'Ask'),
      { key: 'volume', title: 'Volume', kind: 'r', width: 7, by: (row) => row.volume, draw: (cell, row) => format.count(row.volume) },
      { key: 'age', title: 'Age', kind: 'r', width: 4.2, by: (row) => -row.occurredAtMs, draw: (cell, row, now) => ({ text: format.age(Math.max(0, now - row.occurredAtMs)), class: 'dim' }) },
      { key: 'state', title: 'State', width: 5.4, by: (row) => row.status, draw: (cell, row) => ({ text: row.status, class: `tag ${TONES[row.status] ?? 'dim'}`, title: PHASES[row.phase] ?? row.phase, value: row.status }) },
    ],
  });
}

/** With its sign and colour; what rounds to nothing has neither. */
export function signed(value, unit = '', shown = (number) => number.toFixed(2)) {
  if (value === null || value === undefined) return '–';
  if (Math.abs(value) < 0.005) return { text: `${shown(0)}${unit}`, title: String(value) };
  return { text: `${value > 0 ? '+' : ''}${shown(value)}${unit}`, class: value > 0 ? 'good' : 'bad', title: String(value) };
}

export function draw(state, now) {
  if (!state.system) return { state: 'loading' };
  const rows = [...state.prices.values()];
  time = now;
  prices.set(rows, now);
  if (!rows.length) return { state: 'empty' };
  const newest = Math.max(...rows.map((row) => row.stored_at_ms));
  return { state: now - newest > OLD_MS ? 'stale' : 'live', why: 'no venue delivers', at: newest };
}

export function drawShares({ signals }, now) {
  if (!signals) return { state: 'loading' };
  const { bist } = signals;
  const delays = [...new Set(bist.symbols.map((share) => share.delayMinutes).filter((minutes) => minutes > 0))];
  swap($('bist-note'), JSON.stringify([bist.phase, bist.open, bist.nextOpen, delays]), () => [
    tag(bist.open ? 'good' : 'dim', PHASES[bist.phase] ?? bist.phase),
    ...(delays.length ? [h('span', { class: 'mark' }, `delayed ${delays.join(', ')} min`)] : []),
    ...(!bist.open && bist.nextOpen ? [h('span', { class: 'note' }, `opens ${new Date(bist.nextOpen).toLocaleString('en-GB', { weekday: 'short', hour: '2-digit', minute: '2-digit' })}`)] : []),
  ]);
  shares.set(bist.symbols, now);
  if (!bist.symbols.length) return { state: 'empty' };
  const newest = Math.max(...bist.symbols.map((share) => share.occurredAtMs));
  const old = bist.open && bist.symbols.every((share) => share.status === 'stale');
  return { state: old ? 'stale' : 'live', why: 'the provider does not deliver', at: newest };
}
