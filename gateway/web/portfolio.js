import { $, choice, h, table } from './dom.js';
import * as format from './format.js';

let chosen = 'all';

export function draw(portfolio, now, redraw) {
  const panel = $('portfolio');
  if (!portfolio?.accounts.length) {
    panel.replaceChildren(h('p', { class: 'empty' }, 'No balances yet. They appear with the first poll of an exchange.'));
    return;
  }
  const names = portfolio.accounts.map((account) => account.exchange);
  if (chosen !== 'all' && !names.includes(chosen)) chosen = 'all';
  const options = [['all', 'All'], ...names.map((name) => [name, format.title(name)])];
  choice($('portfolio-tabs'), options, chosen, (value) => { chosen = value; redraw(); }, 'tab');
  const accounts = portfolio.accounts.filter((account) => chosen === 'all' || account.exchange === chosen);
  const total = chosen === 'all' ? portfolio.totals.totalUsd : accounts[0].totals.totalUsd;
  panel.replaceChildren(
    ...accounts.map((account) => banner(account, now)).filter(Boolean),
    balances(accounts, total),
    h('p', { class: 'note num' }, accounts.map((account) => {
      const read = account.updatedAt ? `read ${format.age(now - Date.parse(account.updatedAt))} ago` : 'never read';
      return `${format.title(account.exchange)} ${read}`;
    }).join('  ·  ')));
}

function banner(account, now) {
  if (!account.error && !account.stale) return null;
  const age = account.updatedAt ? ` Shown: the last good balances, ${format.age(now - Date.parse(account.updatedAt))} old.` : ' There are no earlier balances.';
  const what = account.error ? `${account.error.error_type}: ${account.error.message}.` : 'Balances are stale.';
  return h('p', { class: account.error ? 'banner' : 'banner warn' }, `${format.title(account.exchange)} – ${what}${age}`);
}

function balances(accounts, total) {
  const rows = accounts.flatMap((account) => account.balances.map((row) => ({ ...row, exchange: account.exchange })));
  rows.sort((a, b) => (b.usdValue ?? -1) - (a.usdValue ?? -1));
  const columns = [['Asset'], ['Exchange', 'opt'], ['Free', 'r opt'], ['Locked', 'r opt'], ['Total', 'r'], ['Price', 'r opt'], ['Value', 'r'], ['Share', 'share opt']];
  return h('div', { class: 'scroll' }, table(columns, rows.map((row) => [
    h('td', { class: 'sym' }, row.asset, h('span', { class: 'narrow dim small' }, ` ${format.title(row.exchange)}`)),
    h('td', { class: 'dim opt' }, format.title(row.exchange)),
    format.amount(row.free), format.amount(row.locked), format.amount(row.total),
    row.usdPrice === null ? h('td', { class: 'r dim opt' }, 'no price') : format.price(row.usdPrice),
    format.usd(row.usdValue), share(row.usdValue, total),
  ]), [h('td', {}, 'Total'), '', '', '', '', '', h('td', { class: 'r' }, format.usd(total)), '']));
}

function share(value, total) {
  const part = value !== null && total > 0 ? Math.max(0, Math.min(1, value / total)) : 0;
  const bar = h('i');
  bar.style.width = `${(part * 100).toFixed(1)}%`;
  return h('td', { class: 'share opt' }, h('div', { class: 'meter', role: 'img', 'aria-label': `${(part * 100).toFixed(1)} percent` }, bar));
}
