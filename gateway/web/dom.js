// Elements, made one by one: nothing that comes off the bus is ever read as markup.

export const $ = (id) => document.getElementById(id);

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== '') element.append(child);
  }
  return element;
}

/** `h('td', {class: 'r'}, 'text', child)`; null, undefined and empty children are left out. */
export const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

/** As [`h`], of SVG. */
export const s = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/**
 * Writes a text only when it differs, so that nothing is laid out for nothing. A new text is a new node: one that
 * only changed would count as moved where it is set to the right.
 */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** Sets an attribute only when it differs; null and false remove it. */
export function attr(element, name, value) {
  const wanted = value === null || value === undefined || value === false ? null : String(value);
  if (element.getAttribute(name) === wanted) return;
  if (wanted === null) element.removeAttribute(name);
  else element.setAttribute(name, wanted);
}

/** Replaces children only when `key` says that they would differ. True when it did. */
export function swap(element, key, make) {
  if (element.dataset.key === key) return false;
  element.dataset.key = key;
  element.replaceChildren(...make());
  return true;
}

/** A state with its coloured dot: never by colour alone. */
export const tag = (tone, word, more = {}) => h('span', { class: `tag ${tone}`, ...more }, word);
