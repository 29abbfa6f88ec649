// Puts the parts together: one state, filled by the live stream, drawn at most once a frame.

import { $, attr, h, swap, text } from './dom.js';
import * as account from './account.js';
import * as alerts from './alerts.js';
import * as api from './api.js';
import * as backtests from './backtests.js';
import * as commands from './command.js';
import * as dialogs from './dialogs.js';
import * as format from './format.js';
import * as guard from './guard.js';
import * as keys from './keys.js';
import * as limits from './limits.js';
import { follow } from './live.js';
import * as orders from './orders.js';
import * as portfolio from './portfolio.js';
import * as prices from './prices.js';
import * as reports from './reports.js';
import * as rollout from './rollout.js';
import * as sections from './sections.js';
import * as settings from './settings.js';
import * as silences from './silences.js';
import * as system from './system.js';
import * as tables from './table.js';

const RECENT_MAX = 200;
const HIDDEN_MS = 500;

const state = { system: null, portfolio: null, prices: new Map(), alerts: { active: [], recent: [] }, windows: null, orders: { rows: [], openCount: null }, positions: null, guard: null, signals: null };
/** The gateway's clock minus this machine's, ms: ages do not depend on the browser's clock. */
let clockOffset = 0;
let link = 'connecting';
let heardAt = 0;
let begun = false;
const dirty = new Set();

const now = () => Date.now() + clockOffset;

/** Draws a section and says how its data is: `(state, now) → {state, why, at}`. */
const draw = {
  portfolio: portfolio.draw, prices: prices.draw, bist: prices.drawShares, alerts: alerts.draw, orders: orders.draw, positions: orders.drawPositions,
  trading: guard.draw, actions: guard.drawActions, limits: limits.draw, rollout: rollout.draw, model: rollout.drawModel, backtests: backtests.draw,
  strategies: backtests.drawStrategies, processes: system.drawProcesses, feeds: system.drawFeeds, parked: system.drawParked,
  reports: () => ({ state: 'live' }),
};

/** Which sections show what an event of the stream brings. */
const SHOWN_IN = {
  system: ['alerts', 'processes', 'feeds', 'parked'], portfolio: ['portfolio'], prices: ['prices'], alerts: ['alerts'], windows: ['limits'],
  orders: ['orders'], positions: ['positions'], guard: ['trading', 'actions'], signals: ['rollout', 'model', 'backtests', 'strategies', 'bist'],
};
/** The process that a section's data comes from. */
const SOURCES = { portfolio: 'portfolio', orders: 'executor', positions: 'executor', trading: 'risk', limits: 'guardrail', rollout: 'rollout', model: 'signal' };
const GONE = ['down', 'missing'];
const AGES = ['portfolio', 'prices', 'bist', 'alerts', 'orders', 'positions', 'trading', 'limits', 'rollout', 'model', 'parked'];

function mark(...parts) {
  // Frames are not drawn in the background, but the title there still says how many alerts are critical.
  if (!dirty.size) document.hidden ? setTimeout(paint, HIDDEN_MS) : requestAnimationFrame(paint);
  for (const part of parts) dirty.add(part);
}

function paint() {
  const parts = [...dirty];
  dirty.clear();
  const time = now();
  for (const part of parts) {
    if (part === 'head') drawHead();
    else told(part, section(part, time), time);
  }
}

/** One section that cannot be drawn does not take the others with it. */
function section(name, time) {
  try {
    return draw[name](state, time);
  } catch (error) {
    console.error(`the section ${name} could not be drawn`, error);
    return { state: 'stale', why: 'this could not be drawn' };
  }
}

/** Nothing is newer than the last word of the gateway, of the broker, and of the process that it comes from. */
function told(name, known, time) {
  const better = known.state === 'live' || known.state === 'empty';
  const lost = link !== 'live' && begun && known.state !== 'loading';
  sections.tell(name, lost ? { state: 'stale', why: 'connection lost', at: known.at ?? heardAt + clockOffset } : (better && away(name)) || known, time);
}

function away(name) {
  if (!state.system || name === 'reports') return null;
  if (!state.system.broker_connected) return { state: 'stale', why: 'the broker is away' };
  const row = state.system.processes.find((one) => one.name === SOURCES[name] && one.expected);
  if (!row || !GONE.includes(row.presence)) return null;
  return { state: 'stale', why: `${row.name} is ${row.presence}`, at: row.age_ms === null ? null : state.system.now_ms - row.age_ms };
}

function all() {
  mark('head', ...Object.keys(draw));
}

const put = (name, data) => {
  state[name] = data;
  mark('head', ...SHOWN_IN[name]);
};

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
    begun = true;
    if (data.windows) take.windows(data.windows);
    limits.reload();
    silences.reload();
    all();
  },
  resync: (data) => take.snapshot(data),
  prices(data) {
    clockOffset = data.now_ms - Date.now();
    for (const row of data.prices) state.prices.set(`${row.venue}.${row.symbol}`, row);
    mark('prices');
  },
  portfolio: (data) => put('portfolio', data),
  // A silence began or ended: what is told has changed, the alerts have not.
  alerts(data) {
    put('alerts', { active: data.active, recent: data.recent });
    silences.reload();
  },
  alert(data) {
    const key = alerts.keyOf(data);
    const others = (rows) => rows.filter((alert) => alerts.keyOf(alert) !== key);
    const active = data.state === 'firing' || data.state === 'pending' ? [...others(state.alerts.active), data] : others(state.alerts.active);
    const recent = [data, ...state.alerts.recent.filter((alert) => alerts.keyOf(alert) !== key || alert.revision !== data.revision)].slice(0, RECENT_MAX);
    put('alerts', { active, recent });
  },
  order: (data) => put('orders', { rows: orders.merge(state.orders.rows, data.orders), openCount: data.openCount }),
  position: (data) => put('positions', data),
  guard: (data) => put('guard', data),
  kill_switch: (data) => put('guard', data),
  signals: (data) => put('signals', data),
  windows(data) {
    limits.add(data);
    put('windows', data);
  },
  processes(data) {
    clockOffset = data.now_ms - Date.now();
    put('system', data);
  },
};

