// The guardrail's limits: every value against its thresholds, and two of them over time.

import { $, attr, h, swap, text } from './dom.js';
import { call } from './api.js';
import { Chart } from './chart.js';
import { choice } from './choice.js';
import * as format from './format.js';
import { keep, recall } from './store.js';
import { Table } from './table.js';

const RANGES = [['15m', '15 min', 900], ['1h', '1 h', 3600], ['6h', '6 h', 21600], ['24h', '24 h', 86400]];
const FIRST = ['portfolio_refresh_p95', 'ws_staleness_venue'];
const RETRY_MS = 2000;
const SILENT_MS = 10000;
const SERIES_SHOWN = 6;
const NAMES = {
  portfolio_refresh_p95: 'Refresh latency p95', ws_staleness_venue: 'Age of market data, by venue', ws_staleness: 'Age of market data, by symbol',
  portfolio_staleness: 'Age of balances', exchange_error_rate: 'Failed calls a second', exchange_error_ratio: 'Share of failed calls',
  exchange_call_p95: 'Latency of calls p95', exchange_error_budget: 'Error budget of exchanges, burn', api_error_budget: 'Error budget of the API, burn',
  api_error_ratio: 'Share of failed requests', api_p95: 'Latency of the API p95', bist_staleness: 'Age of shares', bist_staleness_venue: 'Age of Borsa Istanbul',
  exchange_down: 'Exchange is down', ledger_damaged: 'Ledger is damaged', ml_confidence: 'Confidence of scores', ml_error_ratio: 'Share of failed scores',
  ml_latency_p95: 'Latency of scores p95', ml_score_count: 'Scores a minute', ml_staleness: 'Scores overdue', no_assets: 'Assets told', parked_messages: 'Parked messages',
  process_missing: 'Age of heartbeats', trade_delay_p95: 'Delay of trades p95', trade_rate: 'Trades a second', trading_halted: 'Trading is halted', value_anomaly: 'Prices held back',
};
const TONES = { inactive: 'good', resolved: 'good', pending: 'warn', firing: 'bad', no_data: 'dim' };
const SEVERITY = { firing: 3, pending: 2, no_data: 1 };

const named = (rule) => NAMES[rule] ?? rule.replaceAll('_', ' ');
const panels = [];
let range = '15m';
let now = Date.now;
let newest = null;
let table;

export function start(clock) {
  now = clock;
  reset();
  for (const index of [0, 1]) {
    const select = $(`rule-${index + 1}`);
    const panel = { select, index, rule: recall('rules', FIRST)[index] ?? FIRST[index], chart: new Chart($(`chart-${index + 1}`), format.value), series: null };
    select.addEventListener('change', () => {
      panel.rule = select.value;
      keep('rules', panels.map((one) => one.rule));
      load(panel);
    });
    panels.push(panel);
  }
  rules();
  table = new Table($('limits'), {
    name: 'limits', label: 'Limits and their values', room: 6, width: 48, sort: { key: 'state', dir: 'descending' }, key: (row) => `${row.rule} ${format.scope(row.scope)}`,
    empty: 'No limit was measured yet. The guardrail tells them once a second.',
    columns: [
      { key: 'rule', title: 'Limit', width: 17, by: (row) => named(row.rule), draw: (cell, row) => ({ text: named(row.rule), class: 'sym', title: row.rule }) },
      { key: 'scope', title: 'Where', width: 8, by: (row) => format.scope(row.scope), draw: (cell, row) => ({ text: format.scope(row.scope), class: 'dim' }) },
      { key: 'value', title: 'Value', kind: 'r', by: (row) => row.value, draw: (cell, row) => ({ text: format.value(row.value, row.unit), title: row.value === null ? null : String(row.value) }) },
      { key: 'warning', title: 'Warning', kind: 'r', by: (row) => row.warning, draw: (cell, row) => ({ text: format.value(row.warning, row.unit), class: 'dim' }) },
      { key: 'critical', title: 'Critical', kind: 'r', by: (row) => row.critical, draw: (cell, row) => ({ text: format.value(row.critical, row.unit), class: 'dim' }) },
      { key: 'used', title: 'Of the limit', kind: 'r', width: 7, by: used, draw: (cell, row) => (used(row) === null ? { text: '–', class: 'dim' } : `${Math.round(used(row) * 100)} %`) },
      { key: 'state', title: 'State', width: 7, by: (row) => (SEVERITY[row.state] ?? 0) + Math.min(0.9, used(row) ?? 0), draw: (cell, row) => ({ text: row.state === 'inactive' ? 'holds' : row.state.replaceAll('_', ' '), class: `tag ${TONES[row.state] ?? 'dim'}`, value: row.state }) },
    ],
  });
}

