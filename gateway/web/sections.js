// The sections of the page: folded or open, in an order that somebody chose, live or stale, and the way to each of them.

import { $, attr, h, text } from './dom.js';
import * as format from './format.js';
import { keep, recall } from './store.js';

/** Every section in the order of the document, with its heading and the key that goes there after `g`. */
export const SECTIONS = [...document.querySelectorAll('[data-section]')].map((element) => {
  const name = element.dataset.section;
  return { name, element, title: $(`h-${name}`).textContent, key: element.dataset.key ?? '' };
});
const DEFAULT_ORDER = SECTIONS.map((section) => section.name);

let folded = new Set(recall('folded', []));
let hidden = new Set(recall('hidden', []));

const find = (name) => SECTIONS.find((section) => section.name === name);

/** The order of now: as chosen, then whatever is new. */
export function order() {
  const chosen = recall('order', []).filter((name) => DEFAULT_ORDER.includes(name));
  return [...chosen, ...DEFAULT_ORDER.filter((name) => !chosen.includes(name))];
}

export const isHidden = (name) => hidden.has(name);

export function start() {
  for (const { name } of SECTIONS) $(`f-${name}`).addEventListener('click', () => fold(name, !folded.has(name)));
  arrange();
  links();
  watch();
}

/** Puts everything where the choices say. */
export function arrange() {
  folded = new Set(recall('folded', []));
  hidden = new Set(recall('hidden', []));
  const wanted = order();
  const now = [...$('main').children].map((element) => element.dataset.section);
  delete document.documentElement.dataset.wait;
  if (wanted.join() !== now.join()) $('main').append(...wanted.map((name) => find(name).element));
  for (const { name, element } of SECTIONS) {
    element.hidden = hidden.has(name);
    const shut = folded.has(name);
    element.classList.toggle('folded', shut);
    $(`b-${name}`).hidden = shut;
    attr($(`f-${name}`), 'aria-expanded', String(!shut));
    attr($(`f-${name}`), 'title', shut ? 'Unfold' : 'Fold');
  }
}

function fold(name, shut) {
  const names = recall('folded', []).filter((one) => one !== name);
  keep('folded', shut ? [...names, name] : names);
  arrange();
}

/** Moves a section one place up or down in the order. */
export function move(name, step) {
  const names = order();
  const at = names.indexOf(name);
  const to = at + step;
  if (to < 0 || to >= names.length) return;
  [names[at], names[to]] = [names[to], names[at]];
  keep('order', names);
  arrange();
  links();
}

export function show(name, visible) {
  const names = recall('hidden', []).filter((one) => one !== name);
  keep('hidden', visible ? names : [...names, name]);
  arrange();
  links();
}

/** Goes to a section: unfolded, seen, and with the focus on its heading. */
export function go(name) {
  if (hidden.has(name)) show(name, true);
  if (folded.has(name)) fold(name, false);
  const heading = $(`h-${name}`);
  find(name).element.scrollIntoView({ block: 'start' });
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}

export function links() {
  $('sections').replaceChildren(h('ul', {}, order().filter((name) => !hidden.has(name)).map((name) => {
    const { title } = find(name);
    return h('li', {}, h('a', { href: `#s-${name}`, onclick: (event) => { event.preventDefault(); go(name); } }, title));
  })));
}

/** Brings a link into sight where there is no room for all of them; nothing but their row moves. */
function reveal(link) {
  const row = link.closest('ul');
  const [box, own] = [row.getBoundingClientRect(), link.getBoundingClientRect()];
  if (own.left < box.left) row.scrollLeft -= box.left - own.left + 24;
  else if (own.right > box.right) row.scrollLeft += own.right - box.right + 24;
}

/** Marks the link of the section that is read. */
function watch() {
  const seen = new Map();
  const mark = () => {
    const top = order().find((name) => seen.get(name));
    for (const link of document.querySelectorAll('#sections a')) {
      const here = link.hash === `#s-${top}`;
      attr(link, 'aria-current', here ? 'true' : null);
      if (here) reveal(link);
    }
  };
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) seen.set(entry.target.dataset.section, entry.isIntersecting);
    mark();
  }, { rootMargin: '-18% 0px -55% 0px' });
  for (const { element } of SECTIONS) observer.observe(element);
}

/**
 * What is known about a section's data: `state` is loading, live, empty or stale; `why` says what is wrong with it, and
 * `at` when it was last taken in, ms. `partly`: only rows of it are old, and marked so themselves.
 */
export function tell(name, { state, why = '', at = null, partly = false }, now) {
  const { element } = find(name);
  attr(element, 'data-state', state);
  attr(element, 'data-partly', state === 'stale' && partly);
  if (at !== null) attr(element, 'data-updated', Math.round(at));
  const age = at === null ? '' : `${format.age(Math.max(0, now - at))} old`;
  const stamp = $(`stamp-${name}`);
  text(stamp, state === 'stale' ? [why, age].filter(Boolean).join(', ') : '');
  attr(stamp, 'title', state === 'stale' ? stamp.textContent : null);
}
