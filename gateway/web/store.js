// What somebody chose about the layout: kept by the browser, forgotten when it may not be.

const KEY = 'spark.layout';
const chosen = read();

function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? '{}');
    return kept !== null && typeof kept === 'object' && !Array.isArray(kept) ? kept : {};
  } catch {
    return {}; // Blocked, or not ours.
  }
}

/** The kept value of that name if it has the type of `otherwise`, else `otherwise`. */
export function recall(name, otherwise) {
  const kept = chosen[name];
  const fits = typeof kept === typeof otherwise && Array.isArray(kept) === Array.isArray(otherwise) && kept !== null;
  return fits ? kept : otherwise;
}

export function keep(name, value) {
  chosen[name] = value;
  write(() => localStorage.setItem(KEY, JSON.stringify(chosen)));
}

/** Forgets every choice. */
export function reset() {
  for (const name of Object.keys(chosen)) delete chosen[name];
  write(() => localStorage.removeItem(KEY));
}

function write(act) {
  try { act(); } catch { /* Blocked or full: the choice holds for as long as the page is open. */ }
}

/** The token, for as long as the tab is open. */
export const token = {
  get() { try { return sessionStorage.getItem('spark.token') ?? ''; } catch { return ''; } },
  set(value) {
    write(() => (value ? sessionStorage.setItem('spark.token', value) : sessionStorage.removeItem('spark.token')));
  },
};
