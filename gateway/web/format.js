// Numbers and times for people. Exact values are in the API; a page shows what fits.

const NONE = '–';
const formats = new Map();

function grouped(value, least, most) {
  const key = `${least}/${most}`;
  if (!formats.has(key)) {
    formats.set(key, new Intl.NumberFormat('en-US', { minimumFractionDigits: least, maximumFractionDigits: most }));
  }
  return formats.get(key).format(value);
}

export const usd = (value) => (value === null || value === undefined ? NONE : `${value < 0 ? '-' : ''}$${grouped(Math.abs(value), 2, 2)}`);
export const amount = (value) => (value === null || value === undefined ? NONE : grouped(value, 0, 8));
export const count = (value) => (value === null || value === undefined ? NONE : grouped(value, 0, 0));

/** Digits after the point that a price of this size is shown with: a column then never changes its width. */
export function price(value) {
  if (value === null || value === undefined) return NONE;
  const size = Math.abs(value);
  const digits = size >= 100000 ? 0 : size >= 1000 ? 2 : size >= 10 ? 3 : size >= 0.1 ? 4 : 8;
  return grouped(value, digits, digits);
}

export function age(ms) {
  if (ms === null || ms === undefined) return NONE;
  if (ms < 1000) return '<1 s';
  const s = ms / 1000;
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d`;
}

export function bytes(value) {
  return value === null || value === undefined ? NONE : `${grouped(value / 1048576, 1, 1)} MiB`;
}

export const clock = (ms) => new Date(ms).toLocaleTimeString('en-GB');

// Units that say what a bare number is, but not beside it.
const UNSPOKEN = ['count', 'ratio'];

export function value(number, unit) {
  if (number === null || number === undefined) return NONE;
  const digits = Math.abs(number) >= 100 ? 0 : Math.abs(number) >= 1 ? 1 : 3;
  return `${grouped(number, 0, digits)}${unit && !UNSPOKEN.includes(unit) ? ` ${unit}` : ''}`;
}

/** Nanoseconds since the epoch, as messages carry them, to milliseconds. */
export const fromNanos = (nanos) => nanos / 1e6;

export const scope = (scope) => Object.values(scope).join(' · ') || 'all';
export const title = (name) => ({ binance: 'Binance', btcturk: 'BtcTurk', bist: 'BIST' })[name] || name;
