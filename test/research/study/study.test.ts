/**
 * The study's arithmetic on records made up so that every answer is known, and its files from a directory as
 * a run leaves it.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { interval } from '../../../src/evaluation/estimators.js';
import type { MarkRecord } from '../../../src/research/experiment/arms.js';
import type { Dynamics } from '../../../src/research/experiment/dynamics.js';
import { claimsOf, slope } from '../../../src/research/study/claims.js';
import { comparisonsOf, Results } from '../../../src/research/study/compare.js';
import { studyRuns } from '../../../src/research/study/studyPlan.js';
import { writeStudy } from '../../../src/research/study/write.js';
import { temporaryDirectory } from '../../helpers/files.js';

const runs = studyRuns('full');
const both = (representation: number, gradient: number) => ({ representation, gradient });

/** `lift`: what the arm has over standard RL; `good`: every claim holds. */
function record(arm: string, seed: number, step: number, pass: number, good = true): MarkRecord {
  const progress = step / 80;
  const rates = {
    entropy: both(good ? -0.1 : 0.1, -0.02),
    maxProb: both(good ? 0.1 : -0.1, 0.02),
    raised: both(0.9, 0.5),
    relativeError: 0.001,
  };
  const shaped = arm.startsWith('cf') && good;
  const cosine = {
    all: 0.6,
    allPositive: 0.95,
    prompts: 0.9,
    promptsPositive: 1,
    samePosition: 0.7,
    samePositionPositive: 0.97,
  };
  const dynamics: Dynamics = {
    classifierNorm: arm === 'lp-ft-new' ? 12 + 0.01 * seed : 10 + 0.01 * seed,
    classifierMoved: 0.1,
    featureDrift: arm === 'lp-ft-new' ? 0.1 + 0.001 * seed : 0.3 * progress + 0.002 * seed,
    featureCosine: 0.9,
    cosine: good ? cosine : { ...cosine, all: 0.1, prompts: 0.2, samePosition: 0.1 },
    growth: both(1, (shaped ? 3 : 1) * (1 + 0.01 * seed)),
    ascent: rates,
    adam: rates,
  };
  const sharper = good ? 1 : 0;
  return {
    row: `${arm}, ${step}`,
    arm,
    seed,
    step,
    prompts: 256,
    samplesPerPrompt: 8,
    reward: pass,
    passAt1: pass,
    passAtK: 0.9,
    k: 8,
    greedy: 0.8,
    distinct: 6 - 2 * progress * sharper - 0.1 * seed * progress,
    meanLength: 6,
    bestOf: [1, 2, 4, 8].map((n) => ({
      n,
      reward: n === 1 ? pass : 0.9 + 0.01 * progress + 0.001 * seed * progress,
    })),
    onPolicy: { maxProb: 0.7 + 0.1 * progress, entropy: 0.7 - (0.3 + 0.01 * seed) * progress * sharper },
    fixed: { maxProb: 0.7 + (0.1 + 0.001 * seed) * progress * sharper, entropy: 0.6 },
    cost: { steps: step, tokens: 1000 * step, seconds: step * (arm.startsWith('cf') ? 0.75 : 1) },
    dynamics,
  };
}
const SEEDS = [0, 1, 2];
function resultsOf(run: (typeof runs)[number], good: boolean): Results {
  const records = SEEDS.flatMap((seed) => [
    record('base', seed, 0, 0.3, good),
    ...run.plan.arms.flatMap((arm) =>
      arm.marks.map(({ step }) => {
        const standard = 0.3 + 0.003 * step;
        const cf = step <= 20 ? 0.32 : standard + 0.05 + 0.01 * seed;
        return record(
          arm.id,
          seed,
          step,
          !good ? 0.3 : arm.trainer === 'cfrl' ? cf : arm.trainer === 'none' ? 0.4 : standard,
          good,
        );
      }),
    ),
  ]);
  return new Results(run, records, SEEDS);
}

describe('statistics', () => {
  it('interval is Student’s, one value has none, and what is not finite is left out', () => {
    // scipy.stats.t.interval(0.95, 3, loc=2.5, scale=sem([1, 2, 3, 4]))
    const { mean, low, high, n } = interval([1, 2, NaN, 3, 4]);
    expect([mean, n]).toEqual([2.5, 4]);
    expect(low).toBeCloseTo(0.44573974323, 3);
    expect(high).toBeCloseTo(4.55426025677, 3);
    expect(interval([7])).toEqual({ mean: 7, low: -Infinity, high: Infinity, n: 1 });
  });
  it('slope is that of the least-squares line over the first values', () => {
    expect(slope([1, 3, 5, 7, 100], 4)).toBeCloseTo(2, 12);
    expect(slope([0, 1, 0, 1], 4)).toBeCloseTo(0.2, 12);
  });
});

