// The live stream, read with fetch: it carries a token, goes on after the last event that was heard, and never gives up.

import { authorization } from './api.js';

const SILENT_MS = 5000; // The gateway speaks once a second.
const RETRY_MS = [300, 700, 1500, 3000, 5000, 10000];

/** Calls `on(event, data)` for each event and `link(word)` with live, lost or denied. Returns what connects at once. */
export function follow(on, link) {
  let stop = null;
  let lastId = '';
  let failures = 0;
  let heard = 0;
  let timer = 0;

  async function open() {
    clearTimeout(timer);
    stop?.abort();
    const own = (stop = new AbortController());
    heard = performance.now();
    try {
      const answer = await fetch('/api/stream', {
        cache: 'no-store', signal: own.signal,
        headers: { Accept: 'text/event-stream', ...authorization(), ...(lastId ? { 'Last-Event-ID': lastId } : {}) },
      });
      if (answer.status === 401 || answer.status === 403) {
        own.abort();
        heard = Infinity;
        link('denied');
        return;
      }
      if (!answer.ok) throw new Error(`answer ${answer.status}`);
      await read(answer.body, own);
      throw new Error('the stream ended');
    } catch {
      if (own === stop) retry();
    }
  }

  async function read(body, own) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done || own !== stop) return;
      heard = performance.now();
      const blocks = (rest + value).split(/\r?\n\r?\n/);
      rest = blocks.pop();
      for (const block of blocks) take(block);
    }
  }

  function take(block) {
    let [event, id, data] = ['message', null, null];
    for (const line of block.split(/\r?\n/)) {
      const colon = line.indexOf(':');
      if (colon === 0) continue; // A comment keeps the connection.
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
      if (field === 'event') event = value;
      else if (field === 'id') id = value;
      else if (field === 'data') data = data === null ? value : `${data}\n${value}`;
    }
    if (data === null) return;
    on(event, JSON.parse(data));
    if (id !== null) lastId = id;
    failures = 0;
    link('live');
  }

  function retry() {
    stop?.abort();
    stop = null;
    link('lost');
    clearTimeout(timer);
    heard = Infinity;
    const wait = RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)];
    timer = setTimeout(open, wait * (0.8 + 0.4 * Math.random()));
  }

  setInterval(() => { if (performance.now() - heard > SILENT_MS) retry(); }, 1000);
  addEventListener('online', open);
  document.addEventListener('visibilitychange', () => { if (!document.hidden && heard === Infinity) open(); });
  addEventListener('pagehide', () => { stop?.abort(); stop = null; heard = Infinity; });
  addEventListener('pageshow', (event) => { if (event.persisted) open(); });
  open();
  return open;
}
