// Elements without innerHTML: nothing that comes off the bus is ever read as markup.

export const $ = (id) => document.getElementById(id);

/** `h('td', {class: 'r'}, 'text', child)`; null and undefined children are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) element.append(child);
  }
  return element;
}

/** Writes a text only when it differs, so that nothing is laid out for nothing. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

export function table(columns, rows, foot) {
  const cell = (kind) => (value, index) =>
    value instanceof Element && value.tagName === 'TD' ? value : h(kind, { class: columns[index]?.[1] || null }, value);
  return h('table', {},
    h('thead', {}, h('tr', {}, columns.map(([title, kind]) => h('th', { class: kind || null, scope: 'col' }, title)))),
    h('tbody', {}, rows.map((row) => h('tr', {}, row.map(cell('td'))))),
    foot ? h('tfoot', {}, h('tr', {}, foot.map(cell('td')))) : null);
}

/** Buttons of which one is chosen; arrow keys move between them. `kind` is `tab` or `toggle`. */
export function choice(container, options, chosen, onchoose, kind = 'toggle') {
  const state = kind === 'tab' ? 'aria-selected' : 'aria-pressed';
  const key = options.map(([value, label]) => `${value}=${label}`).join('|');
  if (container.dataset.key !== key) {
    container.dataset.key = key;
    container.replaceChildren(...options.map(([value, label]) => h('button', {
      type: 'button', 'data-value': value, role: kind === 'tab' ? 'tab' : null, onclick: () => onchoose(value),
    }, label)));
    container.onkeydown = (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const buttons = [...container.children];
      const next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
      next.focus();
      next.click();
    };
  }
  for (const button of container.children) {
    const on = button.dataset.value === chosen;
    button.setAttribute(state, on);
    button.tabIndex = on || kind !== 'tab' ? 0 : -1;
  }
}
