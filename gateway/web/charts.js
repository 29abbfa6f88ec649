// Which series are charted, their past from the API and their present from the live stream.

import { $, choice } from './dom.js';
import * as format from './format.js';
import { Chart } from './chart.js';

const RANGES = [['15m', '15 min', 900], ['1h', '1 h', 3600], ['6h', '6 h', 21600], ['24h', '24 h', 86400]];
const STALENESS = [['ws_staleness_venue', 'Market data'], ['portfolio_staleness', 'Balances']];
const RETRY_MS = 2000;

const panels = [];
let range = '15m';
let staleness = STALENESS[0][0];
let now = Date.now;

export function start(clock) {
  now = clock;
  panels.push(
    { rule: () => 'portfolio_refresh_p95', label: 'Refresh latency p95', chart: new Chart($('chart-latency'), format.value) },
    { rule: () => staleness, label: 'Staleness', chart: new Chart($('chart-staleness'), format.value) });
  choices();
}

function choices() {
  choice($('range'), RANGES.map(([key, label]) => [key, label]), range, (value) => { range = value; choices(); reload(); });
  choice($('staleness-rule'), STALENESS, staleness, (value) => { staleness = value; choices(); reload(); });
}

const seconds = () => RANGES.find(([key]) => key === range)[2];

/** Reads the past again: at start, after a reconnect, after a change of range. */
export function reload() {
  for (const panel of panels) load(panel);
}

async function load(panel) {
  const wanted = `${panel.rule()} ${range}`;
  panel.wanted = wanted;
  clearTimeout(panel.timer);
  try {
    const answer = await fetch(`/api/chart?rule=${panel.rule()}&window=${range}`);
    if (!answer.ok) throw new Error(`${answer.status}`);
    const past = await answer.json();
    if (panel.wanted !== wanted) return;
    panel.unit = past.unit;
    panel.warning = past.warning;
    panel.critical = past.critical;
    panel.stepMs = past.step_s * 1000;
    panel.series = new Map(past.series.map((one) => [format.scope(one.scope), one.values.map((value, index) => [past.first_ts + index * panel.stepMs, value])]));
    show(panel);
  } catch {
    panel.timer = setTimeout(() => { if (panel.wanted === wanted) load(panel); }, RETRY_MS);
  }
}

/** Adds the newest values; within one point the largest is kept, as in the past. */
export function add(windows) {
  const at = format.fromNanos(windows.at);
  for (const panel of panels) {
    if (!panel.series) continue;
    for (const window of windows.values.filter((value) => value.rule === panel.rule())) {
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
    label: panel.label, from, to, unit: panel.unit, warning: panel.warning ?? null, critical: panel.critical ?? null,
    series: [...panel.series].map(([name, points]) => ({ name: format.title(name), points })),
  });
}
