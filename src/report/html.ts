/**
 * A run as one self-contained page: no network, readable without scripts, light and dark, wide and narrow.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

import type { ChangeOf } from '../analysis/explanation.js';
import type { Snapshot } from '../analysis/snapshot.js';
import { CLIENT } from './client.js';
import {
  type Cell,
  type Column,
  type Content,
  contentOf,
  type Figure,
  type Row,
  shortLabel,
  type Tone,
  type Verdict,
} from './content.js';
import { type DefinitionKey, DEFINITIONS } from './definitions.js';
import { armColor, chartOption, renderSvg } from './figures.js';
import { type Panel, panelsOf } from './panels.js';
import type { ClaimSummary, Run } from './readRun.js';
import { STYLE } from './style.js';

const escape = (text: unknown) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
/** For text inside <script>: nothing in it may close the element. */
const scriptSafe = (source: string) => source.replace(/<(?=\/script|!--)/gi, '\\x3c');

const term = (label: string, key: DefinitionKey) =>
  `<span class="term" tabindex="0" data-tip="${escape(DEFINITIONS[key].text)}">${escape(label)}</span>`;
const dot = (index: number) => (index < 0 ? '' : `<i class="dot" style="--arm:${armColor(index)}"></i>`);
const MARK = { good: '✓', warn: '!', bad: '✗', none: '–' } as const;

const verdictHtml = ({ tone, headline, sentences }: Verdict) => `<section class="card verdict ${tone}">
<p class="headline">${escape(headline)}</p>
<ul>${sentences.map(({ tone: each, text }) => `<li><span class="${each}"><b class="tone">${MARK[each]}</b></span>${escape(text)}</li>`).join('')}</ul></section>`;

const problemsHtml = (problems: readonly string[]) =>
  problems.length === 0
    ? ''
    : `<section class="card problems" role="note">
<b>What this report could not read or show</b><ul>${problems.map((p) => `<li>${escape(p)}</li>`).join('')}</ul></section>`;

function cellHtml(cell: Cell | undefined, column: Column, best: boolean): string {
  const value = cell
    ? `${cell.mean.toFixed(column.digits)}${cell.count > 1 ? ` <small>± ${cell.deviation.toFixed(column.digits)}</small>` : ''}`
    : '–';
  return `<td data-label="${escape(shortLabel(column))}"${best ? ' class="best"' : ''}><span>${value}</span></td>`;
}

function tableHtml({ columns, rows, seeds }: Content): string {
  if (rows.length === 0) return '';
  const best = Math.max(...rows.map((row) => row.cells[0]?.mean ?? -Infinity));
  const head = columns
    .map(
      (c) =>
        `<th scope="col">${term(c.label, c.definition)}${c.qualifier ? `<small>${term(DEFINITIONS[c.qualifier].name, c.qualifier)}</small>` : ''}</th>`,
    )
    .join('');
  const body = (row: Row) =>
    `<tr><th scope="row">${dot(row.armIndex)}${escape(row.label)}</th>${row.cells.map((cell, i) => cellHtml(cell, columns[i]!, i === 0 && cell?.mean === best)).join('')}</tr>`;
  return `<h2>On held-out prompts</h2>
<p class="lead">${seeds > 1 ? `Mean ± standard deviation over ${seeds} seeds. ` : 'One seed: differences of a few hundredths are within noise; <code>--seeds 3</code> shows the spread. '}Bold: best pass@1.</p>
<div class="card"><table><thead><tr><td></td>${head}</tr></thead><tbody>${rows.map(body).join('\n')}</tbody></table></div>`;
}

const figureHtml = (figure: Figure): string =>
  panelHtml({ ...figure, option: chartOption(figure), height: 240 });

function panelHtml({ id, title, definition, option, height }: Panel): string {
  return `<figure class="card" style="--height:${height}px"><h3>${term(title, definition)}<button class="save" data-name="${escape(id)}" title="Save this figure as SVG" hidden>SVG</button></h3><div class="chart" role="img" aria-label="${escape(title)}">${renderSvg(option, 560, height)}</div><script type="application/json">${scriptSafe(JSON.stringify(option)).replace(/\\x3c/g, '\\u003c')}</script></figure>`;
}

