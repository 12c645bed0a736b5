/** A study's directory read back: the records of every run, and lines of the trainers' own files. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import type { MarkRecord } from '../experiment/arms.js';
import { recordsOf } from '../experiment/runExperiment.js';
import { Results } from './compare.js';
import type { WriteOptions } from './studyOptions.js';
import { type StudyRun, studyRuns } from './studyPlan.js';

export const recordsOfRun = (
  { out, seeds }: Pick<WriteOptions, 'out' | 'seeds'>,
  run: StudyRun,
): MarkRecord[] => recordsOf({ out: join(out, run.id), plan: run.plan, seeds });

export const readResults = (options: WriteOptions): Results[] =>
  studyRuns(options.size).map((run) => new Results(run, recordsOfRun(options, run), options.seeds));

/** The directory of one arm of one run. */
export const armDirectory = (out: string, run: StudyRun, seed: number, arm: string): string =>
  join(out, run.id, `seed-${seed}`, arm);

/** One value per line of JSON; none when there is no such file. */
export function readLines<Row>(file: string): Row[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Row);
}

/** The training reward of each step. */
export const rewardsIn =
  (out: string) =>
  ({ run }: Results, arm: string, seed: number): readonly number[] => {
    const file = join(armDirectory(out, run, seed, arm), 'metrics.jsonl');
    return readLines<{ reward: number }>(file).map(({ reward }) => reward);
  };
