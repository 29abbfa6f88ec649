// Registered strategies; backtests, and the equity curve of the chosen one.

import { $, h, table, text } from './dom.js';
import * as format from './format.js';
import { Chart } from './chart.js';
import { ask } from './operator.js';

const TONES = { queued: 'dim', running: 'accent', done: 'good', failed: 'bad', cancelled: 'dim' };
const STATUS = { draft: 'dim', backtested: 'accent', paper: 'warn', live: 'good', stopped: 'dim' };
const STEPS = {
  draft: [], backtested: [['promote', 'To paper…']], paper: [['promote', 'To live…'], ['stop', 'Stop…']], live: [['stop', 'Stop…']], stopped: [['start', 'Start…']],
};
const RETRY_MS = 3000;
let drawn = null;
let chosen = null;
let shown = null;
let chart = null;
let timer;

export function draw(signals) {
  if (!signals || signals === drawn) return;
  drawn = signals;
  drawStrategies(signals.strategies);
  chosen ??= signals.backtests.find((job) => job.state === 'done')?.id ?? null;
  drawJobs(signals.backtests);
  load();
}

const params = (of) => Object.entries(of ?? {}).map(([name, value]) => `${name} ${value}`).join(', ');

function drawStrategies(rows) {
  const key = JSON.stringify(rows);
  if ($('strategies').dataset.key === key) return;
  $('strategies').dataset.key = key;
  if (!rows.length) {
    $('strategies').replaceChildren(h('p', { class: 'empty' }, 'None is registered. From a shell: spark strategy create'));
    return;
  }
  $('strategies').replaceChildren(h('div', { class: 'scroll' }, table([['Strategy'], ['Trades'], ['Status'], ['', 'r']], rows.map((row) => [
    h('td', { class: 'sym' }, row.name, h('div', { class: 'dim small' }, `${row.kind.replace('_', ' ')} ${params(row.params)}`)),
    h('td', {}, row.symbol, h('div', { class: 'dim small' }, [row.timeframe, format.title(row.exchange)].filter(Boolean).join(' · '))),
    h('td', {}, h('span', { class: `tag ${STATUS[row.status]}`, title: `${row.actor}: ${row.reason}` }, row.status)),
    h('td', { class: 'r' }, STEPS[row.status].map(([verb, label]) => h('button', {
      class: 'button small', type: 'button', onclick: () => move(row, verb, label),
    }, label)), STEPS[row.status].length ? null : h('span', { class: 'dim small' }, 'needs a backtest')),
  ]))));
}

function move(row, verb, label) {
  const word = label.replace('…', '');
  ask({
    title: `${row.name}: ${word.toLowerCase()}`, go: word, danger: verb === 'promote' && row.status === 'paper',
    path: `/api/strategies/${encodeURIComponent(row.name)}/${verb}`, body: { revision: row.revision },
    effect: (problem) => [['Effect', problem.detail]],
  });
}

function drawJobs(jobs) {
  const key = JSON.stringify([chosen, jobs]);
  if ($('backtests').dataset.key === key) return;
  $('backtests').dataset.key = key;
  const open = jobs.filter((job) => job.state === 'queued' || job.state === 'running').length;
  text($('backtests-note'), jobs.length ? `${open} open` : '');
  if (!jobs.length) {
    $('backtests').replaceChildren(h('p', { class: 'empty' }, 'None yet. From a shell: spark backtest run'));
    return;
  }
  $('backtests').replaceChildren(h('div', { class: 'scroll' }, table(
    [['Backtest'], ['State'], ['Return', 'r'], ['Sharpe', 'r opt'], ['Drawdown', 'r opt'], ['Trades', 'r opt']], jobs.slice(0, 8).map(job))));
}

function job(row) {
  const figures = row.result?.metrics;
  const of = row.result ?? row.job;
  const name = [of?.strategy ?? of?.kind?.replace('_', ' '), row.job?.symbol].filter(Boolean).join(' · ') || row.id;
  const total = row.progress?.total ?? 0;
  const share = total ? Math.min(1, row.progress.done / total) : null;
  const meter = share === null || row.result ? null : h('div', { class: 'meter', role: 'progressbar', 'aria-valuenow': Math.round(share * 100), 'aria-valuemin': 0, 'aria-valuemax': 100 }, h('i'));
  if (meter) meter.firstChild.style.width = `${(share * 100).toFixed(1)}%`;
  return [
    h('td', { class: 'sym' }, h('button', { class: 'pick', type: 'button', 'aria-pressed': String(row.id === chosen), onclick: () => { chosen = row.id; shown = null; drawJobs(drawn.backtests); load(); } }, name),
      h('div', { class: 'dim small' }, params(of?.params) || row.id)),
    h('td', { class: 'wrap' }, h('span', { class: `tag ${TONES[row.state]}` }, row.cancelAsked ? 'cancelling' : row.state), meter,
      row.result?.error ? h('div', { class: 'dim small' }, row.result.error) : null),
    h('td', { class: `r ${figures ? (figures.totalReturnPct >= 0 ? 'good' : 'bad') : ''}` }, figures ? `${figures.totalReturnPct >= 0 ? '+' : ''}${figures.totalReturnPct.toFixed(2)} %` : '–'),
    h('td', { class: 'r opt' }, figures?.sharpe === null || !figures ? '–' : figures.sharpe.toFixed(2)),
    h('td', { class: 'r opt' }, figures ? `${figures.maxDrawdownPct.toFixed(2)} %` : '–'),
    h('td', { class: 'r opt' }, figures ? format.count(figures.trades) : '–'),
  ];
}

/** The chosen one's curve, read once it has ended: it does not change any more. */
async function load() {
  clearTimeout(timer);
  const row = drawn.backtests.find((job) => job.id === chosen);
  $('equity-head').hidden = !row;
  if (!row) return;
  text($('equity-note'), row.job?.symbol ? `${row.job.symbol} · ${row.id}` : row.id);
  if (!row.result) { message('The curve is there when it has ended.'); return; }
  if (shown === chosen) return;
  const wanted = chosen;
  try {
    const answer = await fetch(`/api/backtest/${encodeURIComponent(wanted)}`);
    if (!answer.ok) throw new Error(`${answer.status}`);
    const told = await answer.json();
    if (chosen !== wanted) return;
    shown = wanted;
    const points = (told.details?.equity ?? []).map(([ms, equity]) => [ms, equity]);
    if (points.length < 2) { message(told.details ? 'It has no curve.' : 'Its details are not on the gateway\'s machine.'); return; }
    text($('equity-message'), '');
    $('equity').hidden = false;
    chart ??= new Chart($('equity'), format.value);
    chart.set({ label: 'Equity', from: points[0][0], to: points.at(-1)[0], unit: '', warning: null, critical: null, fit: true, series: [{ name: 'Equity', points }] });
  } catch {
    timer = setTimeout(load, RETRY_MS);
  }
}

function message(words) {
  text($('equity-message'), words);
  $('equity').hidden = true;
}
