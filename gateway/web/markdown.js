// Just enough Markdown for Spark's own reports and runbooks, as elements and never as markup.

import { h } from './dom.js';

const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\(([^)\s]+)\)/g;

function inline(line) {
  const parts = [];
  let from = 0;
  for (const found of line.matchAll(INLINE)) {
    parts.push(line.slice(from, found.index));
    const [whole, code, bold, label, target] = found;
    // A link within the repository leads nowhere from here: its text is enough.
    parts.push(code ? h('code', {}, code) : bold ? h('strong', {}, bold) : isWeb(target) ? h('a', { href: target, rel: 'noreferrer' }, label) : label);
    from = found.index + whole.length;
  }
  return [...parts, line.slice(from)];
}

/** Whether it is an address that a browser may be sent to. */
export const isWeb = (target) => /^https?:\/\//.test(target ?? '');

const cells = (line) => line.trim().replace(/^\||\|$/g, '').split('|').map((cell) => cell.trim());

/** The blocks of a text; headings begin at `level`. */
export function render(source, level = 3) {
  const lines = source.split(/\r?\n/);
  const blocks = [];
  let at = 0;
  const while_ = (fits) => {
    const taken = [];
    while (at < lines.length && fits(lines[at])) taken.push(lines[at++]);
    return taken;
  };
  while (at < lines.length) {
    const line = lines[at];
    const heading = /^(#+)\s+(.*)/.exec(line);
    if (!line.trim()) at++;
    else if (heading) {
      blocks.push(h(`h${Math.min(6, level + heading[1].length - 1)}`, {}, ...inline(heading[2])));
      at++;
    } else if (line.startsWith('```')) {
      at++;
      blocks.push(h('pre', { tabindex: '0' }, h('code', {}, while_((one) => !one.startsWith('```')).join('\n'))));
      at++;
    } else if (line.startsWith('|')) {
      const [head, , ...rows] = while_((one) => one.startsWith('|')).map(cells);
      blocks.push(h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Table' }, h('table', { class: 'plain' },
        h('thead', {}, h('tr', {}, head.map((cell) => h('th', { scope: 'col' }, ...inline(cell))))),
        h('tbody', {}, rows.map((row) => h('tr', {}, row.map((cell) => h('td', {}, ...inline(cell)))))))));
    } else if (/^\s*([-*]|\d+\.)\s/.test(line)) {
      const kind = /^\s*\d/.test(line) ? 'ol' : 'ul';
      const items = while_((one) => /^\s*([-*]|\d+\.)\s/.test(one) || /^\s{2,}\S/.test(one)).reduce((all, one) => {
        if (/^\s*([-*]|\d+\.)\s/.test(one)) all.push(one.replace(/^\s*([-*]|\d+\.)\s+/, ''));
        else all.push(`${all.pop()} ${one.trim()}`);
        return all;
      }, []);
      blocks.push(h(kind, {}, items.map((item) => h('li', {}, ...inline(item)))));
    } else {
      const taken = while_((one) => one.trim() && !/^(#|```|\||\s*[-*]\s)/.test(one));
      // What only looks like the beginning of something is a line like any other.
      blocks.push(h('p', {}, ...inline((taken.length ? taken : [lines[at++]]).join(' '))));
    }
  }
  return blocks;
}
