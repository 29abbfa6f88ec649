// Where a model stands on its way to live trading, and what it says.

import { $, attr, h, swap, tag, text } from './dom.js';
import { gate } from './api.js';
import { command } from './command.js';
import * as format from './format.js';
import { distribution, reliability } from './shapes.js';
import { Table } from './table.js';

const STAGES = { off: 'Off', preview: 'Preview', 10: '10 %', 50: '50 %', 100: '100 %' };
const PHASES = { idle: ['dim', 'idle'], running: ['good', 'running'], paused: ['warn', 'paused'], promoted: ['good', 'live'], rolled_back: ['bad', 'rolled back'] };
const GATES = { passed: 'good', inconclusive: 'warn', failed: 'bad' };
const VERBS = {
  start: ['Start…', 'Start the rollout', 'admin'], promote: ['Promote…', 'Go to the next stage', 'admin'], pause: ['Pause…', 'Hold the stage', 'operator'],
  resume: ['Resume…', 'Go on with the stage', 'admin'], abort: ['Abort…', 'Back to off', 'operator'],
};
const ALLOWED = { idle: ['start'], rolled_back: ['start'], running: ['promote', 'pause', 'abort'], paused: ['resume', 'promote', 'abort'], promoted: ['abort'] };
const MOVES = { poll_interval: 'exchanges are polled less often', confidence_floor: 'confidence floor at 0.65', preview_only: 'preview only', pin_weights: 'weights pinned', scoring_off: 'scoring is off' };
const HISTORY = 5;
let told = null;
let gates;

export function start() {
  $('rollout-buttons').replaceChildren(...Object.entries(VERBS).map(([verb, [label, , role]]) => gate(h('button', {
    class: verb === 'abort' ? 'button danger' : 'button', type: 'button', 'data-verb': verb, onclick: () => ask(verb),
  }, label), role, 'Not known yet.')));
  gates = new Table($('rollout-gates'), {
    name: 'gates', label: 'Gates', room: 5, width: 30, key: (row) => row.name, empty: 'Gates are measured while a stage runs.',
    columns: [
      { key: 'gate', title: 'Gate', width: 9, draw: (cell, row) => ({ text: row.name.replaceAll('_', ' '), class: 'sym', title: row.name }) },
      { key: 'value', title: 'Value', kind: 'r', draw: (cell, row) => format.value(row.value) },
      { key: 'baseline', title: 'Baseline', kind: 'r', draw: (cell, row) => ({ text: format.value(row.baseline), class: 'dim' }) },
      { key: 'threshold', title: 'Threshold', kind: 'r', draw: (cell, row) => format.value(row.threshold) },
      { key: 'samples', title: 'Samples', kind: 'r', draw: (cell, row) => ({ text: `${format.count(row.samples)} / ${format.count(row.samplesMin)}`, class: 'dim', title: 'samples, and how many it needs' }) },
      { key: 'state', title: 'State', width: 8, draw: (cell, row) => ({ text: row.state, class: `tag ${GATES[row.state]}`, value: row.state }) },
    ],
  });
}

export function draw({ signals }, now) {
  if (!signals) return { state: 'loading' };
  told = signals.rollout.rollout ?? null;
  const phase = told?.phase ?? 'idle';
  const [tone, word] = PHASES[phase];
  swap($('rollout-note'), phase, () => (told ? [tag(tone, word)] : []));
  for (const button of $('rollout-buttons').children) {
    const { verb } = button.dataset;
    gate(button, VERBS[verb][2], ALLOWED[phase].includes(verb) ? '' : `Not while the rollout is ${word}.`);
  }
  drawTrack(signals.rollout.stages, now);
  swap($('rollout-state'), JSON.stringify([told?.modelVersion, told?.modelHash, told?.summary, told?.stage, told?.preview, signals.rollout.counterMoves]), () => state(signals));
  $('rollout-measured').hidden = !told;
  gates.set(told?.gates ?? [], now, null, told ? 'This stage has no gates.' : undefined);
  swap($('rollout-history'), JSON.stringify(signals.rollout.history.slice(0, HISTORY)), () => history(signals.rollout.history));
  return { state: told ? 'live' : 'empty' };
}

function ask(verb) {
  command({
    title: `${VERBS[verb][1]}${told ? `: ${told.modelVersion}` : ''}`, go: VERBS[verb][0].replace('…', ''), danger: verb === 'abort', role: VERBS[verb][2],
    path: '/api/rollout', body: { verb, ...(told ? { revision: told.revision } : {}) },
    effect: ({ effect, detail }) => (effect ? [
      ['Model', effect.model ?? '–'],
      ['Stage', `${STAGES[effect.stage.from]} → ${STAGES[effect.stage.to]}`],
      ['Symbols that trade on it', `${effect.percent.from} % → ${effect.percent.to} %`],
      ...(effect.gatesNotPassed.length ? [['Gates that have not passed', effect.gatesNotPassed.join(', ').replaceAll('_', ' ')]] : []),
    ] : [['Effect', detail ?? '–']]),
  });
}

