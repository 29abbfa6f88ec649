// A small line chart in SVG: threshold lines, a series per scope, values under the pointer.

const SVG = 'http://www.w3.org/2000/svg';
// In the page's font size, which grows with the screen.
const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);
const COLORS = 6;

function s(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export class Chart {
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

  /** `{label, from, to, unit, warning, critical, series: [{name, points: [[ms, value|null]…]}]}` */
  set(data) { this.data = data; this.draw(); }

  hover(x) { this.pointer = x; this.draw(); }

  draw() {
    this.width = this.svg.clientWidth;
    this.height = this.svg.clientHeight;
    if (!this.data || !this.width) return;
    const { from, to, series, warning, critical, label } = this.data;
    const PAD = { left: 3.3 * rem(), right: 0.8 * rem(), top: 0.9 * rem(), bottom: 1.5 * rem() };
    const values = series.flatMap((one) => one.points.map((point) => point[1])).filter((value) => value !== null);
    // A threshold belongs into the picture as soon as values come near it; a far one would press them flat.
    const high = values.reduce((a, b) => Math.max(a, b), 0);
    let top = high * 1.15 || warning || 1;
    for (const limit of [warning, critical]) if (limit !== null && limit <= high * 4) top = Math.max(top, limit * 1.12);
    const ticks = steps(top, 4);
    top = Math.max(top, ticks.at(-1));
    const x = (ms) => PAD.left + ((ms - from) / (to - from)) * (this.width - PAD.left - PAD.right);
    const y = (value) => this.height - PAD.bottom - (value / top) * (this.height - PAD.top - PAD.bottom);
    const parts = [];
    for (const tick of ticks) {
      parts.push(s('line', { class: 'grid', x1: PAD.left, x2: this.width - PAD.right, y1: y(tick), y2: y(tick) }));
      parts.push(s('text', { x: PAD.left - 7, y: y(tick) + 4, 'text-anchor': 'end' }, this.format(tick)));
    }
    const times = this.width < 420 ? 2 : 4;
    for (let i = 0; i <= times; i++) {
      const ms = from + ((to - from) * i) / times;
      const anchor = i === 0 ? 'start' : i === times ? 'end' : 'middle';
      parts.push(s('text', { x: x(ms), y: this.height - 4, 'text-anchor': anchor }, time(ms, to - from)));
    }
    const limits = [[warning, 'warn', 'warning'], [critical, 'bad', 'critical']].filter(([limit]) => limit !== null && limit <= top);
    for (const [limit, kind] of limits) {
      parts.push(s('line', { class: `limit ${kind}`, x1: PAD.left, x2: this.width - PAD.right, y1: y(limit), y2: y(limit) }));
    }
    series.forEach((one, index) => parts.push(s('path', { class: 'line', d: path(one.points, x, y), stroke: color(index) })));
    for (const [limit, kind, word] of limits) {
      parts.push(s('text', { class: kind, x: this.width - PAD.right, y: y(limit) - 5, 'text-anchor': 'end' }, `${word} ${this.format(limit)}`));
    }
    if (!values.length) {
      parts.push(s('text', { x: this.width / 2, y: this.height / 2 - 8, 'text-anchor': 'middle' }, 'no values in this time range'));
    }
    const at = this.pointer === null ? null : from + ((this.pointer - PAD.left) / (this.width - PAD.left - PAD.right)) * (to - from);
    const inside = at !== null && at >= from && at <= to;
    if (inside) parts.push(s('line', { class: 'cursor', x1: this.pointer, x2: this.pointer, y1: PAD.top, y2: this.height - PAD.bottom }));
    this.svg.replaceChildren(...parts);
    this.svg.setAttribute('viewBox', `0 0 ${this.width} ${this.height}`);
    this.drawLegend(inside ? at : null);
    this.svg.setAttribute('aria-label', `${label}: ${this.legend.textContent}`);
  }

  drawLegend(at) {
    const { series, warning, critical, unit } = this.data;
    const items = series.map((one, index) => {
      const point = at === null ? one.points.findLast((point) => point[1] !== null) : nearest(one.points, at);
      const item = document.createElement('span');
      const mark = document.createElement('i');
      mark.style.background = color(index);
      const value = document.createElement('b');
      const known = point && point[1] !== null;
      value.textContent = known ? `${this.format(point[1])} ${unit ?? ''}` : '–';
      item.append(mark, `${one.name} `, value);
      return item;
    });
    const note = document.createElement('span');
    const limits = [warning !== null ? `warning ${this.format(warning)}` : '', critical !== null ? `critical ${this.format(critical)}` : ''].filter(Boolean);
    note.textContent = at === null ? limits.join(', ') : new Date(at).toLocaleTimeString('en-GB');
    if (items.length || at !== null) items.push(note);
    this.legend.replaceChildren(...items);
  }
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

/** Round steps from 0 to at least `top`. */
function steps(top, wanted) {
  const raw = top / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((step) => step >= raw);
  return Array.from({ length: Math.ceil(top / step - 1e-9) + 1 }, (_, index) => index * step);
}

function time(ms, span) {
  const options = { hour: '2-digit', minute: '2-digit', ...(span < 600000 ? { second: '2-digit' } : {}) };
  return new Date(ms).toLocaleTimeString('en-GB', options);
}
