// Puts the parts together: one state, filled by the live stream, drawn at most once a frame.

import { $, h, text } from './dom.js';
import * as format from './format.js';
import { follow } from './live.js';
import * as portfolio from './portfolio.js';
import * as prices from './prices.js';
import * as alerts from './alerts.js';
import * as charts from './charts.js';
import * as system from './system.js';
import * as orders from './orders.js';
import * as guard from './guard.js';
import * as rollout from './rollout.js';
import * as backtests from './backtests.js';
import * as bist from './bist.js';
import * as operator from './operator.js';

const RECENT_MAX = 200;

const state = { system: null, portfolio: null, prices: new Map(), alerts: { active: [], recent: [] }, windows: null, orders: { rows: [], openCount: null }, positions: null, guard: null, signals: null };
/** The gateway's clock minus this machine's, ms: ages do not depend on the browser's clock. */
let clockOffset = 0;
let connected = false;
let heardAt = 0;
const dirty = new Set();

const now = () => Date.now() + clockOffset;

const draw = {
  portfolio: () => portfolio.draw(state.portfolio, now(), () => mark('portfolio')),
  prices: () => prices.draw(state.prices, now()),
  alerts: () => alerts.draw(state.alerts, now(), state.system?.processes.find((row) => row.name === 'guardrail')),
  system: () => system.draw(state.system, now()),
  head: drawHead,
  orders: () => orders.draw(state.orders, () => mark('orders')),
  positions: () => orders.drawPositions(state.positions),
  guard: () => guard.draw(state.guard, now()),
  signals() {
    rollout.draw(state.signals, now());
    backtests.draw(state.signals);
    bist.draw(state.signals, now());
  },
};

function mark(...parts) {
  if (!dirty.size) requestAnimationFrame(() => {
    const parts = [...dirty];
    dirty.clear();
    for (const part of parts) draw[part]();
  });
  for (const part of parts) dirty.add(part);
}

const take = {
  snapshot(data) {
    take.processes(data.system);
    state.portfolio = data.portfolio;
    state.prices = new Map(data.prices.map((row) => [`${row.venue}.${row.symbol}`, row]));
    state.alerts = { active: data.alerts.active, recent: data.alerts.recent };
    state.orders = { rows: data.orders.orders, openCount: data.orders.openCount };
    state.positions = data.positions;
    state.guard = data.guard;
    state.signals = data.signals;
    mark('portfolio', 'prices', 'alerts', 'head', 'orders', 'positions', 'guard', 'signals');
    charts.reload();
    if (data.windows) take.windows(data.windows);
  },
  resync: (data) => take.snapshot(data),
  prices(data) {
    clockOffset = data.now_ms - Date.now();
    for (const row of data.prices) state.prices.set(`${row.venue}.${row.symbol}`, row);
    mark('prices');
  },
  portfolio(data) { state.portfolio = data; mark('portfolio', 'head'); },
  // A silence began or ended: what is told has changed, the alerts have not.
  alerts(data) {
    state.alerts = { active: data.active, recent: data.recent };
    mark('alerts', 'head');
  },
  alert(data) {
    const key = (alert) => `${alert.name} ${JSON.stringify(alert.scope)}`;
    state.alerts.active = state.alerts.active.filter((alert) => key(alert) !== key(data));
    if (data.state === 'firing' || data.state === 'pending') state.alerts.active.push(data);
    state.alerts.recent = state.alerts.recent.filter((alert) => key(alert) !== key(data) || alert.revision !== data.revision);
    state.alerts.recent.unshift(data);
    state.alerts.recent.length = Math.min(state.alerts.recent.length, RECENT_MAX);
    mark('alerts', 'head');
  },
  order(data) {
    state.orders = { rows: orders.merge(state.orders.rows, data.orders), openCount: data.openCount };
    mark('orders');
  },
  position(data) { state.positions = data; mark('positions'); },
  guard(data) { state.guard = data; mark('guard'); },
  signals(data) { state.signals = data; mark('signals'); },
  kill_switch: (data) => take.guard(data),
  windows(data) { charts.add(data); },
  processes(data) {
    clockOffset = data.now_ms - Date.now();
    state.system = data;
    mark('system', 'head', 'alerts');
  },
};

function drawHead() {
  const word = state.system?.status;
  const chip = $('status');
  if (word && connected) {
    chip.dataset.status = word;
    text(chip, word);
    const reasons = state.system.reasons;
    const lines = reasons.length ? reasons : [word === 'DEMO' ? 'All well. The data is simulated: no real exchange is asked.' : 'All well.'];
    if ($('reasons').dataset.key !== lines.join('\n')) {
      $('reasons').dataset.key = lines.join('\n');
      $('reasons').replaceChildren(...lines.map((line) => h('li', {}, line)));
    }
    chip.title = lines.join('\n');
  } else if (!connected && heardAt) {
    chip.dataset.status = 'WAIT';
    text(chip, 'LOST');
  }
  text($('fact-total'), format.usd(state.portfolio?.totals.totalUsd));
  const firing = state.alerts.active.filter((alert) => alert.state === 'firing');
  text($('fact-alerts'), state.system ? format.count(firing.length) : '–');
  $('fact-alerts').className = `num ${firing.some((alert) => alert.severity === 'critical') ? 'bad' : firing.length ? 'warn' : ''}`;
  // The table's rows, but for one that nobody expects and that has stopped: of an earlier run, missed by nobody.
  const counted = state.system?.processes.filter((row) => row.expected || row.presence !== 'down') ?? [];
  const up = counted.filter((row) => row.presence === 'up').length;
  text($('fact-processes'), state.system ? `${up} / ${counted.length}` : '–');
  $('fact-processes').className = `num ${up < counted.length ? 'bad' : ''}`;
  const parked = state.system?.parked.count;
  text($('fact-parked'), format.count(parked));
  $('fact-parked').className = `num ${parked > 5 ? 'bad' : parked > 2 ? 'warn' : ''}`;
  text($('link-text'), connected ? 'live' : heardAt ? `lost ${format.age(Date.now() - heardAt)} ago` : 'connecting');
  $('link').dataset.on = connected ? 'yes' : heardAt ? 'no' : '';
  document.body.classList.toggle('lost', !connected && heardAt > 0);
}

$('status').addEventListener('click', () => {
  const open = $('reasons').hidden;
  $('reasons').hidden = !open;
  $('status').setAttribute('aria-expanded', open);
});

follow(
  (event, data) => { heardAt = Date.now(); take[event](data); },
  (now) => { if (now !== connected) { connected = now; mark('head'); } },
);
// Ages grow by themselves. While the connection is lost the picture stands still, with its age in the bar.
setInterval(() => mark('head', ...(connected && state.system ? ['prices', 'alerts', 'portfolio', 'guard', 'signals'] : [])), 1000);
charts.start(now);
operator.start();
guard.start(() => state.guard?.killSwitch?.on ?? false);
