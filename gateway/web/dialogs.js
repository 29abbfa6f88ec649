// Dialogs: opened by a button that gets the focus back, closed by Escape, by Back, and by a click beside them.

/** Opens a dialog as a modal one; the browser keeps the focus inside. */
export function open(dialog, first = null) {
  const back = document.activeElement;
  if (dialog.open) return;
  dialog.showModal();
  (first ?? dialog.querySelector('[autofocus]'))?.focus();
  dialog.addEventListener('close', () => { if (back?.isConnected) back.focus({ preventScroll: true }); }, { once: true });
}

export function start() {
  // Forms are sent by their own code, never by the browser.
  document.addEventListener('submit', (event) => event.preventDefault());
  for (const dialog of document.querySelectorAll('dialog')) {
    dialog.addEventListener('click', (event) => {
      if (event.target.closest('[data-close]')) dialog.close();
      // The dialog itself is hit only beside its contents, where its backdrop or its padding is.
      if (event.target !== dialog) return;
      const { left, right, top, bottom } = dialog.getBoundingClientRect();
      const inside = event.clientX >= left && event.clientX <= right && event.clientY >= top && event.clientY <= bottom;
      if (!inside && event.detail > 0) dialog.close();
    });
  }
}

/** Enter in a field of the dialog does what its main button does. */
export function entered(dialog, go) {
  dialog.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && event.target.matches('input:not([type=checkbox]), select')) {
      event.preventDefault();
      go();
    }
  });
}
