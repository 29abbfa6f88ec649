// Backtests: how far they are, what they came to, their equity curves, side by side where several are chosen; and
// registered strategies.

import { $, attr, h, swap, text } from './dom.js';
import { call, gate } from './api.js';
import { Chart } from './chart.js';
import { command } from './command.js';
import * as format from './format.js';
import { signed } from './prices.js';
import * as reports from './reports.js';
import { drawTagged } from './system.js';
import { Table } from './table.js';

const TONES = { queued: 'dim', running: 'accent', done: 'good', failed: 'bad', cancelled: 'dim' };
const STATUS = { draft: 'dim', backtested: 'accent', paper: 'warn', live: 'good', stopped: 'dim' };
const STEPS = {
  draft: [], backtested: [['promote', 'To paper…']], paper: [['promote', 'To live…'], ['stop', 'Stop…']], live: [['stop', 'Stop…']], stopped: [['start', 'Start…']],
};
const COMPARED_MAX = 5;
const RETRY_MS = 3000;
const curves = new Map();
const failed = new Map();
/** Ids whose curves are shown; several are compared. */
let chosen = [];
let touched = false;
let jobs = [];
let table;
let strategies;
let compared;
let chart;
let timer;
let comparedKey = '';

export function start() {
  chart = new Chart($('equity'), (value) => `${format.value(value)} %`);
  table = new Table($('backtests'), {
    name: 'backtests', label: 'Backtests', room: 4, width: 46, tall: true, key: (row) => row.id, empty: 'None yet. From a shell: spark backtest run',
    columns: [
      { key: 'name', title: 'Backtest', width: 13, by: nameOf, draw: drawName },
      { key: 'state', title: 'State', width: 8, by: (row) => row.state, draw: drawJobState },
      { key: 'return', title: 'Return', kind: 'r', by: (row) => row.result?.metrics?.totalReturnPct ?? null, draw: (cell, row) => signed(row.result?.metrics?.totalReturnPct, ' %') },
      { key: 'sharpe', title: 'Sharpe', kind: 'r', by: (row) => row.result?.metrics?.sharpe ?? null, draw: (cell, row) => fixed(row.result?.metrics?.sharpe) },
      { key: 'drawdown', title: 'Drawdown', kind: 'r', by: (row) => row.result?.metrics?.maxDrawdownPct ?? null, draw: (cell, row) => fixed(row.result?.metrics?.maxDrawdownPct, ' %') },
      { key: 'trades', title: 'Trades', kind: 'r', width: 5, by: (row) => row.result?.metrics?.trades ?? null, draw: (cell, row) => format.count(row.result?.metrics?.trades) },
      { key: 'at', title: 'When', kind: 'r', width: 5.5, by: (row) => row.atMs, draw: (cell, row) => ({ text: format.clock(row.atMs), class: 'dim', title: row.at }) },
      { key: 'report', title: '', label: 'Report', width: 5.2, draw: drawReport },
    ],
  });
  strategies = new Table($('strategies'), {
    name: 'strategies', label: 'Strategies', room: 4, width: 32, tall: true, key: (row) => row.name, empty: 'None is registered. From a shell: spark strategy create',
    columns: [
      { key: 'name', title: 'Strategy', by: (row) => row.name, draw: (cell, row) => two(cell, row.name, `${row.kind.replaceAll('_', ' ')} ${params(row.params)}`) },
      { key: 'trades', title: 'Trades', width: 7, by: (row) => row.symbol, draw: (cell, row) => two(cell, row.symbol, [row.timeframe, format.title(row.exchange)].filter(Boolean).join(' · ')) },
      { key: 'status', title: 'Status', width: 7, by: (row) => row.status, draw: (cell, row) => ({ text: row.status, class: `tag ${STATUS[row.status] ?? 'dim'}`, title: `${row.actor}: ${row.reason}`, value: row.status }) },
      { key: 'act', title: '', label: 'Steps', width: 9, draw: drawSteps },
    ],
  });
  compared = new Table($('compare-table'), {
    name: 'compare', label: 'Backtests side by side', room: 2, width: 30, key: (row) => row.id, empty: 'Choose two or more to see them side by side.',
    columns: [
      { key: 'name', title: 'Backtest', width: 10, draw: (cell, row) => ({ text: nameOf(row), class: 'sym', title: row.id }) },
      { key: 'return', title: 'Return', kind: 'r', draw: (cell, row) => signed(row.result?.metrics?.totalReturnPct, ' %') },
      { key: 'win', title: 'Won', kind: 'r', draw: (cell, row) => fixed(row.result?.metrics?.winRatePct, ' %') },
      { key: 'factor', title: 'Profit factor', kind: 'r', draw: (cell, row) => fixed(row.result?.metrics?.profitFactor) },
      { key: 'bars', title: 'Bars', kind: 'r', draw: (cell, row) => format.count(row.result?.metrics?.bars) },
      { key: 'equity', title: 'Equity at the end', kind: 'r', width: 8, draw: (cell, row) => ending(row.result?.metrics?.finalEquity) },
    ],
  });
}

