/**
 * A plan carried out on several seeds, resumable: per seed a base model (supervised, cached), then every arm
 * of the plan from it, each evaluated on held-out prompts. Layout of a run:
 *
 *   <out>/summary.json, metrics.jsonl,    what a reader opens; rewritten after every arm
 *     analysis.jsonl, report.html
 *   <out>/seed-0/<arm>/                   the trainer's own files, evaluations.json, model/
 *   <base directory>/<key>/               base models: in <out>/base-models, or beside the runs of a study
 *                                         that share them
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';

import { fail } from '../../errors.js';
import { type ClaimSummary, report, type RunSummary } from '../../report/index.js';
import { type MarkRecord, openSeed, readRecords, runArm, type RunOptions } from './arms.js';
import { writeAtomically, writeJson } from './jsonFiles.js';

/** `out` belongs to one plan: results of different plans are never mixed. */
export function claimDirectory({ out, plan, fresh }: RunOptions): void {
  const file = join(out, 'plan.json');
  const text = JSON.stringify(plan, null, 2);
  if (fresh) rmSync(out, { recursive: true, force: true });
  const held = existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  if (held !== undefined && held !== text)
    fail(
      'ERR_INVALID_ARG',
      `experiment: ${out} holds a run with other settings; choose another --out, or --fresh to replace it`,
    );
  writeAtomically(file, text);
}

/**
 * Of the seeds in the order given, and of each the base model and the arms in the plan's order: as far as the
 * run has come.
 */
export const recordsOf = ({ out, plan, seeds }: Pick<RunOptions, 'out' | 'plan' | 'seeds'>): MarkRecord[] =>
  seeds.flatMap((seed) =>
    ['base', ...plan.arms.map(({ id }) => id)].flatMap((arm) => readRecords(out, seed, arm)),
  );

/** Trains what one seed lacks. */
export async function runSeed(
  options: RunOptions,
  seed: number,
  afterArm?: () => Promise<unknown>,
): Promise<void> {
  const complete = options.plan.arms.every(
    (arm) => readRecords(options.out, seed, arm.id).length === arm.marks.length,
  );
  if (complete && readRecords(options.out, seed, 'base').length > 0) return;
  const state = await openSeed(options, seed);
  try {
    for (const arm of options.plan.arms) {
      await runArm(options, arm, state);
      await afterArm?.();
    }
  } finally {
    state.base.dispose();
  }
}

/**
 * The arms' metrics.jsonl, or analysis.jsonl where they are watched, as one file with arm and seed in every
 * line.
 */
function mergeLines({ out, plan, seeds }: RunOptions, name: 'metrics.jsonl' | 'analysis.jsonl'): void {
  const linesOf = (id: string, seed: number): string[] => {
    const file = join(out, `seed-${seed}`, id, name);
    if (!existsSync(file)) return [];
    const lines = readFileSync(file, 'utf8').split('\n');
    const place = `{"arm":${JSON.stringify(id)},"seed":${seed},`;
    return lines.filter((line) => line !== '').map((line) => line.replace(/^\{/, place));
  };
  const lines = plan.arms.flatMap(({ id }) => seeds.flatMap((seed) => linesOf(id, seed)));
  writeAtomically(join(out, name), lines.map((line) => `${line}\n`).join(''));
}

/** summary.json, metrics.jsonl, analysis.jsonl and report.html from what is on disk. */
export async function writeRun(
  options: RunOptions,
  notes: (records: readonly MarkRecord[]) => readonly string[],
  claims?: readonly ClaimSummary[],
): Promise<RunSummary> {
  const { plan, seeds, out } = options;
  const evaluations = recordsOf(options);
  const summary: RunSummary = {
    name: basename(out),
    title: plan.title,
    created: new Date().toISOString(),
    command: options.command,
    seeds,
    evaluations,
    arms: [
      {
        id: 'base',
        label: 'base',
        description: `Supervised on ${plan.scale.baseSteps} × ${plan.scale.baseBatch} demonstrations.`,
      },
      ...plan.arms.map(({ id, label, description, ...arm }) => ({
        id,
        label,
        description,
        ...(arm.trainer === 'cfrl' ? { classifierSteps: arm.config.classifierSteps! } : {}),
      })),
    ],
    notes: notes(evaluations),
    environment: {
      ...options.environment,
      'peak memory': `${Math.round(process.resourceUsage().maxRSS / 1024)} MB`,
    },
    config: plan,
    ...(claims ? { claims } : {}),
  };
  mergeLines(options, 'metrics.jsonl');
  if (plan.record) mergeLines(options, 'analysis.jsonl');
  writeJson(join(out, 'summary.json'), summary);
  await report.write(out, join(out, 'report.html'));
  return summary;
}
