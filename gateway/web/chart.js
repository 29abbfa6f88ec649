// A small line chart in SVG: threshold lines, a series per scope, values under the pointer.

import { s } from './dom.js';

// In the page's font size, which grows with the screen.
const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);
const COLORS = 6;
// A threshold within this many times the highest value is drawn at its true height.
const NEAR = 4;

export class Chart {
  /** `format(value, unit)` gives the text of a value. */
  constructor(container, format) {
    this.container = container;
    this.format = format;
    this.data = null;
    this.pointer = null;
    this.svg = s('svg', { role: 'img', tabindex: '0' });
    this.legend = document.createElement('div');
    this.legend.className = 'legend';
    container.replaceChildren(this.svg, this.legend);
    this.svg.addEventListener('pointermove', (event) => this.hover(event.clientX - this.svg.getBoundingClientRect().left));
    this.svg.addEventListener('pointerleave', () => this.hover(null));
    this.svg.addEventListener('blur', () => this.hover(null));
    this.svg.addEventListener('keydown', (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || !this.data) return;
      event.preventDefault();
      this.hover((this.pointer ?? this.width) + step * Math.max(4, this.width / 60));
    });
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  /** `{label, from, to, unit, warning, critical, fit, series: [{name, points: [[ms, value|null]…]}]}`; with `fit` the scale begins near the lowest value, else at 0. */
  set(data) { this.data = data; this.draw(); }

  hover(x) { this.pointer = x; this.draw(); }

  draw() {
    this.width = this.svg.clientWidth;
    this.height = this.svg.clientHeight;
    if (!this.data || !this.width) return;
    const { from, to, series, label } = this.data;
    const plot = this.layout();
    const parts = [...this.axes(plot), ...limitLines(plot)];
    series.forEach((one, index) => parts.push(s('path', { class: 'line', d: path(one.points, plot.x, plot.y), stroke: color(index) })));
    parts.push(...limitLabels(plot));
    if (plot.empty) {
      parts.push(s('text', { x: (plot.left + plot.right) / 2, y: (plot.top + plot.bottom) / 2, 'text-anchor': 'middle' }, 'no values in this time range'));
    }
    const at = this.pointer === null ? null : from + ((this.pointer - plot.left) / (plot.right - plot.left)) * (to - from);
    const inside = at !== null && at >= from && at <= to;
    if (inside) parts.push(s('line', { class: 'cursor', x1: this.pointer, x2: this.pointer, y1: plot.top, y2: plot.bottom }));
    this.svg.replaceChildren(...parts);
    this.svg.setAttribute('viewBox', `0 0 ${this.width} ${this.height}`);
    this.drawLegend(inside ? at : null);
    this.svg.setAttribute('aria-label', [`${label}: ${this.legend.textContent}`, ...plot.limits.map((limit) => limit.text)].join(', '));
  }

  /** The edges, the scales and where each threshold's line is. */
  layout() {
    const { from, to, series, unit, warning, critical } = this.data;
    const values = series.flatMap((one) => one.points.map((point) => point[1])).filter((value) => value !== null);
    const high = values.reduce((a, b) => Math.max(a, b), 0);
    const given = [[critical, 'bad', 'critical'], [warning, 'warn', 'warning']].filter(([limit]) => limit !== null);
    // A threshold that values come near is at its true height; a far one would press them flat.
    let most = high * 1.15 || warning || 1;
    for (const [limit] of given) if (limit <= high * NEAR) most = Math.max(most, limit * 1.12);
    const base = this.data.fit && values.length ? values.reduce((a, b) => Math.min(a, b), high) : 0;
    const ticks = base ? between(base, Math.max(high, base * 1.001), 5) : steps(most, 5);
    const least = ticks[0];
    most = ticks.at(-1);
    const named = ticks.map((tick) => [tick, this.format(tick, unit)]);
    const far = given.filter(([limit]) => limit > most);
    const row = 1.35 * rem();
    const top = 0.9 * rem() + far.length * row;
    const bottom = this.height - 1.5 * rem();
    const left = Math.max(...named.map(([, name]) => name.length)) * 0.46 * rem() + 0.9 * rem();
    const right = this.width - 0.8 * rem();
    const y = (value) => bottom - ((value - least) / (most - least)) * (bottom - top);
    const limits = given.map(([limit, kind, word]) => {
      const above = far.findIndex(([other]) => other === limit);
      const text = `${word} ${this.format(limit, unit)}`;
      // Beyond the scale: a line of its own above it, the critical one highest, and an arrow towards where it really is.
      return above < 0 ? { kind, text, y: y(limit) } : { kind, text: `${text} ↑`, y: (above + 1) * row };
    });
    const x = (ms) => left + ((ms - from) / (to - from)) * (right - left);
    return { left, right, top, bottom, x, y, ticks: named, limits, empty: !values.length };
  }

