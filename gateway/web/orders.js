// Orders and positions with their live states.

import { $, attr, h, text } from './dom.js';
import { gate } from './api.js';
import { choice } from './choice.js';
import { command } from './command.js';
import * as format from './format.js';
import { signed } from './prices.js';
import { keep, recall } from './store.js';
import { Table } from './table.js';

const HELD = 200;
const TONES = {
  waiting: 'dim', approved: 'warn', refused: 'bad', pending: 'warn', submitted: 'accent', partially_filled: 'accent',
  filled: 'good', settled: 'good', cancelled: 'dim', rejected: 'bad', expired: 'dim', unknown: 'bad',
};
const FILTERS = {
  all: ['All', () => true], open: ['Open', (row) => row.open], filled: ['Filled', (row) => row.filled > 0],
  refused: ['Refused', (row) => row.state === 'refused' || row.state === 'rejected'],
};
let filter = 'all';
let table;
let held;

/** Puts the rows of a live event among the ones held, newest first. */
export function merge(before, rows) {
  const byId = new Map(before.map((row) => [row.order, row]));
  for (const row of rows) byId.set(row.order, row);
  return [...byId.values()].sort((a, b) => b.sequence - a.sequence).slice(0, HELD);
}

export function start(redraw) {
  filter = recall('filter', 'all') in FILTERS ? recall('filter', 'all') : 'all';
  choose = (value) => { filter = value; keep('filter', value); redraw(); };
  table = new Table($('orders'), {
    name: 'orders', label: 'Orders', room: 12, width: 50, sort: { key: 'time', dir: 'descending' }, key: (row) => row.order,
    empty: 'No orders yet. They appear the moment somebody asks for one.',
    columns: [
      { key: 'order', title: 'Order', width: 8.6, by: (row) => row.symbol, draw: drawOrder },
      { key: 'state', title: 'State', width: 10.4, by: (row) => row.state, draw: drawState },
      { key: 'quantity', title: 'Quantity', kind: 'r', by: (row) => row.quantity, draw: (cell, row) => ({ text: format.amount(row.quantity), title: String(row.quantity) }) },
      { key: 'price', title: 'Price', kind: 'r', by: (row) => row.price, draw: (cell, row) => (row.price === null ? { text: 'market', class: 'dim' } : { text: format.price(row.price), title: String(row.price) }) },
      { key: 'filled', title: 'Filled at', kind: 'r', by: (row) => row.averagePrice, draw: drawFilled },
      { key: 'strategy', title: 'Strategy', width: 7.6, by: (row) => row.strategy, draw: (cell, row) => ({ text: row.strategy, class: 'dim', title: `${row.strategy}, ${format.title(row.exchange)}, ${row.mode ?? ''}` }) },
      { key: 'time', title: 'Time', kind: 'r', width: 5.5, by: (row) => row.sequence, draw: (cell, row) => ({ text: format.clock(row.atMs), class: 'dim', title: row.at }) },
      { key: 'act', title: '', label: 'Cancel', width: 4.6, draw: drawCancel },
    ],
  });
  held = new Table($('positions'), {
    name: 'positions', label: 'Positions', room: 5, width: 54, sort: { key: 'value', dir: 'descending' }, key: (row) => `${row.strategy}.${row.exchange}.${row.symbol}`,
    empty: 'Nothing is held. Positions follow from fills.',
    columns: [
      { key: 'symbol', title: 'Symbol', width: 6.2, by: (row) => row.symbol, draw: (cell, row) => ({ text: row.symbol, class: 'sym', title: `${format.title(row.exchange)}, ${row.mode}` }) },
      { key: 'quantity', title: 'Quantity', kind: 'r', width: 7.6, by: (row) => row.quantity, draw: (cell, row) => ({ text: format.amount(row.quantity), title: String(row.quantity) }) },
      { key: 'average', title: 'Average', kind: 'r', by: (row) => row.averagePrice, draw: (cell, row) => ({ text: format.price(row.averagePrice), title: row.averagePrice === null ? null : String(row.averagePrice) }) },
      { key: 'mark', title: 'Mark', kind: 'r', by: (row) => row.mark, draw: (cell, row) => ({ text: format.price(row.mark), class: row.quantity && row.markAgeMs > 30000 ? 'warn' : '', title: row.markAgeMs > 30000 ? `${format.age(row.markAgeMs)} old` : null }) },
      { key: 'value', title: 'Value', kind: 'r', width: 7.6, by: (row) => row.valueUsd, draw: (cell, row) => ({ text: format.usd(row.valueUsd), title: row.valueUsd === null ? null : String(row.valueUsd) }) },
      { key: 'unrealized', title: 'Unrealized', kind: 'r', by: (row) => row.unrealizedUsd, draw: (cell, row) => signed(row.unrealizedUsd, '', format.usd) },
      { key: 'realized', title: 'Realized', kind: 'r', by: (row) => row.realized, draw: (cell, row) => signed(row.realized, '', (value) => format.amount(Math.round(value * 100) / 100)) },
      { key: 'strategy', title: 'Strategy', width: 7.2, by: (row) => row.strategy, draw: (cell, row) => ({ text: row.strategy, class: 'dim', title: row.strategy }) },
    ],
  });
}

