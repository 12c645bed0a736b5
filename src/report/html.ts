/**
 * A run as one self-contained page: no network, readable without scripts, light and dark, wide and narrow.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

import type { Snapshot } from '../analysis/snapshot.js';
import { CLIENT } from './client.js';
import { contentOf, shortLabel } from './content.js';
import { type DefinitionKey, DEFINITIONS } from './definitions.js';
import { chartOption } from './figures.js';
import {
  cell,
  columnHead,
  dot,
  escapeHtml,
  hint,
  list,
  rowHead,
  scriptSafe,
  section,
  table,
  term,
} from './markup.js';
import { panelHtml } from './panelHtml.js';
import { panelsOf } from './panels.js';
import type { ClaimSummary, Run } from './run.js';
import { snapshotHtml } from './snapshotHtml.js';
import { STYLE } from './style.js';
import type { Cell, Column, Content, Figure, Row, Tone, Verdict } from './types.js';

const MARK = { good: '✓', warn: '!', bad: '✗', none: '–' } as const;

/** The page. */
export function pageOf(run: Run): string {
  const content = contentOf(run);
  const { summary } = run;
  const hasVerdict = run.metrics.length > 0 || !run.snapshot;
  const parts = [
    headerHtml(run),
    hasVerdict ? verdictHtml(content.verdict) : '',
    problemsHtml(run.problems),
    tableHtml(content),
    figuresHtml(content),
    watchedHtml(content),
    run.snapshot ? snapshotHtml(run.snapshot) : '',
    claimsHtml(summary.claims ?? []),
    notesHtml(summary.notes),
    definitionsHtml(content, run.snapshot),
    footerHtml(run),
  ];
  const echarts = readFileSync(createRequire(import.meta.url).resolve('echarts/dist/echarts.min.js'), 'utf8');
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">\
<meta name="viewport" content="width=device-width, initial-scale=1">\
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(summary.title)} · headfirst</title><link rel="icon" href="data:,"><style>${STYLE}</style></head>\
<body><main>
${parts.join('\n')}
</main><div id="tip" role="tooltip" hidden></div>
<script>${scriptSafe(echarts)}</script><script>${scriptSafe(CLIENT)}</script></body></html>
`;
}

function headerHtml({ summary: { title, created } }: Run): string {
  const minute = created.slice(0, 16).replace('T', ' ');
  return `<header><h1>${escapeHtml(title)}</h1><span>${escapeHtml(minute)}</span></header>`;
}

function verdictHtml({ tone, headline, sentences }: Verdict): string {
  const items = sentences.map(
    ({ tone: own, text }) =>
      `<span class="${own}"><b class="tone">${MARK[own]}</b></span>${escapeHtml(text)}`,
  );
  return `<section class="card verdict ${tone}">
<p class="headline">${escapeHtml(headline)}</p>
${list(items)}</section>`;
}

function problemsHtml(problems: readonly string[]): string {
  if (problems.length === 0) return '';
  return `<section class="card problems" role="note">
<b>What this report could not read or show</b>${list(problems.map(escapeHtml))}</section>`;
}

// ---- evaluations ------------------------------------------------------------------------------------------

function tableHtml({ columns, rows, seeds }: Content): string {
  if (rows.length === 0) return '';
  const best = Math.max(...rows.map((row) => row.cells[0]?.mean ?? -Infinity));
  const spread =
    seeds > 1
      ? `Mean ± standard deviation over ${seeds} seeds.`
      : 'One seed: differences of a few hundredths are within noise; <code>--seeds 3</code> shows the spread.';
  return `<h2>On held-out prompts</h2>
<p class="lead">${spread} Bold: best pass@1.</p>
${table(
  columns.map(columnHtml),
  rows.map((row) => rowHtml(row, columns, best)),
)}`;
}

function columnHtml({ label, definition, qualifier }: Column): string {
  const below = qualifier ? `<small>${term(DEFINITIONS[qualifier].name, qualifier)}</small>` : '';
  return columnHead(`${term(label, definition)}${below}`);
}

function rowHtml({ label, armIndex, cells }: Row, columns: readonly Column[], best: number): string {
  const values = cells.map((value, i) => {
    const isBest = i === 0 && value?.mean === best;
    return cell(
      shortLabel(columns[i]!),
      `<span>${valueHtml(value, columns[i]!)}</span>`,
      isBest ? 'best' : undefined,
    );
  });
  return `<tr>${rowHead(`${dot(armIndex)}${escapeHtml(label)}`)}${values.join('')}</tr>`;
}

function valueHtml(value: Cell | undefined, { digits }: Column): string {
  if (!value) return '–';
  const spread = value.count > 1 ? ` <small>± ${value.deviation.toFixed(digits)}</small>` : '';
  return `${value.mean.toFixed(digits)}${spread}`;
}

// ---- curves -----------------------------------------------------------------------------------------------

const figureHtml = (figure: Figure): string =>
  panelHtml({ ...figure, option: chartOption(figure), height: 240 });

function figuresHtml({ figures, seeds }: Content): string {
  if (figures.length === 0) return '';
  const curves = figures.flatMap((figure) => figure.curves);
  const arms = new Map(curves.map(({ arm, index }) => [index, arm]));
  const legend = [...arms]
    .sort(([a], [b]) => a - b)
    .map(([index, { label, description }]) => {
      const html = `${dot(index)}${escapeHtml(label)}`;
      return description ? hint(html, description) : `<span>${html}</span>`;
    });
  const bands =
    seeds > 1 ? ` Lines are means over ${seeds} seeds, ${term('bands', 'band')} one standard deviation.` : '';
  const stage = [...arms.values()].some((arm) => arm.classifierSteps)
    ? ' Shaded: the steps in which classifier-first RL trains the classifier only.'
    : '';
  return `${section('In training', `Against the ${term('step', 'step')}.${bands}${stage}`)}
<div class="legend">${legend.join('')}</div>${figureGrid(figures)}`;
}

function watchedHtml({ watched }: Content): string {
  if (watched.length === 0) return '';
  const components = `${term('R', 'representation')} and ${term('G', 'gradient')}`;
  const lead = `Watched in training: ${components} of the steps made, features, classifier.`;
  return `${section('What the steps did', lead)}${figureGrid(watched)}`;
}

const figureGrid = (figures: readonly Figure[]): string =>
  `<div class="figures">${figures.map(figureHtml).join('\n')}</div>`;

// ---- claims -----------------------------------------------------------------------------------------------

const VERDICT_TONE: Readonly<Record<string, Tone>> = {
  reproduced: 'good',
  partly: 'warn',
  'not reproduced': 'bad',
};

function claimsHtml(claims: readonly ClaimSummary[]): string {
  if (claims.length === 0) return '';
  const head = ['verdict', 'evidence'].map(columnHead);
  return `<h2>${term('The paper’s claims', 'claim')}</h2>${table(head, claims.map(claimHtml), 'claims')}`;
}

function claimHtml({ claim, verdict, evidence, care }: ClaimSummary): string {
  const items = evidence.map(
    ({ criterion, met, text }) =>
      `${evidenceMark(met)} ${escapeHtml(criterion)}<small>${escapeHtml(text)}</small>`,
  );
  const tone = VERDICT_TONE[verdict] ?? 'none';
  const verdictCell = cell('verdict', `<b class="tone">${escapeHtml(verdict)}</b>`);
  const evidenceCell = cell('evidence', `${list(items)}<small>${escapeHtml(care)}</small>`);
  return `<tr class="${tone}">${rowHead(escapeHtml(claim))}${verdictCell}\n${evidenceCell}</tr>`;
}

function evidenceMark(met: boolean | undefined): string {
  if (met === undefined) return MARK.none;
  return met ? MARK.good : MARK.bad;
}

// ---- words ------------------------------------------------------------------------------------------------

function notesHtml(notes: readonly string[]): string {
  if (notes.length === 0) return '';
  const items = notes.map((note) => `<li>${noteHtml(note)}</li>`);
  return `<h2>How to read this</h2><ul class="notes">${items.join('')}</ul>`;
}

/** Command-line options in a sentence are not broken over lines. */
const noteHtml = (note: string): string => escapeHtml(note).replace(/--[a-z-]+/g, '<code>$&</code>');

/** Of what this page shows. */
function definitionsHtml(content: Content, snapshot: Snapshot | undefined): string {
  const items = [...shownDefinitions(content, snapshot)].map((key) => {
    const { name, text } = DEFINITIONS[key];
    return `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(text)}</dd>`;
  });
  return `<h2>Definitions</h2><dl>${items.join('')}</dl>`;
}

function shownDefinitions(
  { figures, watched, columns, rows, seeds }: Content,
  snapshot: Snapshot | undefined,
): Set<DefinitionKey> {
  const shown = new Set<DefinitionKey>();
  for (const { definition } of snapshot ? panelsOf(snapshot) : []) shown.add(definition);
  for (const { definition } of [...figures, ...watched]) shown.add(definition);
  for (const { definition, qualifier } of rows.length > 0 ? columns : []) {
    shown.add(definition);
    if (qualifier) shown.add(qualifier);
  }
  if (figures.length + watched.length > 0) shown.add('step');
  if (seeds > 1) shown.add('band');
  return shown;
}

function footerHtml({ summary: { command, config, environment } }: Run): string {
  const machine = Object.entries(environment).map(([key, value]) => `${key} ${value}`);
  const made = command ? `<p>Made by <code>${escapeHtml(command)}</code></p>` : '';
  const configuration =
    config === undefined
      ? ''
      : '<details><summary>Configuration</summary>' +
        `<pre class="card">${escapeHtml(JSON.stringify(config, null, 2))}</pre></details>`;
  return `<footer>${made}<p>${escapeHtml(machine.join(' · '))}</p>
${configuration}</footer>`;
}
