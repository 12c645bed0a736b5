/** A run as one self-contained page: no network, readable without scripts, light and dark, wide and narrow. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

import { CLIENT } from './client.js';
import { type Cell, type Column, type Content, contentOf, type Figure, type Row, shortLabel, type Verdict } from './content.js';
import { type DefinitionKey, DEFINITIONS } from './definitions.js';
import { armColor, chartOption, renderSvg } from './figures.js';
import type { Run } from './run.js';
import { STYLE } from './style.js';

const escape = (text: unknown) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
/** For text inside <script>: nothing in it may close the element. */
const scriptSafe = (source: string) => source.replace(/<(?=\/script|!--)/gi, '\\x3c');

const term = (label: string, key: DefinitionKey) => `<span class="term" tabindex="0" data-tip="${escape(DEFINITIONS[key].text)}">${escape(label)}</span>`;
const dot = (index: number) => (index < 0 ? '' : `<i class="dot" style="--arm:${armColor(index)}"></i>`);
const MARK = { good: '✓', warn: '!', bad: '✗', none: '–' } as const;

const verdictHtml = ({ tone, headline, sentences }: Verdict) => `<section class="card verdict ${tone}">
<p class="headline">${escape(headline)}</p>
<ul>${sentences.map(({ tone: each, text }) => `<li><span class="${each}"><b class="tone">${MARK[each]}</b></span>${escape(text)}</li>`).join('')}</ul></section>`;

const problemsHtml = (problems: readonly string[]) => (problems.length === 0 ? '' : `<section class="card problems" role="note">
<b>What this report could not read or show</b><ul>${problems.map((p) => `<li>${escape(p)}</li>`).join('')}</ul></section>`);

function cellHtml(cell: Cell | undefined, column: Column, best: boolean): string {
  const value = cell ? `${cell.mean.toFixed(column.digits)}${cell.count > 1 ? ` <small>± ${cell.deviation.toFixed(column.digits)}</small>` : ''}` : '–';
  return `<td data-label="${escape(shortLabel(column))}"${best ? ' class="best"' : ''}><span>${value}</span></td>`;
}

function tableHtml({ columns, rows, seeds }: Content): string {
  if (rows.length === 0) return '';
  const best = Math.max(...rows.map((row) => row.cells[0]?.mean ?? -Infinity));
  const head = columns.map((c) => `<th scope="col">${term(c.label, c.definition)}${c.qualifier ? `<small>${term(DEFINITIONS[c.qualifier].name, c.qualifier)}</small>` : ''}</th>`).join('');
  const body = (row: Row) => `<tr><th scope="row">${dot(row.armIndex)}${escape(row.label)}</th>${row.cells.map((cell, i) => cellHtml(cell, columns[i]!, i === 0 && cell?.mean === best)).join('')}</tr>`;
  return `<h2>On held-out prompts</h2>
<p class="lead">${seeds > 1 ? `Mean ± standard deviation over ${seeds} seeds. ` : 'One seed: differences of a few hundredths are within noise; <code>--seeds 3</code> shows the spread. '}Bold: best pass@1.</p>
<div class="card"><table><thead><tr><td></td>${head}</tr></thead><tbody>${rows.map(body).join('\n')}</tbody></table></div>`;
}

function figureHtml(figure: Figure): string {
  const option = chartOption(figure);
  return `<figure class="card"><h3>${term(figure.title, figure.definition)}</h3><div class="chart" role="img" aria-label="${escape(figure.title)}">${renderSvg(option)}</div><script type="application/json">${scriptSafe(JSON.stringify(option)).replace(/\\x3c/g, '\\u003c')}</script></figure>`;
}

function figuresHtml({ figures, seeds }: Content): string {
  if (figures.length === 0) return '';
  const arms = new Map(figures.flatMap(({ curves }) => curves.map(({ arm, index }) => [index, arm] as const)));
  const legend = [...arms].sort(([a], [b]) => a - b).map(([index, arm]) => `<span${arm.description ? ` class="term" tabindex="0" data-tip="${escape(arm.description)}"` : ''}>${dot(index)}${escape(arm.label)}</span>`).join('');
  const stage = [...arms.values()].some((arm) => arm.classifierSteps) ? ' Shaded: the steps in which classifier-first RL trains the classifier only.' : '';
  return `<h2>In training</h2><p class="lead">Against the ${term('step', 'step')}.${seeds > 1 ? ` Lines are means over ${seeds} seeds, ${term('bands', 'band')} one standard deviation.` : ''}${stage}</p>
<div class="legend">${legend}</div><div class="figures">${figures.map(figureHtml).join('\n')}</div>`;
}

/** Command-line options in a sentence are not broken over lines. */
const noteHtml = (note: string) => escape(note).replace(/--[a-z-]+/g, '<code>$&</code>');

/** Of what this page shows. */
function definitionsHtml({ figures, columns, rows, seeds }: Content): string {
  const shown = new Set<DefinitionKey>([...figures.map((f) => f.definition), ...(rows.length > 0 ? columns.flatMap((c) => [c.definition, ...(c.qualifier ? [c.qualifier] : [])]) : []), 'step', ...(seeds > 1 ? (['band'] as const) : [])]);
  return `<h2>Definitions</h2><dl>${[...shown].map((key) => `<dt>${escape(DEFINITIONS[key].name)}</dt><dd>${escape(DEFINITIONS[key].text)}</dd>`).join('')}</dl>`;
}

export function pageOf(run: Run): string {
  const content = contentOf(run);
  const { summary } = run;
  const environment = Object.entries(summary.environment).map(([key, value]) => `${key} ${value}`).join(' · ');
  const echarts = readFileSync(createRequire(import.meta.url).resolve('echarts/dist/echarts.min.js'), 'utf8');
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>${escape(summary.title)} · headfirst</title><link rel="icon" href="data:,"><style>${STYLE}</style></head><body><main>
<header><h1>${escape(summary.title)}</h1><span>${escape(summary.created.slice(0, 16).replace('T', ' '))}</span></header>
${verdictHtml(content.verdict)}
${problemsHtml(run.problems)}
${tableHtml(content)}
${figuresHtml(content)}
${summary.notes.length > 0 ? `<h2>How to read this</h2><ul class="notes">${summary.notes.map((note) => `<li>${noteHtml(note)}</li>`).join('')}</ul>` : ''}
${definitionsHtml(content)}
<footer>${summary.command ? `<p>Made by <code>${escape(summary.command)}</code></p>` : ''}<p>${escape(environment)}</p>
${summary.config === undefined ? '' : `<details><summary>Configuration</summary><pre class="card">${escape(JSON.stringify(summary.config, null, 2))}</pre></details>`}</footer>
</main><div id="tip" role="tooltip" hidden></div>
<script>${scriptSafe(echarts)}</script><script>${scriptSafe(CLIENT)}</script></body></html>
`;
}
