// Shortcuts. They are only heard while no field and no dialog has the focus.

import { $, h } from './dom.js';
import { open } from './dialogs.js';
import { SECTIONS, go } from './sections.js';

const GO_MS = 1500;

/** `actions` are `[key, what it does, act]`. */
export function start(actions) {
  let since = 0;
  addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (document.querySelector('dialog[open]') || event.target.closest?.('input, textarea, select, [contenteditable]')) return;
    const { key } = event;
    if (event.timeStamp - since < GO_MS) {
      since = 0;
      const section = SECTIONS.find((one) => one.key === key);
      if (section) { event.preventDefault(); go(section.name); }
      return;
    }
    if (key === 'g') { since = event.timeStamp; return; }
    if (key === '?') { event.preventDefault(); open($('help-dialog')); return; }
    const action = actions.find(([wanted]) => wanted === key);
    if (action) { event.preventDefault(); action[2](); }
  });
  $('help').addEventListener('click', () => open($('help-dialog')));
  const keys = (...names) => names.map((name) => h('kbd', {}, name));
  const rows = [
    [keys('?'), 'this help'], ...actions.map(([key, what]) => [keys(key), what]),
    ...SECTIONS.filter((section) => section.key).map((section) => [keys('g', section.key), section.title]),
    [keys('Esc'), 'close a dialog'], [keys('←', '→'), 'move between tabs, choices, and along a chart'],
  ];
  $('help-keys').replaceChildren(...rows.flatMap(([key, what]) => [h('dt', {}, key), h('dd', {}, what)]));
}
