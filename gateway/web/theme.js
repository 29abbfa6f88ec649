// Before anything is painted: the colours that somebody chose. A changed layout waits until it is in its order.
try {
  const chosen = JSON.parse(localStorage.getItem('spark.layout') ?? '{}');
  const root = document.documentElement;
  if (['light', 'dark'].includes(chosen.theme)) root.dataset.theme = chosen.theme;
  if (chosen.density === 'compact') root.dataset.density = 'compact';
  if (['order', 'folded', 'hidden'].some((name) => chosen[name]?.length)) root.dataset.wait = '';
  addEventListener('load', () => delete root.dataset.wait);
} catch {
  // Blocked, or not ours: the page is as it comes.
}
