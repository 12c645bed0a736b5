/**
 * The study as files to read: README.md (claims, comparisons, tables), one SVG per figure, records.csv with
 * every evaluation.
 */
import { join } from 'node:path';

import { writeAtomically } from '../experiment/jsonFiles.js';
import { type Claim, claimsOf, mark } from './claims.js';
import type { Results } from './compare.js';
import { writeFigures } from './studyFigures.js';
import type { WriteOptions } from './studyOptions.js';
import { onePerLine } from './prose.js';
import { readResults, recordsOfRun, rewardsIn } from './readResults.js';
import { isRl } from './studyPlan.js';
import { switchSection } from './switchSection.js';
import { COLUMNS, comparisonTable, MECHANISM, recordsCsv, recordTable, table } from './tables.js';
import { watchSection } from './watchSection.js';

/** Writes what is known so far. */
export async function writeStudy(options: WriteOptions): Promise<Claim[]> {
  const { out } = options;
  const all = readResults(options);
  const claims = claimsOf(all, rewardsIn(out));
  const sections: string[] = [];
  for (const results of all) sections.push(...(await runSection(options, results)));
  const page = [...introduction(options, all), ...claimSections(claims), ...sections, ...COLUMN_NOTES];
  writeAtomically(join(out, 'README.md'), onePerLine(`${page.join('\n\n')}\n`));
  const runs = all.map(({ run }) => ({ id: run.id, records: recordsOfRun(options, run) }));
  writeAtomically(join(out, 'records.csv'), recordsCsv(runs));
  return claims;
}

function introduction(
  { command, environment, seeds, size }: WriteOptions,
  all: readonly Results[],
): string[] {
  const complete = seeds.filter((seed) => all.every((results) => results.at('base', seed)));
  const k = all[0]!.at('base', seeds[0]!)?.k;
  const date = new Date().toISOString().slice(0, 10);
  const machine = Object.entries(environment).map(([key, value]) => `${key} ${value}`);
  const warning = size === 'quick' ? '**A quick run: its numbers mean nothing.** ' : '';
  return [
    '# The paper’s claims, measured',
    `${warning}\`${command}\` · ${date} · ${machine.join(', ')}`,
    `${complete.length} seeds × 2 tasks, complete in every run. Within a seed all arms share the base model, ` +
      'the split and the random streams of sampling; differences are paired by seed, so they are about this ' +
      `model and task, at this size. k of pass@k is ${k}. "Wall time" is processor time of the training steps ` +
      '(one thread). Every step of every RL arm samples 32 prompts × 8 completions.',
  ];
}

function partText({ criterion, runs }: Claim['parts'][number]): string {
  const lines = runs.map(({ run, met, evidence }) => `  - ${mark(met)} ${run}: ${evidence}`);
  return [`- ${criterion}:`, ...lines].join('\n');
}

function claimSections(claims: readonly Claim[]): string[] {
  return [
    '## The claims',
    'Each has a criterion of several parts, written down before these results were read (the demo’s were ' +
      'known), and each part is asked of every run it concerns. All met = reproduced, none = not reproduced, ' +
      'else partly. An interval that includes zero counts as not met.',
    table(
      ['claim', 'verdict'],
      claims.map(({ claim, verdict }) => [claim, `**${verdict}**`]),
    ),
    ...claims.flatMap(({ claim, verdict, parts, care }, i) => [
      `### ${i + 1}. ${verdict}`,
      claim,
      parts.map(partText).join('\n'),
      `Beside it: ${care}`,
    ]),
  ];
}

/** Nothing for a run that has not begun. */
async function runSection(options: WriteOptions, results: Results): Promise<string[]> {
  const { run } = results;
  const records = recordsOfRun(options, run);
  if (records.length === 0) return [];
  const heading = `## ${run.plan.title}`;
  if (run.kind === 'switch') return [heading, ...switchSection(results, options.out)];
  if (run.kind === 'watch') return [heading, ...watchSection(results, options.out)];
  const gains = [
    'Gain in pass@1 over standard RL, paired by seed: mean and 95 % interval (Student). ' +
      'Bold: the interval leaves out zero.',
    comparisonTable(results),
  ];
  const figures = await writeFigures(options.out, results);
  return [
    heading,
    ...(isRl(run) ? gains : []),
    'Mean ± standard deviation over seeds.',
    recordTable(records, COLUMNS),
    '<details><summary>What one step would do at these points</summary>',
    recordTable(records, MECHANISM),
    '</details>',
    figures.map((name) => `![${name.replace('.svg', '')}](figures/${name})`).join('\n'),
  ];
}

const COLUMN_NOTES = [
  '## What the columns mean',
  [
    '- pass@1: one sampled completion is right, on 256 held-out prompts × 8 samples; distinct: different ' +
      'completions among the 8; fixed: at the base model’s own evaluation samples; own: at the model’s.',
    '- ‖W‖: Frobenius norm of the classifier; feature drift: ‖Φ − Φ₀‖ / ‖Φ₀‖ at the same states as the base ' +
      'model.',
    '- growth R, G: ‖∂J/∂W‖² and ‖∂J/∂θ_φ‖² of a fresh rollout of 64 prompts × 8, ' +
      'J = (1/N) Σ advantage · log π (GRPO advantages): what plain ascent gains through each component per ' +
      'unit of learning rate.',
    '- dH/dη R, G: predicted change of the mean entropy at 64 held-out states by each component of that step; ' +
      'Adam: of a first Adam step, which is the gradient’s sign. max-prob up by R: share of those states whose ' +
      'largest probability R raises.',
    '- cosine: between features of different samples: prompts; equal positions; all states.',
  ].join('\n'),
];