/** How much of the first threshold is used, whichever side of it is bad; null where there is none. */
function used(row) {
  const limit = row.warning ?? row.critical;
  if (row.value === null || limit === null || limit <= 0) return null;
  const both = row.warning !== null && row.critical !== null && row.warning !== row.critical;
  // With one threshold its good side shows in where a value that holds is.
  const below = both ? row.critical < row.warning : (row.value > limit) === (row.state === 'inactive');
  if (!below) return row.value / limit;
  return row.value > 0 ? limit / row.value : null;
}

export function reset() {
  range = RANGES.some(([key]) => key === recall('range', '15m')) ? recall('range', '15m') : '15m';
  for (const panel of panels) panel.rule = recall('rules', FIRST)[panel.index] ?? FIRST[panel.index];
  if (panels.length) { rules(); reload(); }
  choices();
}

function choices() {
  choice($('range'), RANGES.map(([key, label]) => [key, label]), range, (value) => { range = value; keep('range', value); choices(); reload(); });
}

/** The rules that there are, in the lists to choose from. */
function rules() {
  const known = [...new Set([...FIRST, ...panels.map((panel) => panel.rule), ...(newest?.values ?? []).map((value) => value.rule)])];
  known.sort((a, b) => named(a).localeCompare(named(b), 'en'));
  for (const panel of panels) {
    swap(panel.select, known.join(), () => known.map((rule) => h('option', { value: rule }, named(rule))));
    if (panel.select.value !== panel.rule) panel.select.value = panel.rule;
  }
}

const seconds = () => RANGES.find(([key]) => key === range)[2];

/** Reads the past again: at start, after a reconnect, after a change of range. */
export function reload() {
  for (const panel of panels) load(panel);
}

async function load(panel) {
  const wanted = `${panel.rule} ${range}`;
  panel.wanted = wanted;
  clearTimeout(panel.timer);
  const answer = await call(`/api/chart?rule=${encodeURIComponent(panel.rule)}&window=${range}`);
  if (panel.wanted !== wanted) return;
  if (!answer.ok) {
    panel.timer = setTimeout(() => { if (panel.wanted === wanted) load(panel); }, RETRY_MS);
    return;
  }
  const past = answer.data;
  panel.unit = past.unit;
  panel.warning = past.warning;
  panel.critical = past.critical;
  panel.stepMs = past.step_s * 1000;
  panel.series = new Map(past.series.map((one) => [format.scope(one.scope), one.values.map((value, index) => [past.first_ts + index * panel.stepMs, value])]));
  show(panel);
}

/** Adds the newest values; within one point the largest is kept, as in the past. */
export function add(windows) {
  const at = format.fromNanos(windows.at);
  newest = windows;
  rules();
  for (const panel of panels) {
    if (!panel.series) continue;
    for (const window of windows.values.filter((value) => value.rule === panel.rule)) {
      panel.unit = window.unit;
      panel.warning = window.warning;
      panel.critical = window.critical;
      const name = format.scope(window.scope);
      if (!panel.series.has(name)) panel.series.set(name, []);
      const points = panel.series.get(name);
      const slot = Math.floor(at / panel.stepMs) * panel.stepMs;
      const last = points.at(-1);
      if (last && last[0] === slot) last[1] = window.value === null ? last[1] : Math.max(last[1] ?? window.value, window.value);
      else if (!last || last[0] < slot) points.push([slot, window.value]);
    }
    show(panel);
  }
}

function show(panel) {
  const to = now();
  const from = to - seconds() * 1000;
  for (const points of panel.series.values()) {
    while (points.length && points[0][0] < from) points.shift();
  }
  panel.chart.set({
    label: named(panel.rule), from, to, unit: panel.unit, warning: panel.warning ?? null, critical: panel.critical ?? null,
    series: worst([...panel.series]).map(([name, points]) => ({ name: format.title(name), points })), others: Math.max(0, panel.series.size - SERIES_SHOWN),
  });
}

/** The series that are drawn: of more than fit, those that were highest, in their own order. */
function worst(series) {
  if (series.length <= SERIES_SHOWN) return series;
  const high = new Map(series.map((one) => [one, one[1].reduce((most, [, value]) => Math.max(most, value ?? most), -Infinity)]));
  const chosen = new Set([...series].sort((a, b) => high.get(b) - high.get(a)).slice(0, SERIES_SHOWN));
  return series.filter((one) => chosen.has(one));
}

export function draw({ windows, system }, time) {
  if (!system) return { state: 'loading' };
  const values = windows?.values ?? [];
  table.set(values, time);
  const bad = values.filter((value) => value.state === 'firing').length;
  text($('limits-note'), values.length ? `${values.length} measured, ${bad} broken` : '');
  attr($('limits-note'), 'class', `note num ${bad ? 'bad' : ''}`);
  if (!windows) return { state: 'empty' };
  const at = format.fromNanos(windows.at);
  return { state: time - at > SILENT_MS ? 'stale' : 'live', why: 'the guardrail is silent', at };
}
