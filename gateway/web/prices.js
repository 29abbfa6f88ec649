import { $, h, text } from './dom.js';
import * as format from './format.js';

// Rows are made once and then only their texts change: nothing jumps while prices move.
const rows = new Map();
let groups = new Map();

export function draw(prices, now) {
  if (!prices.size) {
    $('prices').replaceChildren(h('p', { class: 'empty' }, 'No prices yet. They appear as soon as a venue delivers.'));
    rows.clear();
    groups = new Map();
    return;
  }
  for (const key of rows.keys()) {
    if (!prices.has(key)) { rows.clear(); groups = new Map(); break; }
  }
  if (!groups.size) $('prices').replaceChildren(h('div', { class: 'columns' }));
  for (const [key, price] of prices) {
    if (!rows.has(key)) rows.set(key, row(price));
    update(rows.get(key), price, now);
  }
}

function group(venue) {
  if (!groups.has(venue)) {
    const body = h('tbody');
    const heads = [['Symbol'], ['Bid', 'r'], ['Ask', 'r'], ['Last', 'r'], ['Spread', 'r opt'], ['Age', 'r']];
    $('prices').firstElementChild.append(h('div', { class: 'scroll' }, h('h3', { class: 'group' }, format.title(venue)), h('table', {},
      h('thead', {}, h('tr', {}, heads.map(([title, kind]) => h('th', { class: kind || null, scope: 'col' }, title)))), body)));
    groups.set(venue, body);
  }
  return groups.get(venue);
}

function row(price) {
  const cells = Object.fromEntries(['bid', 'ask', 'last', 'spread', 'age'].map((name) => [name, h('td', { class: name === 'spread' ? 'r dim opt' : 'r' })]));
  group(price.venue).append(h('tr', {}, h('td', { class: 'sym' }, price.symbol), ...Object.values(cells)));
  return { cells, shown: {} };
}

function update(row, price, now) {
  for (const name of ['bid', 'ask', 'last']) {
    const before = row.shown[name];
    const value = price[name];
    text(row.cells[name], format.price(value));
    if (before !== undefined && before !== null && value !== before) flash(row.cells[name], value > before);
    row.shown[name] = value;
  }
  const spread = price.bid && price.ask ? ((price.ask - price.bid) / price.ask) * 10000 : null;
  text(row.cells.spread, spread === null ? '–' : `${spread.toFixed(2)} bp`);
  const age = Math.max(0, now - price.stored_at_ms);
  text(row.cells.age, format.age(age));
  row.cells.age.className = `r ${age > 120000 ? 'bad' : age > 30000 ? 'warn' : 'dim'}`;
}

function flash(cell, up) {
  const name = up ? 'flash-up' : 'flash-down';
  cell.classList.remove('flash-up', 'flash-down');
  void cell.offsetWidth; // Restarts the animation.
  cell.classList.add(name);
}
