// Reports and runbooks, in one dialog: a backtest's report in a frame of its own, everything else as text.

import { $, attr, h, text } from './dom.js';
import { authorization, call, me } from './api.js';
import { open } from './dialogs.js';
import { render } from './markdown.js';

export function start() {
  $('report-daily').addEventListener('click', daily);
  $('report-dialog').addEventListener('close', () => {
    $('report-frame').removeAttribute('src');
    $('report-text').replaceChildren();
  });
}

function show(title, frame) {
  text($('report-title'), title);
  $('report-frame').hidden = !frame;
  $('report-text').hidden = frame;
  $('report-save').hidden = true;
  open($('report-dialog'), $('report-no'));
}

function say(words, tone = 'dim') {
  $('report-text').replaceChildren(h('p', { class: tone }, words));
}

/** The risk of the day, made by the gateway this moment. */
async function daily() {
  show('Risk of the day', false);
  say('Asking the gateway.');
  const answer = await call('/api/actions', { method: 'POST', body: { action: '/fusion/risk.report.daily' } });
  const source = answer.data?.result?.markdown;
  if (!answer.ok || !source) { say(answer.error || 'The gateway told no report.', 'bad'); return; }
  $('report-text').replaceChildren(...render(source.replace(/^# .*\n/, (line) => `${line.slice(2)}\n`), 2));
  offer(new Blob([source], { type: 'text/markdown' }), 'spark-risk-of-the-day.md');
}

/** One of Spark's own runbooks. */
export async function runbook(file, name) {
  show(`Runbook: ${name}`, false);
  say('Reading it.');
  const answer = await call(`/runbooks/${file}`, { as: 'text' });
  if (answer.ok) $('report-text').replaceChildren(...render(answer.data));
  else say(`It could not be read here: ${answer.error} It is in the repository at docs/runbooks/${file}.`, 'bad');
}

/** A backtest's report. Where reading needs a token a frame cannot carry it: then the file is fetched and offered. */
export async function backtest(id, title) {
  const path = `/api/backtest/${encodeURIComponent(id)}/report`;
  const framed = me.reading === 'open';
  show(`Report: ${title}`, false);
  say('Reading it.');
  let answer;
  try {
    answer = await fetch(path, { headers: authorization(), cache: 'no-store' });
  } catch {
    say('The gateway does not answer.', 'bad');
    return;
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    say([told.title ?? `Answer ${answer.status}`, told.detail, told.fix].filter(Boolean).join('. '), 'bad');
    return;
  }
  if (framed) {
    $('report-text').hidden = true;
    $('report-frame').hidden = false;
    attr($('report-frame'), 'title', `Report of ${title}`);
    attr($('report-frame'), 'src', path);
    answer.body?.cancel();
    return;
  }
  say('Reading needs a token here, and a frame carries none: save the report and open the file.');
  offer(await answer.blob(), `${id}.html`);
}

function offer(blob, name) {
  const link = $('report-save');
  if (link.href.startsWith('blob:')) URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.hidden = false;
}
