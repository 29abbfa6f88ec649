// Shares of Borsa Istanbul, with the phase of the session and what is delayed.

import { $, h, table, text } from './dom.js';
import * as format from './format.js';

const PHASES = { closed: 'closed', opening_auction: 'opening auction', continuous: 'continuous trading', closing_auction: 'closing auction', trades_at_close: 'trades at close' };
const TONES = { good: 'good', degraded: 'warn', stale: 'bad', closed: 'dim' };
let drawn = null;

export function draw(signals, now) {
  const bist = signals?.bist;
  if (bist && bist !== drawn) {
    drawn = bist;
    const delays = new Set(bist.symbols.map((share) => share.delayMinutes).filter((minutes) => minutes > 0));
    $('bist-note').replaceChildren(
      h('span', { class: `tag ${bist.open ? 'good' : 'dim'}` }, PHASES[bist.phase] ?? bist.phase),
      ...(delays.size ? [h('span', { class: 'mark' }, `delayed ${[...delays].join(', ')} min`)] : []),
      ...(!bist.open && bist.nextOpen ? [h('span', { class: 'note' }, `opens ${new Date(bist.nextOpen).toLocaleString('en-GB', { weekday: 'short', hour: '2-digit', minute: '2-digit' })}`)] : []));
    rows(bist);
  }
  for (const age of $('bist').querySelectorAll('[data-at]')) text(age, format.age(Math.max(0, now - Number(age.dataset.at))));
}

function rows(bist) {
  if (!bist.symbols.length) {
    $('bist').replaceChildren(h('p', { class: 'empty' }, 'No share was told yet. A provider is set under [feed.bist].'));
    return;
  }
  $('bist').replaceChildren(h('div', { class: 'scroll' }, table(
    [['Share'], ['Last', 'r'], ['Change', 'r'], ['Bid', 'r opt'], ['Ask', 'r opt'], ['Volume', 'r opt'], ['Age', 'r'], ['State']], bist.symbols.map((share) => [
      h('td', { class: 'sym' }, share.symbol, h('span', { class: 'dim small opt' }, ` ${share.provider}`)),
      format.price(share.last),
      h('td', { class: `r ${share.changePct > 0 ? 'good' : share.changePct < 0 ? 'bad' : ''}` }, share.changePct === null ? '–' : `${share.changePct > 0 ? '+' : ''}${share.changePct.toFixed(2)} %`),
      h('td', { class: 'r opt' }, format.price(share.bid)), h('td', { class: 'r opt' }, format.price(share.ask)), h('td', { class: 'r opt' }, format.count(share.volume)),
      h('td', { class: 'r', 'data-at': share.occurredAtMs }), h('td', {}, h('span', { class: `tag ${TONES[share.status]}`, title: share.phase }, share.status)),
    ]))));
}
