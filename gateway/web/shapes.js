// Small pictures of the model: how its scores spread, and how often they were right.

import { s } from './dom.js';

const WIDTH = 320;
const HEIGHT = 190;
const LEFT = 42;
const BOTTOM = HEIGHT - 24;
const TOP = 14;
const RIGHT = WIDTH - 8;

const label = (x, y, value, anchor = 'middle') => s('text', { x, y, 'text-anchor': anchor }, value);
const percent = (value) => `${Math.round(value * 100)} %`;

function picture(name, ...parts) {
  return s('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': name, class: 'shape' }, ...parts);
}

/** `[{ml_bucket, count, advisory}]`: a bar a bucket; what nobody may trade on is paler. */
export function distribution(buckets) {
  const most = Math.max(1, ...buckets.map((bucket) => bucket.count));
  const step = (RIGHT - LEFT) / Math.max(1, buckets.length);
  const y = (count) => BOTTOM - (count / most) * (BOTTOM - TOP - 12);
  const parts = [s('line', { class: 'grid', x1: LEFT, x2: RIGHT, y1: BOTTOM, y2: BOTTOM })];
  buckets.forEach((bucket, index) => {
    const [x, wide] = [LEFT + step * index + step * 0.14, step * 0.72];
    const split = y(bucket.count - bucket.advisory);
    parts.push(
      s('rect', { class: 'bar', x, y: split, width: wide, height: BOTTOM - split }),
      s('rect', { class: 'bar pale', x, y: y(bucket.count), width: wide, height: split - y(bucket.count) }),
      label(x + wide / 2, y(bucket.count) - 4, bucket.count ? String(bucket.count) : ''),
      label(x + wide / 2, BOTTOM + 14, bucket.ml_bucket.replace('-', '–')));
  });
  const told = buckets.map((bucket) => `${bucket.ml_bucket}: ${bucket.count}`).join(', ');
  return picture(`Scores by confidence. ${told}`, ...parts);
}

/** `[{ml_bucket, count, hits, hitRate, meanConfid}]`: on the dashed line a model is as right as it is sure. */
export function reliability(rows) {
  const x = (confid) => LEFT + ((confid - 0.5) / 0.5) * (RIGHT - LEFT - 8);
  const y = (rate) => BOTTOM - rate * (BOTTOM - TOP);
  const parts = [];
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
    parts.push(s('line', { class: 'grid', x1: LEFT, x2: RIGHT, y1: y(tick), y2: y(tick) }), label(LEFT - 5, y(tick) + 4, percent(tick), 'end'));
  }
  for (const tick of [0.5, 0.6, 0.7, 0.8, 0.9, 1]) parts.push(label(x(tick), BOTTOM + 14, tick.toFixed(1)));
  parts.push(s('line', { class: 'ideal', x1: x(0.5), y1: y(0.5), x2: x(1), y2: y(1) }));
  const known = rows.filter((row) => row.count > 0 && row.meanConfid !== null);
  const most = Math.max(1, ...known.map((row) => row.count));
  if (known.length > 1) parts.push(s('path', { class: 'line', d: known.map((row, index) => `${index ? 'L' : 'M'}${x(row.meanConfid).toFixed(1)} ${y(row.hitRate).toFixed(1)}`).join('') }));
  for (const row of known) {
    const dot = s('circle', { class: 'dot', cx: x(row.meanConfid), cy: y(row.hitRate), r: 3 + 4 * Math.sqrt(row.count / most) });
    dot.append(s('title', {}, `${row.ml_bucket}: right ${percent(row.hitRate)} of ${row.count}`));
    parts.push(dot);
  }
  const told = known.map((row) => `${row.ml_bucket}: ${percent(row.hitRate)} of ${row.count}`).join(', ');
  return picture(`Reliability. ${told || 'no outcomes yet'}`, ...parts);
}
