// One of a few: tabs and radio groups. One stop for the Tab key; arrows, Home and End move and choose.

import { attr, h } from './dom.js';

const KINDS = { tab: ['tab', 'aria-selected'], radio: ['radio', 'aria-checked'] };
const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/** `options` are `[value, label]`. `controls` is the panel's id, for tabs. */
export function choice(box, options, chosen, onchoose, kind = 'radio', controls = null) {
  const [role, state] = KINDS[kind];
  const key = options.map((option) => option.join('=')).join('|');
  if (box.dataset.key !== key) {
    box.dataset.key = key;
    box.replaceChildren(...options.map(([value, label]) => h('button', {
      type: 'button', role, 'data-value': value, 'aria-controls': controls, id: kind === 'tab' ? `${box.id}-${value}` : null,
    }, label)));
  }
  box.onclick = (event) => {
    const button = event.target.closest('button');
    if (button && button.getAttribute(state) !== 'true') onchoose(button.dataset.value);
  };
  box.onkeydown = (event) => move(event, box);
  for (const button of box.children) {
    const on = button.dataset.value === chosen;
    attr(button, state, String(on));
    button.tabIndex = on ? 0 : -1;
  }
}

function move(event, box) {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const buttons = [...box.children];
  const at = buttons.indexOf(document.activeElement);
  const to = event.key === 'Home' ? 0 : event.key === 'End' ? buttons.length - 1
    : event.key in STEPS ? (at + STEPS[event.key] + buttons.length) % buttons.length : -1;
  if (to < 0) return;
  event.preventDefault();
  buttons[to].focus();
  buttons[to].click();
}