function figuresHtml({ figures, seeds }: Content): string {
  if (figures.length === 0) return '';
  const arms = new Map(
    figures.flatMap(({ curves }) => curves.map(({ arm, index }) => [index, arm] as const)),
  );
  const legend = [...arms]
    .sort(([a], [b]) => a - b)
    .map(
      ([index, arm]) =>
        `<span${arm.description ? ` class="term" tabindex="0" data-tip="${escape(arm.description)}"` : ''}>${dot(index)}${escape(arm.label)}</span>`,
    )
    .join('');
  const stage = [...arms.values()].some((arm) => arm.classifierSteps)
    ? ' Shaded: the steps in which classifier-first RL trains the classifier only.'
    : '';
  return `<h2>In training</h2><p class="lead">Against the ${term('step', 'step')}.${seeds > 1 ? ` Lines are means over ${seeds} seeds, ${term('bands', 'band')} one standard deviation.` : ''}${stage}</p>
<div class="legend">${legend}</div><div class="figures">${figures.map(figureHtml).join('\n')}</div>`;
}

function watchedHtml({ watched }: Content): string {
  if (watched.length === 0) return '';
  return `<h2>What the steps did</h2><p class="lead">Watched in training: ${term('R', 'representation')} and ${term('G', 'gradient')} of the steps made, features, classifier.</p><div class="figures">${watched.map(figureHtml).join('\n')}</div>`;
}

const VERDICT_TONE: Readonly<Record<string, Tone>> = {
  reproduced: 'good',
  partly: 'warn',
  'not reproduced': 'bad',
};
const EVIDENCE_MARK = (met: boolean | undefined) =>
  met === undefined ? MARK.none : met ? MARK.good : MARK.bad;

function claimsHtml(claims: readonly ClaimSummary[]): string {
  if (claims.length === 0) return '';
  const row = ({
    claim,
    verdict,
    evidence,
    care,
  }: ClaimSummary) => `<tr class="${VERDICT_TONE[verdict] ?? 'none'}"><th scope="row">${escape(claim)}</th><td data-label="verdict"><b class="tone">${escape(verdict)}</b></td>
<td data-label="evidence"><ul>${evidence.map(({ criterion, met, text }) => `<li>${EVIDENCE_MARK(met)} ${escape(criterion)}<small>${escape(text)}</small></li>`).join('')}</ul><small>${escape(care)}</small></td></tr>`;
  return `<h2>${term('The paper’s claims', 'claim')}</h2><div class="card"><table class="claims"><thead><tr><td></td><th scope="col">verdict</th><th scope="col">evidence</th></tr></thead><tbody>${claims.map(row).join('\n')}</tbody></table></div>`;
}

const signed = (x: number) => `${x < 0 ? '−' : '+'}${Math.abs(x).toPrecision(3)}`;

const changeCells = (c: ChangeOf) =>
  [
    ['before', c.before.toPrecision(3)],
    ['R', signed(c.representation)],
    ['G', signed(c.gradient)],
    ['cross', signed(c.cross)],
    ['predicted', signed(c.predicted)],
    ['measured', signed(c.measured)],
  ] as const;

function stepHtml(step: Required<Snapshot>['step']): string {
  const sentence =
    step.kind === 'pair'
      ? `The whole move from the first checkpoint to the second, at ${step.states} states. First order explains it as far as the error below is small.`
      : `One step of plain ascent on these samples at learning rate ${step.learningRate}, taken on a copy, at ${step.states} states.`;
  const row = (name: string, key: DefinitionKey, c: ChangeOf) =>
    `<tr><th scope="row">${term(name, key)}</th>${changeCells(c)
      .map(([label, text]) => `<td data-label="${label}">${text}</td>`)
      .join('')}</tr>`;
  const head = changeCells(step.entropy)
    .map(([label]) => `<th scope="col">${label}</th>`)
    .join('');
  return `<p class="lead">${sentence}</p><div class="card"><table><thead><tr><td></td>${head}</tr></thead><tbody>${row('entropy', 'entropy', step.entropy)}${row('max-prob', 'maxProb', step.maxProb)}</tbody></table></div>`;
}