const params = (of) => Object.entries(of ?? {}).map(([name, value]) => `${name} ${value}`).join(', ');
const fixed = (value, unit = '') => (value === null || value === undefined ? '–' : `${value.toFixed(2)}${unit}`);

const ending = (value) => (value === null || value === undefined ? '–' : { text: value.toLocaleString('en-US', { minimumFractionDigits: 2, maximumFractionDigits: 2 }), title: String(value) });

function nameOf(row) {
  const of = row.result ?? row.job;
  return [of?.strategy ?? of?.kind?.replaceAll('_', ' '), row.job?.symbol].filter(Boolean).join(' · ') || row.id;
}

function two(cell, first, second) {
  if (!cell.firstChild) cell.append(h('b', { class: 'sym' }), h('small', { class: 'dim' }));
  text(cell.firstChild, first);
  text(cell.lastChild, second);
  attr(cell, 'title', `${first}, ${second}`);
}

function drawName(cell, row) {
  if (!cell.firstChild) {
    const box = h('input', { type: 'checkbox', onchange: () => compare(cell.parentElement.row.id, box.checked) });
    cell.append(h('span', { class: 'picked' }, box, h('button', { type: 'button', class: 'pick', onclick: () => pick(cell.parentElement.row.id) })), h('small', { class: 'dim' }));
  }
  const [box, button] = cell.firstChild.children;
  const on = chosen.includes(row.id);
  attr(box, 'data-compare', row.id);
  attr(box, 'aria-label', `Compare ${nameOf(row)}, ${row.id}`);
  if (box.checked !== on) box.checked = on;
  attr(button, 'data-pick', row.id);
  attr(button, 'aria-pressed', String(on));
  text(button, nameOf(row));
  const of = row.result ?? row.job;
  text(cell.lastChild, params(of?.params) || row.id);
  attr(cell, 'title', `${row.id}: ${params(of?.params)}`);
}

function drawJobState(cell, row) {
  const total = row.progress?.total ?? 0;
  const share = total && !row.result ? Math.min(1, row.progress.done / total) : null;
  const detail = row.result?.error ?? (share === null ? '' : `${Math.floor(share * 100)} %`);
  drawTagged(cell, TONES[row.state] ?? 'dim', row.cancelAsked ? 'cancelling' : row.state, detail);
  attr(cell, 'data-value', row.state);
}

function drawReport(cell, row) {
  if (!cell.firstChild) {
    cell.append(
      h('button', { type: 'button', class: 'button small', onclick: () => { const { row: now } = cell.parentElement; reports.backtest(now.id, nameOf(now)); } }, 'Report'),
      gate(h('button', { type: 'button', class: 'button small', onclick: () => cancel(cell.parentElement.row) }, 'Cancel'), 'operator'));
  }
  const [report, stop] = cell.children;
  report.hidden = row.state !== 'done';
  attr(report, 'data-report', row.id);
  attr(report, 'aria-label', `Report of ${nameOf(row)}, ${row.id}`);
  stop.hidden = Boolean(row.result);
  attr(stop, 'aria-label', `Cancel ${nameOf(row)}, ${row.id}`);
}

function cancel(row) {
  command({ title: `Cancel the backtest ${row.id}`, go: 'Cancel it', danger: true, path: `/api/backtest/${encodeURIComponent(row.id)}/cancel`, body: {} });
}

/** The one step that real money follows from. */
const toLive = (row, verb) => verb === 'promote' && row.status === 'paper';

function drawSteps(cell, row) {
  swap(cell, `${row.name} ${row.status}`, () => (STEPS[row.status] ?? []).map(([verb, label]) => gate(h('button', {
    class: 'button small', type: 'button', 'data-verb': verb, onclick: () => move(cell.parentElement.row, verb, label),
  }, label), toLive(row, verb) ? 'admin' : 'operator')));
  if (!cell.firstChild) cell.append(h('small', { class: 'dim' }, 'needs a backtest'));
}

