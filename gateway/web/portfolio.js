// What is held at the exchanges: by exchange, as a table and as shares of the whole.

import { $, attr, h, text } from './dom.js';
import { call } from './api.js';
import { choice } from './choice.js';
import { Donut } from './donut.js';
import * as format from './format.js';
import { keep, recall } from './store.js';
import { Table } from './table.js';

const ROOM = 10;
const PIECES = 7;
let table;
let donut;
let chosen = recall('tab', 'all');

/** `take(portfolio)` puts an answer of the API where the live stream puts its own; `redraw` draws again. */
export function start(take, redraw) {
  table = new Table($('portfolio-table'), {
    name: 'portfolio', label: 'Balances', room: ROOM, width: 53, sort: { key: 'value', dir: 'descending' }, key: (row) => `${row.exchange}.${row.asset}`, old: (row) => row.old,
    empty: 'No balances yet. They appear with the first poll of an exchange.',
    columns: [
      { key: 'asset', title: 'Asset', width: 7, by: (row) => row.asset, draw: drawAsset },
      { key: 'total', title: 'Total', kind: 'r', width: 6.9, by: (row) => row.total, draw: (cell, row) => exact(row.total, format.amount) },
      { key: 'value', title: 'Value', kind: 'r', width: 7.4, by: (row) => row.usdValue, draw: (cell, row) => exact(row.usdValue, format.usd) },
      { key: 'share', title: 'Share', kind: 'r', width: 5, by: (row) => row.usdValue, draw: (cell, row) => ({ text: row.share === null ? '–' : `${(row.share * 100).toFixed(1)} %`, class: 'dim' }) },
      { key: 'price', title: 'Price', kind: 'r', by: (row) => row.usdPrice, draw: (cell, row) => (row.usdPrice === null ? { text: 'no price', class: 'dim' } : exact(row.usdPrice, format.price)) },
      { key: 'free', title: 'Free', kind: 'r', by: (row) => row.free, draw: (cell, row) => exact(row.free, format.amount) },
      { key: 'locked', title: 'Locked', kind: 'r', width: 5.6, by: (row) => row.locked, draw: (cell, row) => exact(row.locked, format.amount) },
      { key: 'exchange', title: 'Exchange', width: 5.8, by: (row) => row.exchange, draw: (cell, row) => ({ text: format.title(row.exchange), class: 'dim' }) },
    ],
  });
  donut = new Donut($('donut'), PIECES);
  donut.set([], '–');
  $('portfolio-refresh').addEventListener('click', () => refresh(take));
  choose = (value) => { chosen = value; keep('tab', value); redraw(); };
}

let choose;

/** The asset; where there is no room for its exchange's own column, with the exchange. */
function drawAsset(cell, row) {
  if (!cell.firstChild) cell.append(h('b', { class: 'sym' }), h('small', { class: 'dim narrow' }));
  text(cell.firstChild, row.asset);
  text(cell.lastChild, format.title(row.exchange));
  attr(cell, 'title', format.title(row.exchange));
}

/** What rounds to something else in its cell is whole in its title. */
const exact = (value, shown) => ({ text: shown(value), title: value === null ? null : String(value) });

export function reset() { chosen = 'all'; }

export async function refresh(take) {
  const button = $('portfolio-refresh');
  if (button.getAttribute('aria-busy')) return;
  attr(button, 'aria-busy', 'true');
  const answer = await call('/api/portfolio');
  attr(button, 'aria-busy', null);
  const note = $('portfolio-refreshed');
  note.classList.toggle('bad', !answer.ok);
  text(note, answer.ok ? `refreshed ${format.clock(Date.now())}` : answer.error);
  attr(note, 'title', answer.ok ? null : answer.error);
  if (answer.ok) take(answer.data);
}

export function draw({ portfolio }, now) {
  const known = portfolio?.accounts ?? [];
  const names = known.map((account) => account.exchange);
  const tab = names.includes(chosen) ? chosen : 'all';
  choice($('portfolio-tabs'), [['all', 'All'], ...names.map((name) => [name, format.title(name)])], tab, (value) => choose(value), 'tab', 'portfolio');
  attr($('portfolio'), 'aria-labelledby', `portfolio-tabs-${tab}`);
  if (!portfolio) return { state: 'loading' };
  const accounts = known.filter((account) => tab === 'all' || account.exchange === tab);
  const total = tab === 'all' ? portfolio.totals.totalUsd : accounts[0].totals.totalUsd;
  const rows = accounts.flatMap((account) => account.balances.map((row) => ({
    ...row, exchange: account.exchange, old: account.stale || account.error !== null, share: row.usdValue !== null && total > 0 ? row.usdValue / total : null,
  })));
  table.set(rows, now, { asset: 'Total', value: format.usd(total) });
  donut.set(pieces(rows), format.usd(total));
  drawAccounts(accounts, now);
  const bad = accounts.filter((account) => account.error || account.stale);
  const oldest = Math.min(...accounts.map((account) => Date.parse(account.updatedAt ?? 0)));
  if (!known.length) return { state: 'empty' };
  return bad.length ? { state: 'stale', why: `${bad.map((account) => format.title(account.exchange)).join(', ')} not read`, at: oldest, partly: bad.length < accounts.length } : { state: 'live', at: oldest };
}

/** By asset, whatever the exchange; shares follow from the API's own values. */
function pieces(rows) {
  const sums = new Map();
  for (const row of rows) if (row.usdValue > 0) sums.set(row.asset, (sums.get(row.asset) ?? 0) + row.usdValue);
  return [...sums].map(([asset, value]) => ({ key: asset, name: asset, value, shown: format.usd(value) })).sort((a, b) => b.value - a.value);
}

/** A line for each exchange, always there: when it was read, or what went wrong. */
function drawAccounts(accounts, now) {
  const list = $('portfolio-accounts');
  while (list.children.length > accounts.length) list.lastChild.remove();
  while (list.children.length < accounts.length) list.append(h('li'));
  accounts.forEach((account, index) => {
    const age = account.updatedAt ? `${format.age(Math.max(0, now - Date.parse(account.updatedAt)))} ago` : null;
    const trouble = account.error ? `${account.error.error_type}: ${account.error.message}` : account.stale ? 'not answering' : '';
    const words = trouble ? `${trouble}; ${age ? `shown are the balances of ${age}` : 'there are no earlier balances'}` : age ? `read ${age}` : 'never read';
    const line = list.children[index];
    const whole = `${format.title(account.exchange)} ${words}`;
    text(line, whole);
    attr(line, 'title', trouble ? whole : null);
    line.className = account.error ? 'bad' : account.stale ? 'warn' : 'dim';
  });
}
