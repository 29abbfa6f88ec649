// Requests, and who makes them: the token, its role, and what that role may do.

import { $, attr, text } from './dom.js';
import { token as kept } from './store.js';

const ROLES = ['viewer', 'operator', 'admin'];
const LIMIT_MS = 15000;

/** Who the gateway says we are. `token` is empty without one; `role` is null as long as it is not known. */
export const me = { token: kept.get(), name: null, role: null, reading: 'open' };

const listeners = new Set();
/** Calls `told` whenever the token or its role has changed. */
export const onidentity = (told) => listeners.add(told);

function changed() {
  for (const [role, id] of [['operator', 'why-operator'], ['admin', 'why-admin']]) text($(id), lacks(role));
  for (const button of document.querySelectorAll('button[data-role]')) apply(button);
  for (const told of listeners) told();
}

/** Why the token of now is not enough for what needs `role`; empty when it is, or when there is none to judge. */
export function lacks(role) {
  if (!me.token || !me.role) return '';
  return ROLES.indexOf(me.role) < ROLES.indexOf(role) ? `This needs the role ${role}; the token of ${me.name ?? 'this tab'} has the role ${me.role}.` : '';
}

/** Marks a button with the role that it needs, and with `reason` where it cannot be used now whoever asks. */
export function gate(button, role, reason = '') {
  attr(button, 'data-role', role);
  attr(button, 'data-reason', reason);
  apply(button);
  return button;
}

function apply(button) {
  const role = button.dataset.role;
  const why = button.dataset.reason || lacks(role);
  attr(button, 'aria-disabled', why ? 'true' : null);
  attr(button, 'title', why || null);
  attr(button, 'aria-describedby', why && !button.dataset.reason ? `why-${role}` : null);
}

// A button that may not be used stays reachable, so that its reason can be read; it only does nothing.
document.addEventListener('click', (event) => {
  if (!event.target.closest?.('[aria-disabled=true]')) return;
  event.preventDefault();
  event.stopImmediatePropagation();
}, true);

/** The headers that say who we are. */
export const authorization = (token = me.token) => (token ? { Authorization: `Bearer ${token}` } : {});

/** `{ok, status, data, error}`; never throws. `error` is a sentence for people; `data` the answer, or the problem document. */
export async function call(path, { method = 'GET', body, token = me.token, as = 'json' } = {}) {
  try {
    const answer = await fetch(path, {
      method, cache: 'no-store', signal: AbortSignal.timeout(LIMIT_MS),
      headers: { ...authorization(token), ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const { ok, status } = answer;
    if (ok && as === 'text') return { ok, status, data: await answer.text(), error: '' };
    const data = await answer.json().catch(() => null);
    return { ok, status, data, error: ok ? '' : problem(status, data) };
  } catch (error) {
    const late = error?.name === 'TimeoutError';
    return { ok: false, status: 0, data: null, error: late ? 'The gateway did not answer in time.' : 'The gateway does not answer.' };
  }
}

/** What a problem document says, in one line. */
function problem(status, told) {
  if (typeof told === 'string') return told;
  const parts = [told?.title ?? `Answer ${status}`, told?.detail, told?.fix].filter(Boolean);
  return parts.map((part) => (/[.!?]$/.test(part) ? part : `${part}.`)).join(' ');
}

export const NO_TOKEN = 'A token is needed. spark up keeps one of the role admin in <data>/keys/admin.token; spark token create makes others.';

/** Takes a token if the gateway knows it; a sentence says why not. */
export async function signIn(token) {
  const answer = await call('/api/whoami', { token });
  if (answer.status === 401) return `The gateway does not know this token. ${answer.data?.detail ?? ''}`.trim();
  if (!answer.ok && answer.status !== 404) return answer.error;
  if (answer.ok && token && !answer.data.role) return 'The gateway does not know this token.';
  adopt(token, answer.data);
  return '';
}

export function forget() {
  adopt('', null);
  return look();
}

function adopt(token, told) {
  me.token = token;
  me.name = told?.name ?? null;
  me.role = token ? told?.role ?? null : null;
  if (told?.reading) me.reading = told.reading;
  kept.set(token);
  changed();
}

/** Asks who we are; a kept token that is not known any more is dropped. */
export async function look() {
  const answer = await call('/api/whoami');
  if (answer.ok) {
    me.name = answer.data.name ?? null;
    me.role = me.token ? answer.data.role ?? null : null;
    me.reading = answer.data.reading ?? 'open';
    changed();
  } else if (answer.status === 401 && me.token) {
    adopt('', null);
  }
}