function move(row, verb, label) {
  const word = label.replace('…', '');
  command({
    title: `${row.name}: ${word.toLowerCase()}`, go: word, danger: toLive(row, verb), role: toLive(row, verb) ? 'admin' : 'operator',
    path: `/api/strategies/${encodeURIComponent(row.name)}/${verb}`, body: { revision: row.revision },
  });
}

/** Shows the curve of one and of no other. */
function pick(id) {
  touched = true;
  chosen = [id];
  refresh();
}

function compare(id, on) {
  touched = true;
  chosen = on ? [...chosen, id].slice(-COMPARED_MAX) : chosen.filter((one) => one !== id);
  refresh();
}

function refresh() {
  table.draw();
  load();
  drawCurves();
}

export function draw({ signals }, now) {
  if (!signals) return { state: 'loading' };
  jobs = signals.backtests;
  if (!touched) chosen = jobs.filter((job) => job.state === 'done').slice(0, 1).map((job) => job.id);
  const open = jobs.filter((job) => !job.result).length;
  text($('backtests-note'), jobs.length ? `${open} open, ${jobs.length - open} ended` : '');
  table.set(jobs, now);
  load();
  drawCurves();
  return { state: jobs.length ? 'live' : 'empty' };
}

export function drawStrategies({ signals }, now) {
  if (!signals) return { state: 'loading' };
  strategies.set(signals.strategies, now);
  return { state: signals.strategies.length ? 'live' : 'empty' };
}

/** Reads the chosen ones' curves, once they have ended: they do not change any more. */
async function load() {
  clearTimeout(timer);
  for (const id of chosen) {
    const row = jobs.find((job) => job.id === id);
    if (!row?.result || curves.has(id)) continue;
    curves.set(id, null); // Asked for.
    const answer = await call(`/api/backtest/${encodeURIComponent(id)}`);
    if (answer.ok) {
      curves.set(id, answer.data.details?.equity ?? []);
      failed.delete(id);
    } else {
      curves.delete(id);
      failed.set(id, answer.error);
      timer = setTimeout(load, RETRY_MS);
    }
    drawCurves();
  }
}

/** In percent of where each began: curves of unlike sums can be laid over each other. */
function relative(points) {
  const first = points[0][1];
  return points.map(([ms, equity]) => [ms, (equity / first - 1) * 100]);
}

function drawCurves() {
  const rows = chosen.map((id) => jobs.find((job) => job.id === id)).filter(Boolean);
  const known = rows.filter((row) => (curves.get(row.id)?.length ?? 0) > 1);
  const key = JSON.stringify([rows.map((row) => [row.id, row.state]), known.map((row) => row.id), [...failed]]);
  if (key === comparedKey) return;
  comparedKey = key;
  compared.set(rows, Date.now());
  $('compare').hidden = rows.length < 2;
  text($('equity-note'), known.length ? 'in percent of the start' : '');
  const series = known.map((row) => ({ name: `${nameOf(row)} ${params((row.result ?? row.job)?.params)}`.trim(), points: relative(curves.get(row.id)) }));
  const ends = series.flatMap((one) => [one.points[0][0], one.points.at(-1)[0]]);
  text($('equity-message'), rows.length && !known.length ? why(rows[0]) : rows.length ? '' : 'Choose a backtest to see its curve.');
  $('equity').classList.toggle('none', !known.length);
  const [from, to] = ends.length ? [Math.min(...ends), Math.max(...ends)] : [0, 1];
  chart.set({ label: 'Equity', from, to, unit: '', warning: null, critical: null, fit: true, series });
  same(rows.filter((row) => row.result));
}

function why(row) {
  if (failed.has(row.id)) return failed.get(row.id);
  if (!row.result) return 'The curve is there when it has ended.';
  if (!curves.get(row.id)) return 'Reading the curve.';
  return 'It has no curve, or its details are not on the gateway\'s machine.';
}

/** Null says that it is not known of one of them. */
const alike = (same, yes, no) => (same === null || same === undefined ? '' : same ? yes : no);

/** Whether those compared were run on the same bars, and traded alike. */
async function same(rows) {
  if (rows.length < 2) { text($('compare-note'), ''); return; }
  const key = comparedKey;
  const answer = await call(`/api/backtest/compare?ids=${rows.map((row) => encodeURIComponent(row.id)).join(',')}`);
  if (key !== comparedKey) return;
  const { sameData, sameTrades } = answer.data ?? {};
  text($('compare-note'), answer.ok ? [alike(sameData, 'the same bars', 'other bars'), alike(sameTrades, 'the same trades', 'other trades')].filter(Boolean).join(', ') : answer.error);
}
