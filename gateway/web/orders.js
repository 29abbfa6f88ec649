import { $, choice, h, table, text } from './dom.js';
import * as format from './format.js';

const SHOWN = 14;
const HELD = 200;
const TONES = {
  waiting: 'dim', approved: 'warn', refused: 'bad', pending: 'warn', submitted: 'accent', partially_filled: 'accent',
  filled: 'good', settled: 'good', cancelled: 'dim', rejected: 'bad', expired: 'dim', unknown: 'bad',
};
const FILTERS = [['all', 'All'], ['open', 'Open'], ['refused', 'Refused']];
let filter = 'all';

/** Puts the rows of a live event among the ones held, newest first. */
export function merge(held, rows) {
  const byId = new Map(held.map((row) => [row.order, row]));
  for (const row of rows) byId.set(row.order, row);
  return [...byId.values()].sort((a, b) => b.sequence - a.sequence).slice(0, HELD);
}

export function draw(orders, redraw) {
  choice($('orders-filter'), FILTERS, filter, (value) => { filter = value; redraw(); });
  const fits = { all: () => true, open: (row) => row.open, refused: (row) => row.state === 'refused' || row.state === 'rejected' }[filter];
  const rows = orders.rows.filter(fits).slice(0, SHOWN);
  text($('fact-orders'), format.count(orders.openCount));
  if (!rows.length) {
    const what = orders.rows.length ? 'None among the newest orders.' : 'No orders yet. They appear the moment somebody asks for one.';
    $('orders').replaceChildren(h('p', { class: 'empty' }, what));
    return;
  }
  $('orders').replaceChildren(h('div', { class: 'scroll' }, table(
    [['Time', 'opt'], ['Strategy', 'opt'], ['Order'], ['Quantity', 'r'], ['Price', 'r opt'], ['State'], ['Filled at', 'r']],
    rows.map(row))));
}

function row(order) {
  const side = h('span', { class: order.side === 'buy' ? 'good' : 'bad' }, order.side);
  const why = order.state === 'refused' ? [order.guard?.replace('_', ' '), order.reason].filter(Boolean).join(': ') : order.open ? null : order.reason;
  return [
    h('td', { class: 'dim num opt', title: order.at }, format.clock(order.atMs)),
    h('td', { class: 'dim opt' }, order.strategy),
    h('td', { class: 'sym', title: `${order.order}${order.mode ? `, ${order.mode}` : ''}` }, side, ` ${order.symbol}`, h('span', { class: 'dim small opt' }, ` ${format.title(order.exchange)}`)),
    format.amount(order.quantity),
    h('td', { class: 'r opt' }, order.price === null ? h('span', { class: 'dim' }, 'market') : format.price(order.price)),
    h('td', { class: 'wrap' }, h('span', { class: `tag ${TONES[order.state] ?? 'dim'}` }, order.state.replace('_', ' ')),
      why ? h('div', { class: 'dim small clip', title: why }, why) : null),
    h('td', { class: 'r' }, order.averagePrice === null ? '–' : format.price(order.averagePrice),
      order.filled > 0 && order.filled < order.quantity ? h('div', { class: 'dim small' }, `${Math.round((order.filled / order.quantity) * 100)} %`) : null),
  ];
}

/** With its sign and colour; what rounds to nothing has neither. */
function signed(value, shown) {
  if (Math.abs(value) < 0.005) return shown(0);
  return h('span', { class: value > 0 ? 'good' : 'bad' }, value > 0 ? `+${shown(value)}` : shown(value));
}


export function drawPositions(data) {
  const rows = data?.positions ?? [];
  const exposure = data?.exposureUsd;
  text($('positions-note'), rows.length ? `exposure with open orders ${format.usd(exposure)}` : '');
  if (!rows.length) {
    $('positions').replaceChildren(h('p', { class: 'empty' }, 'Nothing is held. Positions follow from fills.'));
    return;
  }
  $('positions').replaceChildren(h('div', { class: 'scroll' }, table(
    [['Symbol'], ['Strategy', 'opt'], ['Quantity', 'r'], ['Average', 'r opt'], ['Mark', 'r opt'], ['Value', 'r'], ['Unrealized', 'r'], ['Realized', 'r opt']],
    rows.map((position) => [
      h('td', { class: 'sym' }, position.symbol, h('span', { class: 'dim small opt' }, ` ${format.title(position.exchange)}`)),
      h('td', { class: 'dim opt' }, position.strategy),
      format.amount(position.quantity),
      h('td', { class: 'r opt' }, format.price(position.averagePrice)),
      h('td', { class: `r opt ${position.quantity && position.markAgeMs > 30000 ? 'warn' : ''}` }, format.price(position.mark)),
      format.usd(position.valueUsd),
      h('td', { class: 'r' }, position.unrealizedUsd === null ? '–' : signed(position.unrealizedUsd, format.usd)),
      h('td', { class: 'r opt' }, signed(position.realized, (value) => format.amount(Math.round(value * 100) / 100))),
    ]))));
}
