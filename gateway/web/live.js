// The live stream: reconnects by itself, knows how old its newest word is.

const SILENT_MS = 5000; // The gateway speaks once a second.
const RETRY_MS = [500, 1000, 2000, 5000];

const EVENTS = ['snapshot', 'resync', 'prices', 'portfolio', 'alert', 'alerts', 'windows', 'processes', 'order', 'position', 'guard', 'kill_switch', 'signals'];

/** Calls `on(event, data)` for each event and `link(connected)` when the connection comes or goes. */
export function follow(on, link) {
  let source;
  let failures = 0;
  let heard = 0;
  let timer;

  function open() {
    clearTimeout(timer);
    source?.close();
    heard = performance.now();
    source = new EventSource('/api/stream');
    for (const name of EVENTS) {
      source.addEventListener(name, (message) => {
        heard = performance.now();
        failures = 0;
        on(name, JSON.parse(message.data));
        link(true);
      });
    }
    source.onerror = retry;
  }

  // The browser's own reconnect gives up on some errors; ours never does.
  function retry() {
    source.close();
    link(false);
    clearTimeout(timer);
    timer = setTimeout(open, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]);
    heard = Infinity;
  }

  setInterval(() => { if (performance.now() - heard > SILENT_MS) retry(); }, 1000);
  addEventListener('online', open);
  addEventListener('pagehide', () => source.close());
  addEventListener('pageshow', (event) => { if (event.persisted) open(); });
  open();
}
