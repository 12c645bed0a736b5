/** The part of a page that shows an analysis: kernel, one step predicted and measured, who moves what. */
import type { ChangeOf } from '../analysis/explanation.js';
import type { Snapshot } from '../analysis/snapshot.js';
import { signed } from '../core/units.js';
import { type DefinitionKey, DEFINITIONS } from './definitions.js';
import { cell, columnHead, escapeHtml, rowHead, section, table, term } from './markup.js';
import { panelHtml } from './panelHtml.js';
import { panelsOf } from './panels.js';

type Step = Required<Snapshot>['step'];

/** The figures of an analysis that have a definition. */
const FIGURE_NAMES: Readonly<Record<string, DefinitionKey>> = {
  maxProb: 'maxProb',
  entropy: 'entropy',
  meanCosine: 'cosine',
  classifierNorm: 'classifierNorm',
  classifierMoved: 'classifierMoved',
  featureDrift: 'featureDrift',
};

export function snapshotHtml(snapshot: Snapshot): string {
  const { step, figures, samples } = snapshot;
  const named = figures.flatMap(({ name, value }) => {
    const key = FIGURE_NAMES[name];
    return key ? [`${term(DEFINITIONS[key].name, key)} ${value.toPrecision(3)}`] : [];
  });
  return `${section('Kernel and step', named.join(' · '))}
${step ? stepHtml(step) : ''}
<div class="figures">${panelsOf(snapshot).map(panelHtml).join('\n')}</div>
${step ? probesHtml(step, samples) : ''}`;
}

/** What the step did to entropy and max-prob on average. */
function stepHtml(step: Step): string {
  const row = (name: string, key: DefinitionKey, change: ChangeOf) => {
    const cells = changeCells(change).map(([label, text]) => cell(label, text));
    return `<tr>${rowHead(term(name, key))}${cells.join('')}</tr>`;
  };
  const head = changeCells(step.entropy).map(([label]) => columnHead(label));
  const rows = row('entropy', 'entropy', step.entropy) + row('max-prob', 'maxProb', step.maxProb);
  return `<p class="lead">${stepSentence(step)}</p>${table(head, [rows])}`;
}

const stepSentence = ({ kind, states, learningRate }: Step): string =>
  kind === 'pair'
    ? `The whole move from the first checkpoint to the second, at ${states} states. ` +
      'First order explains it as far as the error below is small.'
    : `One step of plain ascent on these samples at learning rate ${learningRate}, taken on a copy, ` +
      `at ${states} states.`;

const changeCells = (change: ChangeOf) =>
  [
    ['before', change.before.toPrecision(3)],
    ['R', signed(change.representation)],
    ['G', signed(change.gradient)],
    ['cross', signed(change.cross)],
    ['predicted', signed(change.predicted)],
    ['measured', signed(change.measured)],
  ] as const;

/** The likeliest next token at some states: how its log π moved, and by which samples. */
function probesHtml({ kind, probes }: Step, samples: readonly string[]): string {
  if (probes.length === 0) return '';
  const movers = kind === 'ascent' ? ', and the samples whose share of it is largest' : '';
  const lead = `Change of log π of the likeliest next token at some states${movers}.`;
  const head = ['predicted', 'measured', 'moved most by'].map(columnHead);
  const rows = probes.map((probe) => probeHtml(probe, samples));
  return `${section('Who moves what', lead)}
${table(head, rows)}`;
}

function probeHtml(
  { label, token, predicted, measured, influences }: Step['probes'][number],
  samples: readonly string[],
): string {
  const movers = influences.map(
    ({ sample, total }) =>
      `<span title="${escapeHtml(samples[sample] ?? '')}">#${sample} ${signed(total)}</span>`,
  );
  const state = `${escapeHtml(JSON.stringify(label))} → ${escapeHtml(JSON.stringify(token))}`;
  const cells = [
    cell('predicted', signed(predicted)),
    `\n${cell('measured', signed(measured))}`,
    cell('moved most by', movers.join(', ') || '–'),
  ];
  return `<tr>${rowHead(state)}${cells.join('')}</tr>`;
}
