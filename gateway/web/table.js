// Tables whose rows are places: elements stay where they are and only their texts change, so that nothing jumps while the
// data moves, whatever the order. Their room is kept free before there is data.

import { attr, h, text } from './dom.js';
import { keep, recall } from './store.js';

const tables = [];

/** After the choices were forgotten: every table as it comes. */
export function reset() {
  for (const table of tables) {
    table.choices();
    table.headings();
    table.draw();
  }
}

const ARROWS = { ascending: '▲', descending: '▼', none: '' };

/**
 * `columns`: `{key, title, kind, width, by(row), draw(cell, row, now)}`. `by` makes it sortable; `draw` returns a text,
 * `{text, class, title, value}`, or nothing when it has filled the cell itself. `kind` is `r` for figures.
 * `room`: rows that are shown at once; more are on request. `key(row)` names a row, `old(row)` says that it is not of now.
 */
export class Table {
  constructor(box, { name, label, columns, room, key, sort = null, width = null, empty, tall = false, old = () => false }) {
    Object.assign(this, { box, name, columns, room, key, empty, old });
    this.first = sort;
    this.choices();
    tables.push(this);
    this.rows = [];
    this.now = 0;
    this.heads = new Map(columns.map((column) => [column.key, this.head(column)]));
    this.body = h('tbody');
    this.foot = h('tfoot');
    this.table = h('table', { 'data-table': name, class: tall ? 'tall' : null },
      h('caption', { class: 'unseen' }, label), h('thead', {}, h('tr', {}, [...this.heads.values()])), this.body, this.foot);
    if (width) this.table.style.minWidth = `${width}rem`;
    this.note = h('p', { class: 'empty' }, 'Waiting for the gateway.');
    this.more = h('button', { type: 'button', class: 'more', hidden: true, onclick: () => this.toggle() });
    this.scroll = h('div', { class: 'scroll', 'aria-label': label, hidden: true }, this.table);
    // Its room is in the style sheet: it is kept free before this code is there.
    box.replaceChildren(this.note, this.scroll, this.more);
    new ResizeObserver(() => this.reach()).observe(this.scroll);
    this.headings();
  }

  /** The order and the length that somebody chose, or those at first. */
  choices() {
    const kept = recall('sort', {})[this.name];
    const known = kept && this.columns.some((column) => column.by && column.key === kept.key) && ['ascending', 'descending'].includes(kept.dir);
    this.sort = known ? kept : this.first;
    this.open = recall('more', []).includes(this.name);
  }

  head(column) {
    const inner = column.by
      ? h('button', { type: 'button', onclick: () => this.sortBy(column.key) }, column.title, h('i', { 'aria-hidden': 'true' }))
      : h('span', { class: column.title ? null : 'unseen' }, column.title || column.label || column.key);
    const cell = h('th', { scope: 'col', class: column.kind ?? null, 'data-col': column.key }, inner);
    if (column.width) cell.style.width = typeof column.width === 'number' ? `${column.width}rem` : column.width;
    return cell;
  }

  headings() {
    for (const column of this.columns) {
      if (!column.by) continue;
      const state = this.sort?.key === column.key ? this.sort.dir : 'none';
      const cell = this.heads.get(column.key);
      attr(cell, 'aria-sort', state);
      text(cell.querySelector('i'), ARROWS[state]);
    }
  }

  sortBy(key) {
    const figures = this.columns.find((column) => column.key === key).kind?.split(' ').includes('r');
    const [first, second] = figures ? ['descending', 'ascending'] : ['ascending', 'descending'];
    this.sort = { key, dir: this.sort?.key === key && this.sort.dir === first ? second : first };
    keep('sort', { ...recall('sort', {}), [this.name]: this.sort });
    this.headings();
    this.draw();
  }

  toggle() {
    this.open = !this.open;
    const others = recall('more', []).filter((name) => name !== this.name);
    keep('more', this.open ? [...others, this.name] : others);
    this.draw();
  }

  /** Shows these rows. `foot`: texts by column, for a last line with the sums. */
  set(rows, now, foot = null, empty = this.empty) {
    this.rows = rows;
    this.now = now;
    this.footer = foot;
    this.note.hidden = rows.length > 0;
    text(this.note, rows.length ? '' : empty);
    this.scroll.hidden = !rows.length;
    this.draw();
  }

  ordered() {
    const column = this.sort && this.columns.find((one) => one.key === this.sort.key);
    if (!column) return this.rows;
    const sign = this.sort.dir === 'ascending' ? 1 : -1;
    const compare = (a, b) => {
      const [x, y] = [column.by(a), column.by(b)];
      // What is not known comes last in either order.
      if (x === null || x === undefined) return y === null || y === undefined ? 0 : 1;
      if (y === null || y === undefined) return -1;
      return sign * (typeof x === 'string' ? x.localeCompare(y, 'en') : x - y);
    };
    return [...this.rows].sort(compare);
  }

  draw() {
    const all = this.ordered();
    const shown = this.open ? all : all.slice(0, this.room);
    while (this.body.children.length > shown.length) this.body.lastChild.remove();
    while (this.body.children.length < shown.length) this.body.append(h('tr', {}, this.columns.map((column, index) => this.cell(column, index))));
    shown.forEach((row, index) => this.row(this.body.children[index], row));
    this.drawFoot();
    const hides = all.length > this.room;
    this.more.hidden = !hides;
    if (hides) text(this.more, this.open ? 'Show fewer' : `Show all ${all.length}`);
    attr(this.more, 'aria-expanded', String(this.open));
  }

  cell(column, index) {
    return h(index === 0 ? 'th' : 'td', { scope: index === 0 ? 'row' : null, class: column.kind ?? null, 'data-col': column.key });
  }

  row(line, row) {
    const key = String(this.key(row));
    const same = line.dataset.key === key;
    if (!same) line.dataset.key = key;
    line.row = row;
    line.classList.toggle('old', this.old(row));
    this.columns.forEach((column, index) => {
      const cell = line.children[index];
      const told = column.draw(cell, row, this.now, same);
      if (told === undefined) return;
      const { text: words, class: tone = '', title = null, value = null } = typeof told === 'string' ? { text: told } : told;
      text(cell, words);
      const wanted = `${column.kind ?? ''} ${tone}`.trim();
      if (cell.className !== wanted) cell.className = wanted;
      attr(cell, 'title', title);
      attr(cell, 'data-value', value);
    });
  }

  drawFoot() {
    if (!this.footer) { this.foot.replaceChildren(); return; }
    if (!this.foot.firstChild) this.foot.append(h('tr', {}, this.columns.map((column, index) => this.cell(column, index))));
    this.columns.forEach((column, index) => text(this.foot.firstChild.children[index], this.footer[column.key] ?? ''));
  }

  /** What scrolls sideways can be reached with the keyboard. */
  reach() {
    const wide = this.scroll.scrollWidth > this.scroll.clientWidth + 1;
    attr(this.scroll, 'tabindex', wide ? '0' : null);
    attr(this.scroll, 'role', wide ? 'group' : null);
  }
}