describe('comparisons', () => {
  const results = resultsOf(runs.find(({ id }) => id === 'main-grpo')!, true);
  const gains = Object.fromEntries(comparisonsOf(results).map((c) => [c.arm, c.gains]));
  it('pair by seed at each effort: full steps, total steps, tokens, processor time', () => {
    // CF ends at 80 steps, .05 + .01·seed over standard RL at 80; tokens per step are equal, its steps take
    // three quarters of the time.
    expect(gains['cf-10']!['total steps'].mean).toBeCloseTo(0.06, 12);
    expect(gains['cf-10']!['sampled tokens'].mean).toBeCloseTo(0.06, 12);
    expect(gains['cf-10']!['full steps'].mean).toBeCloseTo(0.06 + 0.003 * 20, 12);
    expect(gains['cf-10']!['wall time'].mean).toBeCloseTo(0.06 + 0.003 * 20, 12);
    expect(gains['cf-10']!['total steps'].low).toBeCloseTo(0.06 - (4.303 * 0.01) / Math.sqrt(3), 4);
    expect(gains['lr-2']!['full steps'].mean).toBeCloseTo(0, 12);
    // It has no mark at the full steps: no number rather than one from elsewhere.
    expect(gains['classifier-only']!['full steps'].n).toBe(0);
  });
  it('read standard RL between its marks, from the base model on, and not beyond the last', () => {
    expect(results.standardAt(0, 'tokens', 75_000)).toBeCloseTo(0.3 + 0.003 * 75, 12);
    expect(results.standardAt(0, 'seconds', 20)).toBeCloseTo(0.3 + 0.003 * 20, 12);
    expect(results.standardAt(0, 'tokens', 121_000)).toBeNaN();
  });
});

describe('claims', () => {
  const rising = (_run: Results, arm: string, seed: number) =>
    Array.from({ length: 120 }, (_, i) => i * (arm === 'cf-10' && i >= 20 ? 0.02 + 0.001 * seed : 0.01));
  const flat = () => new Array<number>(120).fill(0.3);
  it('are reproduced where every number says so, and not where none does', () => {
    expect(
      claimsOf(
        runs.map((run) => resultsOf(run, true)),
        rising,
      ).map((c) => c.verdict),
    ).toEqual(new Array(5).fill('reproduced'));
    expect(
      claimsOf(
        runs.map((run) => resultsOf(run, false)),
        flat,
      ).map((c) => c.verdict),
    ).toEqual(['not reproduced', 'not reproduced', 'not reproduced', 'unknown', 'partly']);
  });
  it('are unknown before there are numbers', () => {
    expect(
      claimsOf(
        runs.map((run) => new Results(run, [], SEEDS)),
        () => [],
      ).map((c) => c.verdict),
    ).toEqual(new Array(5).fill('unknown'));
  });
});

it('a study is written as tables, drawings and every record, also while it is under way', async () => {
  const out = temporaryDirectory();
  const quick = studyRuns('quick');
  const run = quick[0]!;
  const arms = ['base', 'standard', 'cf-10'];
  for (const arm of arms) {
    const marks = run.plan.arms.find(({ id }) => id === arm)?.marks ?? [{ step: 0 }];
    const directory = join(out, run.id, 'seed-0', arm);
    mkdirSync(directory, { recursive: true });
    writeFileSync(
      join(directory, 'evaluations.json'),
      JSON.stringify(marks.map(({ step }) => record(arm, 0, step, 0.3 + 0.01 * step))),
    );
    writeFileSync(
      join(directory, 'metrics.jsonl'),
      marks.map(({ step }) => JSON.stringify({ step, reward: 0.1 * step, entropy: 0.5 })).join('\n'),
    );
  }
  writeFileSync(
    join(out, run.id, 'metrics.jsonl'),
    arms
      .slice(1)
      .flatMap((arm) =>
        readFileSync(join(out, run.id, 'seed-0', arm, 'metrics.jsonl'), 'utf8')
          .split('\n')
          .map((line) => line.replace('{', `{"arm":"${arm}","seed":0,`)),
      )
      .join('\n'),
  );
  writeFileSync(
    join(out, run.id, 'summary.json'),
    JSON.stringify({
      arms: run.plan.arms.map(({ id, label }) => ({ id, label })),
      evaluations: arms.flatMap(
        (arm) =>
          JSON.parse(readFileSync(join(out, run.id, 'seed-0', arm, 'evaluations.json'), 'utf8')) as unknown[],
      ),
    }),
  );
  await writeStudy({
    out,
    seeds: [0],
    size: 'quick',
    command: 'headfirst reproduce --quick',
    environment: {},
  });
  const text = readFileSync(join(out, 'README.md'), 'utf8');
  expect(text).toContain('A quick run: its numbers mean nothing.');
  expect(text).toMatch(/\| CF ×10 \| \+0\.020 \| 0\.000 \|/);
  for (const [, file] of text.matchAll(/\]\((figures\/[^)]+)\)/g))
    expect(existsSync(join(out, file!)), file).toBe(true);
  expect(readFileSync(join(out, 'figures/main-grpo-pass-at-1.svg'), 'utf8')).toMatch(
    /^<svg[\s\S]*standard RL[\s\S]*<\/svg>$/,
  );
  expect(readFileSync(join(out, 'records.csv'), 'utf8').trim().split('\n')).toHaveLength(1 + 1 + 7 + 2);
});