let choose;

export function reset() { filter = 'all'; }

function drawOrder(cell, row) {
  if (!cell.firstChild) cell.append(h('span'), h('b', { class: 'sym' }));
  const [side, symbol] = cell.children;
  text(side, `${row.side} `);
  side.className = row.side === 'buy' ? 'good' : 'bad';
  text(symbol, row.symbol);
  attr(cell, 'title', `${row.order}, ${format.title(row.exchange)}${row.mode ? `, ${row.mode}` : ''}`);
}

/** The state, and beside it why where it is not what was asked for. */
function drawState(cell, row) {
  if (!cell.firstChild) cell.append(h('span'), h('small', { class: 'dim' }));
  const why = row.state === 'refused' ? [row.guard?.replaceAll('_', ' '), row.reason].filter(Boolean).join(': ') : row.open ? '' : row.reason ?? '';
  const [state, reason] = cell.children;
  text(state, row.state.replaceAll('_', ' '));
  state.className = `tag ${TONES[row.state] ?? 'dim'}`;
  text(reason, why);
  attr(cell, 'data-value', row.state);
  attr(cell, 'title', why || null);
}

function drawFilled(cell, row) {
  if (row.averagePrice === null) return '–';
  const part = row.filled > 0 && row.filled < row.quantity ? ` (${Math.round((row.filled / row.quantity) * 100)} %)` : '';
  return { text: `${format.price(row.averagePrice)}${part}`, title: `${row.filled} at ${row.averagePrice}` };
}

function drawCancel(cell, row) {
  if (!cell.firstChild) cell.append(gate(h('button', { type: 'button', class: 'button small', onclick: () => cancel(cell.parentElement.row) }, 'Cancel'), 'operator'));
  const button = cell.firstChild;
  button.hidden = !row.open;
  if (row.open) attr(button, 'aria-label', `Cancel ${row.side} ${row.symbol}`);
}

function cancel(row) {
  command({ title: `Cancel ${row.side} ${format.amount(row.quantity)} ${row.symbol}`, go: 'Cancel it', danger: true, path: `/api/exec/orders/${encodeURIComponent(row.order)}/cancel`, body: {} });
}

export function draw({ orders, guard }, now) {
  choice($('orders-filter'), Object.entries(FILTERS).map(([key, [label]]) => [key, label]), filter, (value) => choose(value));
  text($('fact-orders'), format.count(orders.openCount));
  if (!guard) return { state: 'loading' };
  const rows = orders.rows.filter(FILTERS[filter][1]);
  table.set(rows, now, null, orders.rows.length ? `None of the newest ${orders.rows.length} orders.` : undefined);
  return { state: rows.length ? 'live' : 'empty' };
}

export function drawPositions({ positions }, now) {
  if (!positions) return { state: 'loading' };
  const rows = positions.positions;
  text($('positions-note'), rows.length ? `exposure with open orders ${format.usd(positions.exposureUsd)}` : '');
  held.set(rows, now);
  return { state: rows.length ? 'live' : 'empty' };
}
