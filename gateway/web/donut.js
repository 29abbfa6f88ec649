// How a sum is shared: a ring with a legend, and the share under the pointer or the focus in its middle.

import { attr, h, s, text } from './dom.js';

const RADIUS = 42;
const INNER = 30;
const COLORS = 7;
const LEAST = 0.004; // A thinner piece would not be seen.

const point = (radius, turn) => [50 + radius * Math.sin(turn * 2 * Math.PI), 50 - radius * Math.cos(turn * 2 * Math.PI)].map((at) => at.toFixed(3)).join(' ');

function arc(from, to) {
  const end = to - from > 0.9999 ? from + 0.9999 : to; // A whole ring would begin where it ends, and be none.
  const large = end - from > 0.5 ? 1 : 0;
  return `M${point(RADIUS, from)}A${RADIUS} ${RADIUS} 0 ${large} 1 ${point(RADIUS, end)}L${point(INNER, end)}A${INNER} ${INNER} 0 ${large} 0 ${point(INNER, from)}Z`;
}

export class Donut {
  /** `places`: pieces at most, with the one that holds the rest; their room is kept free. */
  constructor(box, places) {
    this.places = places;
    this.chosen = null;
    this.name = h('span', { id: 'donut-name', class: 'dim small' });
    this.value = h('b', { id: 'donut-value', class: 'num' });
    this.ring = s('g');
    this.svg = s('svg', { viewBox: '0 0 100 100', role: 'img' }, s('circle', { class: 'hole', cx: 50, cy: 50, r: (RADIUS + INNER) / 2 }), this.ring);
    this.legend = h('ul', { id: 'donut-legend' });
    box.replaceChildren(h('div', { class: 'ring' }, this.svg, h('div', { class: 'middle', 'aria-hidden': 'true' }, this.name, this.value)), this.legend);
    const over = (event) => this.choose(event.target.closest('[data-key]')?.dataset.key ?? null);
    for (const [name, act] of [['pointerover', over], ['focusin', over], ['pointerleave', () => this.choose(null)], ['focusout', () => this.choose(null)]]) box.addEventListener(name, act);
  }

  choose(key) {
    if (this.chosen === key) return;
    this.chosen = key;
    this.mark();
  }

  /** `pieces`: `{key, name, value, shown}`, largest first; `total`: the sum as it is shown. */
  set(pieces, total) {
    const held = pieces.filter((piece) => piece.value > 0);
    const kept = held.length > this.places ? held.slice(0, this.places - 1) : held;
    const rest = held.slice(kept.length);
    const all = rest.length ? [...kept, { key: 'rest', name: `${rest.length} others`, value: rest.reduce((sum, piece) => sum + piece.value, 0), shown: null }] : kept;
    const sum = all.reduce((so, piece) => so + piece.value, 0);
    this.pieces = all.map((piece) => ({ ...piece, share: sum > 0 ? piece.value / sum : 0 }));
    this.total = total;
    this.drawRing();
    this.drawLegend();
    this.mark();
    attr(this.svg, 'aria-label', `Allocation of ${total}: ${this.pieces.map((piece) => `${piece.name} ${percent(piece.share)}`).join(', ') || 'nothing'}`);
  }

  drawRing() {
    while (this.ring.children.length > this.pieces.length) this.ring.lastChild.remove();
    while (this.ring.children.length < this.pieces.length) this.ring.append(s('path', { stroke: 'var(--card)', 'stroke-width': 0.8 }));
    let turn = 0;
    this.pieces.forEach((piece, index) => {
      const path = this.ring.children[index];
      attr(path, 'd', piece.share > LEAST ? arc(turn, turn + piece.share) : '');
      attr(path, 'fill', color(piece, index));
      attr(path, 'data-key', piece.key);
      turn += piece.share;
    });
  }

  drawLegend() {
    while (this.legend.children.length > this.pieces.length) this.legend.lastChild.remove();
    while (this.legend.children.length < this.pieces.length) {
      this.legend.append(h('li', {}, h('button', { type: 'button' }, h('i', { 'aria-hidden': 'true' }), h('span'), h('b', { class: 'num' }), h('span', { class: 'unseen' }))));
    }
    this.pieces.forEach((piece, index) => {
      const button = this.legend.children[index].firstChild;
      const [mark, name, share, exact] = button.children;
      attr(button, 'data-key', piece.key);
      mark.style.background = color(piece, index);
      text(name, piece.name);
      text(share, percent(piece.share));
      text(exact, piece.shown ?? '');
      attr(button, 'title', piece.shown);
    });
  }

  mark() {
    const chosen = this.pieces?.find((piece) => piece.key === this.chosen);
    text(this.name, chosen ? `${chosen.name} ${percent(chosen.share)}` : 'Total');
    text(this.value, chosen ? chosen.shown ?? percent(chosen.share) : this.total ?? '–');
    for (const element of [...this.ring.children, ...[...this.legend.children].map((item) => item.firstChild)]) {
      element.classList.toggle('faded', chosen !== undefined && element.dataset.key !== chosen.key);
    }
  }
}

const color = (piece, index) => (piece.key === 'rest' ? 'var(--faint)' : `var(--s${(index % COLORS) + 1})`);
const percent = (share) => `${(share * 100).toFixed(1)} %`;
