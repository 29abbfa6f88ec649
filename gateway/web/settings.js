// What somebody may choose about the page: colours, density, the order of the sections.

import { $, h } from './dom.js';
import { choice } from './choice.js';
import { open } from './dialogs.js';
import { keep, recall, reset } from './store.js';
import * as sections from './sections.js';

const THEMES = [['auto', 'As the system'], ['light', 'Light'], ['dark', 'Dark']];
const DENSITIES = [['comfortable', 'Comfortable'], ['compact', 'Compact']];

const one = (options, value) => (options.some(([name]) => name === value) ? value : options[0][0]);
const theme = () => one(THEMES, recall('theme', 'auto'));
const density = () => one(DENSITIES, recall('density', 'comfortable'));

/** Colours and density as chosen. */
export function apply() {
  document.documentElement.dataset.theme = theme();
  document.documentElement.dataset.density = density();
}

export function start(onreset) {
  $('settings').addEventListener('click', () => { draw(); open($('settings-dialog')); });
  $('set-reset').addEventListener('click', () => {
    reset();
    apply();
    sections.arrange();
    sections.links();
    draw();
    onreset();
  });
}

function draw() {
  choice($('set-theme'), THEMES, theme(), (value) => { keep('theme', value); apply(); draw(); });
  choice($('set-density'), DENSITIES, density(), (value) => { keep('density', value); apply(); draw(); });
  const names = sections.order();
  const focused = document.activeElement?.closest?.('#set-order li') ? [document.activeElement.closest('li').dataset.section, document.activeElement.dataset.move] : null;
  $('set-order').replaceChildren(...names.map((name, index) => row(name, index, names.length)));
  if (focused) restore(...focused);
}

function row(name, index, count) {
  const { title } = sections.SECTIONS.find((section) => section.name === name);
  const arrow = (direction, step, label, off) => h('button', {
    type: 'button', class: 'icon', 'data-move': direction, disabled: off, 'aria-label': `${title} ${direction}`,
    onclick: () => { sections.move(name, step); draw(); },
  }, label);
  const box = h('input', { type: 'checkbox', onchange: (event) => sections.show(name, event.target.checked) });
  box.checked = !sections.isHidden(name);
  return h('li', { 'data-section': name }, h('label', { class: 'check' }, box, title),
    arrow('up', -1, '↑', index === 0), arrow('down', 1, '↓', index === count - 1));
}

/** After a move the focus goes on with the section, on a button that can still be used. */
function restore(name, direction) {
  const line = $('set-order').querySelector(`[data-section="${name}"]`);
  const wanted = direction && line.querySelector(`[data-move=${direction}]`);
  (wanted && !wanted.disabled ? wanted : line.querySelector('button:not([disabled])')).focus();
}

/** The next theme, for the shortcut. */
export function turn() {
  const names = THEMES.map(([name]) => name);
  keep('theme', names[(names.indexOf(theme()) + 1) % names.length]);
  apply();
}