  axes({ left, right, bottom, x, y, ticks }) {
    const { from, to } = this.data;
    const parts = [];
    for (const [tick, name] of ticks) {
      parts.push(s('line', { class: 'grid', x1: left, x2: right, y1: y(tick), y2: y(tick) }));
      parts.push(s('text', { x: left - 7, y: y(tick) + 4, 'text-anchor': 'end' }, name));
    }
    const times = this.width < 420 ? 2 : 4;
    for (let i = 0; i <= times; i++) {
      const ms = from + ((to - from) * i) / times;
      const anchor = i === 0 ? 'start' : i === times ? 'end' : 'middle';
      parts.push(s('text', { x: x(ms), y: this.height - 4, 'text-anchor': anchor }, time(ms, to - from)));
    }
    parts.push(s('text', { x: left - 7, y: this.height - 4, 'text-anchor': 'end' }, zone(to)));
    return parts;
  }

  drawLegend(at) {
    const { series, unit } = this.data;
    const items = series.map((one, index) => {
      const point = at === null ? one.points.findLast((point) => point[1] !== null) : nearest(one.points, at);
      const item = document.createElement('span');
      const mark = document.createElement('i');
      mark.style.background = color(index);
      const value = document.createElement('b');
      const known = point && point[1] !== null;
      value.textContent = known ? this.format(point[1], unit) : '–';
      item.append(mark, `${one.name} `, value);
      return item;
    });
    if (this.data.others) items.push(Object.assign(document.createElement('span'), { textContent: `and ${this.data.others} lower` }));
    if (at !== null) {
      const note = document.createElement('span');
      note.textContent = time(at, 0);
      items.push(note);
    }
    this.legend.replaceChildren(...items);
  }
}

function limitLines({ left, right, limits }) {
  return limits.map((limit) => s('line', { class: `limit ${limit.kind}`, x1: left, x2: right, y1: limit.y, y2: limit.y }));
}

function limitLabels({ right, limits }) {
  return limits.map((limit) => s('text', { class: limit.kind, x: right, y: limit.y - 5, 'text-anchor': 'end' }, limit.text));
}

const color = (index) => `var(--s${(index % COLORS) + 1})`;

function path(points, x, y) {
  let d = '';
  let pen = false;
  for (const [ms, value] of points) {
    if (value === null) { pen = false; continue; }
    d += `${pen ? 'L' : 'M'}${x(ms).toFixed(1)} ${y(value).toFixed(1)}${pen ? '' : 'h.01'}`;
    pen = true;
  }
  return d;
}

function nearest(points, at) {
  return points.reduce((best, point) => (!best || Math.abs(point[0] - at) < Math.abs(best[0] - at) ? point : best), null);
}

/** A round step of at least `raw`. */
function round(raw) {
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((step) => step >= raw);
}

/** Round steps from at most `low` to at least `high`. */
function between(low, high, wanted) {
  const step = round((high - low) / wanted);
  const first = Math.floor(low / step);
  return Array.from({ length: Math.ceil(high / step - 1e-9) - first + 1 }, (_, index) => (first + index) * step);
}

/** Round steps from 0 to at least `top`. */
function steps(top, wanted) {
  const step = round(top / wanted);
  return Array.from({ length: Math.ceil(top / step - 1e-9) + 1 }, (_, index) => index * step);
}

function time(ms, span) {
  if (span > 300 * 86400000) return new Date(ms).toLocaleDateString('en-GB', { month: 'short', year: 'numeric' });
  if (span > 3 * 86400000) return new Date(ms).toLocaleDateString('en-GB', { day: '2-digit', month: 'short' });
  const options = { hour: '2-digit', minute: '2-digit', ...(span < 600000 ? { second: '2-digit' } : {}) };
  return new Date(ms).toLocaleTimeString('en-GB', options);
}

/** The time zone of the axis: `UTC`, `GMT+3`. */
function zone(ms) {
  const parts = new Intl.DateTimeFormat('en-GB', { timeZoneName: 'short' }).formatToParts(ms);
  return parts.find((part) => part.type === 'timeZoneName')?.value ?? '';
}