function drawTrack(stages, now) {
  const track = $('rollout-track');
  if (track.children.length !== stages.length) {
    track.replaceChildren(...stages.map((stage) => h('li', {}, h('span', { class: 'bar-of' }, h('i')), h('b', {}, STAGES[stage]), h('span', { class: 'dim small num' }))));
  }
  const at = stages.indexOf(told?.stage);
  const held = told ? told.heldMs + (told.phase === 'running' ? Math.max(0, now - told.atMs) : 0) : 0;
  [...track.children].forEach((item, index) => {
    const here = index === at;
    const done = index < at || (here && (told.phase === 'promoted' || told.stage === 'off'));
    const share = done ? 1 : here && told.holdMs ? Math.min(1, held / told.holdMs) : 0;
    item.className = `${done ? 'done' : ''} ${here ? 'here' : ''} ${here && told.phase === 'rolled_back' ? 'back' : ''} ${here && told.phase === 'paused' ? 'held' : ''}`.trim();
    attr(item, 'aria-current', here ? 'step' : null);
    item.querySelector('i').style.width = `${(share * 100).toFixed(1)}%`;
    text(item.lastChild, here && told.holdMs && told.phase !== 'promoted' && told.phase !== 'rolled_back' ? `${format.age(Math.min(held, told.holdMs))} of ${format.age(told.holdMs)}` : '');
  });
}

function state(signals) {
  const lines = [];
  if (told) {
    lines.push(h('p', { class: 'line' }, h('b', {}, told.modelVersion), h('span', { class: 'dim' }, ` ${told.modelHash.slice(0, 12)} · ${told.summary}`)));
    if (told.stage === 'preview') lines.push(h('p', { class: 'line dim' }, `Preview of ${told.preview.symbol} ${told.preview.timeframe} at ${format.title(told.preview.venue)}: nothing is ordered.`));
  } else {
    lines.push(h('p', { class: 'empty' }, 'No rollout yet: every score is advisory, nobody trades on it.'));
  }
  for (const move of signals.rollout.counterMoves.filter((one) => one.on)) {
    lines.push(h('p', { class: 'banner warn' }, `${MOVES[move.kind] ?? move.kind}: ${move.reason} (${move.actor}, ${format.clock(move.atMs)})`));
  }
  return lines;
}

function history(rows) {
  if (!rows.length) return [h('li', { class: 'empty' }, 'Nothing has happened yet.')];
  return rows.slice(0, HISTORY).map((row) => h('li', {},
    h('span', { class: 'dim num', title: row.at }, format.clock(Date.parse(row.at))),
    h('span', { class: `clip ${row.refusal ? 'warn' : row.phase === 'rolled_back' ? 'bad' : 'dim'}` }, row.refusal ? 'refused' : `${STAGES[row.stage]} ${PHASES[row.phase]?.[1] ?? row.phase}`),
    h('span', { class: 'clip', title: row.refusal ?? row.summary }, row.refusal ?? row.summary, h('span', { class: 'dim' }, ` · ${row.actor}`))));
}

export function drawModel({ signals }) {
  if (!signals) return { state: 'loading' };
  const { model, calibration: overall, buckets } = signals;
  text($('model-note'), model.known ? `${model.modelVersion} · features ${model.featureVersion}` : 'signal has not spoken yet');
  swap($('model-buckets'), JSON.stringify(buckets), () => [distribution(buckets)]);
  swap($('model-reliability'), JSON.stringify(overall.reliability), () => [reliability(overall.reliability)]);
  const facts = [
    ['Outcomes', format.count(overall.samples)], ['Brier score', overall.brier === null ? '–' : overall.brier.toFixed(3)],
    ['Confidence floor', model.confidFloor === null || model.confidFloor === undefined ? '–' : model.confidFloor.toFixed(2)],
    ['Weights', model.weights ? Object.entries(model.weights).map(([part, weight]) => `${part} ${weight.toFixed(2)}`).join(' · ') : '–'],
  ];
  swap($('model-facts'), JSON.stringify(facts), () => facts.flatMap(([name, value]) => [h('dt', {}, name), h('dd', { class: 'num' }, value)]));
  return { state: model.known || overall.samples || buckets.some((bucket) => bucket.count) ? 'live' : 'empty' };
}
