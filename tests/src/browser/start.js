// Runs in every page before its own code: what moved by itself, and what the page's policy refused.
window.spark_test = { shifts: [], refused: [], links: [], live: null };
// How the live stream is, each change with its time.
new MutationObserver(() => {
  const link = document.body?.dataset.link;
  if (!link || link === spark_test.links.at(-1)?.link) return;
  spark_test.links.push({ link, at: performance.now() });
  if (link === 'live') spark_test.live ??= performance.now();
}).observe(document, { subtree: true, attributes: true, attributeFilter: ['data-link'] });
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    if (entry.hadRecentInput) continue;
    const name = (node) => {
      if (!node) return 'a node that is gone';
      const element = node.nodeType === Node.ELEMENT_NODE ? node : node.parentElement;
      if (!element) return 'a node that is gone';
      const path = [];
      for (let one = element; one && path.length < 4; one = one.parentElement) {
        path.unshift(one.localName + (one.id ? `#${one.id}` : one.className ? `.${String(one.className.baseVal ?? one.className).split(' ').join('.')}` : ''));
        if (one.id) break;
      }
      return path.join(' > ');
    };
    const box = (rect) => `${Math.round(rect.x)},${Math.round(rect.y)} ${Math.round(rect.width)}x${Math.round(rect.height)}`;
    window.spark_test.shifts.push({
      at: entry.startTime,
      value: entry.value,
      nodes: entry.sources.map((source) => `${name(source.node)}: ${box(source.previousRect)} -> ${box(source.currentRect)}`),
    });
  }
}).observe({ type: 'layout-shift', buffered: true });
document.addEventListener('securitypolicyviolation', (event) => {
  window.spark_test.refused.push(`${event.effectiveDirective}: ${event.blockedURI} ${event.sourceFile ?? ''}:${event.lineNumber}`);
});
