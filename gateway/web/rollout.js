// Where a model stands on its way to live trading, and what it says.

import { $, h, table, text } from './dom.js';
import * as format from './format.js';
import { ask } from './operator.js';
import { distribution, reliability } from './shapes.js';

const STAGES = { off: 'Off', preview: 'Preview', 10: '10 %', 50: '50 %', 100: '100 %' };
const PHASES = { idle: ['dim', 'idle'], running: ['good', 'running'], paused: ['warn', 'paused'], promoted: ['good', 'live'], rolled_back: ['bad', 'rolled back'] };
const GATES = { passed: 'good', inconclusive: 'warn', failed: 'bad' };
const VERBS = {
  start: ['Start…', 'Start the rollout'], promote: ['Promote…', 'Go to the next stage'], pause: ['Pause…', 'Hold the stage'],
  resume: ['Resume…', 'Go on with the stage'], abort: ['Abort…', 'Back to off'],
};
const ALLOWED = { idle: ['start'], rolled_back: ['start'], running: ['promote', 'pause', 'abort'], paused: ['resume', 'promote', 'abort'], promoted: ['abort'] };
const MOVES = { poll_interval: 'exchanges are polled less often', confidence_floor: 'confidence floor at 0.65', preview_only: 'preview only', pin_weights: 'weights pinned', scoring_off: 'scoring is off' };
let drawn = null;

export function draw(signals, now) {
  const told = signals?.rollout.rollout ?? null;
  if (signals !== drawn) {
    drawn = signals;
    drawWhole(signals, told);
  }
  drawTrack(told, signals?.rollout.stages ?? [], now);
}

function drawWhole(signals, told) {
  const [tone, word] = PHASES[told?.phase ?? 'idle'];
  $('rollout-note').replaceChildren(...(told ? [h('span', { class: `tag ${tone}` }, word)] : []));
  const verbs = ALLOWED[told?.phase ?? 'idle'];
  const key = verbs.join();
  // Buttons stay the same elements while they mean the same: one that has the focus keeps it.
  if ($('rollout-buttons').dataset.key !== key) {
    $('rollout-buttons').dataset.key = key;
    $('rollout-buttons').replaceChildren(...verbs.map((verb) => h('button', {
      class: verb === 'abort' ? 'button danger' : 'button', type: 'button', onclick: () => command(verb),
    }, VERBS[verb][0])));
  }
  $('rollout-state').replaceChildren(...state(signals, told));
  $('rollout-gates').replaceChildren(...gates(told));
  $('rollout-history').replaceChildren(...history(signals));
  drawModel(signals);
}

function command(verb) {
  const told = drawn?.rollout.rollout;
  ask({
    title: `${VERBS[verb][1]}${told ? `: ${told.modelVersion}` : ''}`, go: VERBS[verb][0].replace('…', ''), danger: verb === 'abort',
    path: '/api/rollout', body: { verb, ...(told ? { revision: told.revision } : {}) },
    effect: ({ effect }) => [
      ['Model', effect.model ?? '–'],
      ['Stage', `${STAGES[effect.stage.from]} → ${STAGES[effect.stage.to]}`],
      ['Symbols that trade on it', `${effect.percent.from} % → ${effect.percent.to} %`],
      ...(effect.gatesNotPassed.length ? [['Gates that have not passed', effect.gatesNotPassed.join(', ').replaceAll('_', ' ')]] : []),
    ],
  });
}

function drawTrack(told, stages, now) {
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
    if (here) item.setAttribute('aria-current', 'step'); else item.removeAttribute('aria-current');
    item.querySelector('i').style.width = `${(share * 100).toFixed(1)}%`;
    text(item.lastChild, here && told.holdMs && told.phase !== 'promoted' && told.phase !== 'rolled_back' ? `${format.age(Math.min(held, told.holdMs))} of ${format.age(told.holdMs)}` : '');
  });
}

function state(signals, told) {
  const lines = [];
  if (told) {
    lines.push(h('p', { class: 'line' }, h('b', {}, told.modelVersion), h('span', { class: 'dim' }, ` ${told.modelHash.slice(0, 12)} · ${told.summary}`)));
    if (told.stage === 'preview') lines.push(h('p', { class: 'line dim' }, `Preview of ${told.preview.symbol} ${told.preview.timeframe} at ${format.title(told.preview.venue)}: nothing is ordered.`));
  } else {
    lines.push(h('p', { class: 'empty' }, 'No rollout yet: every score is advisory, nobody trades on it.'));
  }
  for (const move of signals?.rollout.counterMoves.filter((move) => move.on) ?? []) {
    lines.push(h('p', { class: 'banner warn' }, `${MOVES[move.kind] ?? move.kind}: ${move.reason} (${move.actor}, ${format.clock(move.atMs)})`));
  }
  return lines;
}

function gates(told) {
  if (!told?.gates.length) return [h('p', { class: 'empty' }, told ? 'This stage has no gates.' : 'Gates are measured while a stage runs.')];
  return [h('div', { class: 'scroll' }, table([['Gate'], ['Value', 'r'], ['Baseline', 'r opt'], ['Threshold', 'r'], ['Samples', 'r opt'], ['State']], told.gates.map((gate) => [
    h('td', { class: 'sym' }, gate.name.replaceAll('_', ' ')),
    format.value(gate.value), h('td', { class: 'r opt' }, format.value(gate.baseline)), format.value(gate.threshold),
    h('td', { class: 'r opt', title: 'samples, and how many it needs' }, `${format.count(gate.samples)} / ${format.count(gate.samplesMin)}`),
    h('td', {}, h('span', { class: `tag ${GATES[gate.state]}` }, gate.state)),
  ])))];
}

function history(signals) {
  const rows = signals?.rollout.history ?? [];
  if (!rows.length) return [h('p', { class: 'empty' }, 'Nothing has happened yet.')];
  return [h('ul', { class: 'log rollout' }, rows.slice(0, 8).map((row) => h('li', {},
    h('span', { class: 'dim num', title: row.at }, format.clock(Date.parse(row.at))),
    h('span', { class: row.refusal ? 'warn' : row.phase === 'rolled_back' ? 'bad' : 'dim' }, row.refusal ? 'refused' : `${STAGES[row.stage]} ${PHASES[row.phase]?.[1] ?? row.phase}`),
    h('span', {}, row.refusal ?? row.summary, h('span', { class: 'dim' }, ` · ${row.actor}`)))))];
}

function drawModel(signals) {
  const model = signals?.model;
  text($('model-note'), model?.known ? `${model.modelVersion} · features ${model.featureVersion}` : 'signal has not spoken yet');
  const overall = signals?.calibration;
  $('model-buckets').replaceChildren(distribution(signals?.buckets ?? []));
  $('model-reliability').replaceChildren(reliability(overall?.reliability ?? []));
  const facts = [
    ['Outcomes', format.count(overall?.samples)], ['Brier score', overall?.brier === null || overall === undefined ? '–' : overall.brier.toFixed(3)],
    ['Confidence floor', model?.confidFloor === null || model === undefined ? '–' : model.confidFloor.toFixed(2)],
    ['Weights', model?.weights ? Object.entries(model.weights).map(([part, weight]) => `${part} ${weight.toFixed(2)}`).join(' · ') : '–'],
  ];
  $('model-facts').replaceChildren(...facts.flatMap(([name, value]) => [h('dt', {}, name), h('dd', { class: 'num' }, value)]));
}