function hear(event, data) {
  try {
    take[event]?.(data);
  } catch (error) {
    console.error(`the event ${event} could not be read`, error);
  }
}

function drawHead() {
  drawStatus();
  text($('fact-total'), format.usd(state.portfolio?.totals.totalUsd));
  const firing = state.alerts.active.filter((alert) => alert.state === 'firing');
  const critical = firing.filter((alert) => alert.severity === 'critical').length;
  fact('alerts', state.system ? format.count(firing.length) : '–', critical ? 'bad' : firing.length ? 'warn' : '');
  // The table's rows, but for one that nobody expects and that has stopped: of an earlier run, missed by nobody.
  const counted = state.system?.processes.filter((row) => row.expected || row.presence !== 'down') ?? [];
  const up = counted.filter((row) => row.presence === 'up').length;
  fact('processes', state.system ? `${up} / ${counted.length}` : '–', up < counted.length ? 'bad' : '');
  const parked = state.system?.parked.count;
  fact('parked', format.count(parked), parked > 5 ? 'bad' : parked > 2 ? 'warn' : '');
  if (state.system) text($('version'), `Spark ${state.system.version}`);
  const title = critical ? `(${critical}) Spark` : 'Spark';
  if (document.title !== title) document.title = title;
}

function fact(name, words, tone) {
  const element = $(`fact-${name}`);
  text(element, words);
  attr(element, 'class', `num ${tone}`.trim());
}

/** The chip, the connection, and the line that always has its place. */
function drawStatus() {
  const age = heardAt ? format.age(Date.now() - heardAt) : '';
  const word = link === 'live' ? state.system?.status ?? 'WAIT' : begun ? 'LOST' : 'WAIT';
  attr($('status'), 'data-status', word);
  text($('status'), word === 'WAIT' ? '…' : word);
  attr(document.body, 'data-link', link === 'connecting' && begun ? 'lost' : link);
  attr($('link'), 'data-on', link === 'live' ? 'yes' : begun || link === 'denied' ? 'no' : '');
  text($('link-text'), { live: 'live', denied: 'token needed', connecting: 'connecting' }[link] ?? (begun ? 'lost' : 'no connection'));
  // Not announced: it changes every second.
  text($('link-age'), link === 'lost' && begun ? `${age} ago` : '');
  const lines = reasons();
  const stops = guard.stopped(state.guard);
  $('stopped').hidden = !stops.length;
  if (stops.length) swap($('stopped'), stops.join('\n'), () => [stops.join(' ')]);
  else delete $('stopped').dataset.key;
  attr($('stopped'), 'title', stops.join('\n') || null);
  $('line-text').hidden = stops.length > 0;
  text($('line-text'), lines[0] + (lines.length > 1 ? ` (and ${lines.length - 1} more)` : ''));
  swap($('reasons'), [...stops, ...lines].join('\n'), () => [...stops, ...lines].map((line) => h('li', {}, line)));
}

function reasons() {
  if (link === 'denied') return ['Reading needs a token here. Sign in to see the figures.'];
  if (link !== 'live') return [begun ? 'The gateway does not answer. What is shown is the last that it said; the page connects again by itself.' : 'Connecting to the gateway.'];
  const given = state.system?.reasons ?? [];
  if (given.length) return given;
  return [state.system?.status === 'DEMO' ? 'All well. The data is simulated: no real exchange is asked.' : 'All well.'];
}

function start() {
  settings.apply();
  sections.start();
  dialogs.start();
  commands.start(() => guard.isKilled(state.guard));
  const redraw = (...names) => () => mark(...names);
  const fromApi = (data) => put('portfolio', data);
  portfolio.start(fromApi, redraw('portfolio'));
  prices.start();
  orders.start(redraw('orders'));
  alerts.start(redraw('alerts'));
  guard.start(redraw('actions'));
  limits.start(now);
  rollout.start();
  backtests.start();
  system.start();
  reports.start();
  settings.start(() => { for (const part of [portfolio, orders, limits, tables]) part.reset(); all(); });
  $('footer-top').addEventListener('click', () => scrollTo({ top: 0 }));
  keys.start([
    ['r', 'refresh the portfolio', () => portfolio.refresh(fromApi)], ['k', 'kill switch', () => $('kill').click()],
    ['s', 'layout', () => $('settings').click()], ['t', 'next theme', settings.turn],
  ]);
  $('status').addEventListener('click', () => {
    const open = $('reasons').hidden;
    $('reasons').hidden = !open;
    attr($('status'), 'aria-expanded', String(open));
  });
  const connect = follow(
    (event, data) => { heardAt = Date.now(); hear(event, data); },
    (word) => {
      if (word === link) return;
      link = word;
      all();
      if (word === 'denied') account.show('Reading needs a token here.');
    },
  );
  account.start(connect);
  api.look();
  // Ages grow by themselves, whether or not anything comes.
  setInterval(() => mark('head', ...(link === 'live' ? AGES : begun ? Object.keys(draw) : [])), 1000);
  document.addEventListener('visibilitychange', () => { if (document.hidden && dirty.size) setTimeout(paint, HIDDEN_MS); });
  matchMedia('(max-width: 720px)').addEventListener('change', () => mark('alerts'));
}

start();