function probesHtml({ kind, probes }: Required<Snapshot>['step'], samples: readonly string[]): string {
  if (probes.length === 0) return '';
  const rows = probes.map(({ label, token, predicted, measured, influences }) => {
    const movers = influences
      .map(
        ({ sample, total }) =>
          `<span title="${escape(samples[sample] ?? '')}">#${sample} ${signed(total)}</span>`,
      )
      .join(', ');
    return `<tr><th scope="row">${escape(JSON.stringify(label))} → ${escape(JSON.stringify(token))}</th><td data-label="predicted">${signed(predicted)}</td>
<td data-label="measured">${signed(measured)}</td><td data-label="moved most by">${movers || '–'}</td></tr>`;
  });
  return `<h2>Who moves what</h2><p class="lead">Change of log π of the likeliest next token at some states${kind === 'ascent' ? ', and the samples whose share of it is largest' : ''}.</p>
<div class="card"><table><thead><tr><td></td><th scope="col">predicted</th><th scope="col">measured</th><th scope="col">moved most by</th></tr></thead><tbody>${rows.join('\n')}</tbody></table></div>`;
}

function snapshotHtml(snapshot: Snapshot): string {
  const { step, figures, samples } = snapshot;
  const named = figures.flatMap(({ name, value }) => {
    const key = FIGURE_NAMES[name];
    return key ? [`${term(DEFINITIONS[key].name, key)} ${value.toPrecision(3)}`] : [];
  });
  return `<h2>Kernel and step</h2><p class="lead">${named.join(' · ')}</p>
${step ? stepHtml(step) : ''}
<div class="figures">${panelsOf(snapshot).map(panelHtml).join('\n')}</div>
${step ? probesHtml(step, samples) : ''}`;
}
const FIGURE_NAMES: Readonly<Record<string, DefinitionKey>> = {
  maxProb: 'maxProb',
  entropy: 'entropy',
  meanCosine: 'cosine',
  classifierNorm: 'classifierNorm',
  classifierMoved: 'classifierMoved',
  featureDrift: 'featureDrift',
};

/** Command-line options in a sentence are not broken over lines. */
const noteHtml = (note: string) => escape(note).replace(/--[a-z-]+/g, '<code>$&</code>');

/** Of what this page shows. */
function definitionsHtml(
  { figures, watched, columns, rows, seeds }: Content,
  snapshot: Snapshot | undefined,
): string {
  const panels = snapshot ? panelsOf(snapshot).map((p) => p.definition) : [];
  const shown = new Set<DefinitionKey>([
    ...panels,
    ...[...figures, ...watched].map((f) => f.definition),
    ...(rows.length > 0 ? columns.flatMap((c) => [c.definition, ...(c.qualifier ? [c.qualifier] : [])]) : []),
    ...(figures.length + watched.length > 0 ? (['step'] as const) : []),
    ...(seeds > 1 ? (['band'] as const) : []),
  ]);
  return `<h2>Definitions</h2><dl>${[...shown].map((key) => `<dt>${escape(DEFINITIONS[key].name)}</dt><dd>${escape(DEFINITIONS[key].text)}</dd>`).join('')}</dl>`;
}

export function pageOf(run: Run): string {
  const content = contentOf(run);
  const { summary } = run;
  const environment = Object.entries(summary.environment)
    .map(([key, value]) => `${key} ${value}`)
    .join(' · ');
  const echarts = readFileSync(createRequire(import.meta.url).resolve('echarts/dist/echarts.min.js'), 'utf8');
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>${escape(summary.title)} · headfirst</title><link rel="icon" href="data:,"><style>${STYLE}</style></head><body><main>
<header><h1>${escape(summary.title)}</h1><span>${escape(summary.created.slice(0, 16).replace('T', ' '))}</span></header>
${run.metrics.length > 0 || !run.snapshot ? verdictHtml(content.verdict) : ''}
${problemsHtml(run.problems)}
${tableHtml(content)}
${figuresHtml(content)}
${watchedHtml(content)}
${run.snapshot ? snapshotHtml(run.snapshot) : ''}
${claimsHtml(summary.claims ?? [])}
${summary.notes.length > 0 ? `<h2>How to read this</h2><ul class="notes">${summary.notes.map((note) => `<li>${noteHtml(note)}</li>`).join('')}</ul>` : ''}
${definitionsHtml(content, run.snapshot)}
<footer>${summary.command ? `<p>Made by <code>${escape(summary.command)}</code></p>` : ''}<p>${escape(environment)}</p>
${summary.config === undefined ? '' : `<details><summary>Configuration</summary><pre class="card">${escape(JSON.stringify(summary.config, null, 2))}</pre></details>`}</footer>
</main><div id="tip" role="tooltip" hidden></div>
<script>${scriptSafe(echarts)}</script><script>${scriptSafe(CLIENT)}</script></body></html>
`;
}
