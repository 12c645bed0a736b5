/** A made-up run for layout and robustness tests: three seeds, a base and two arms, curves with noise. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Snapshot } from '../../src/analysis/index.js';
import { Random } from '../../src/core/random.js';

export function metricsLines(arms = ['standard', 'cf'], seeds = [0, 1, 2], steps = 80): object[] {
  return arms.flatMap((arm, a) =>
    seeds.flatMap((seed) => {
      const random = new Random(seed, a);
      return Array.from({ length: steps }, (_, i) => {
        const t = (i + 1) / steps;
        const noise = () => 0.04 * (random.uniform() - 0.5);
        return {
          arm,
          seed,
          step: i + 1,
          reward: 0.26 + (0.3 + 0.1 * a) * t ** 1.2 + noise(),
          entropy: 0.66 - 0.33 * t + noise(),
          max_prob: 0.74 + 0.14 * t + 0.2 * noise(),
          grad_norm: 0.8 + 0.4 * t + 4 * noise(),
          'completions/mean_length': 5 + 2 * t + 6 * noise(),
          kl: 0.2 * t * t,
        };
      });
    }),
  );
}

const evaluation = (row: string, arm: string, seed: number, step: number, pass: number) => ({
  row,
  arm,
  seed,
  step,
  prompts: 256,
  samplesPerPrompt: 8,
  reward: pass,
  passAt1: pass + 0.01 * seed,
  passAtK: pass + 0.3,
  k: 8,
  greedy: pass + 0.2,
  distinct: 6 - 4 * pass,
  meanLength: 6,
  onPolicy: { maxProb: 0.7 + 0.2 * pass, entropy: 0.8 - pass },
  fixed: { maxProb: 0.7 + 0.15 * pass, entropy: 0.7 - 0.5 * pass },
});

export const summaryOf = (seeds = [0, 1, 2]) => ({
  name: 'sample',
  title: 'Noisy adder: RL and classifier-first RL',
  created: '2026-11-24T12:00:00.000Z',
  command: 'headfirst demo --seeds 3',
  seeds,
  arms: [
    { id: 'base', label: 'base', description: 'Supervised on demonstrations.' },
    { id: 'standard', label: 'standard RL', description: 'GRPO on all parameters.' },
    { id: 'cf', label: 'CF-RL ×10', description: 'Classifier first.', classifierSteps: 20 },
  ],
  evaluations: seeds.flatMap((seed) => [
    evaluation('base', 'base', seed, 0, 0.26),
    evaluation('standard, 60', 'standard', seed, 60, 0.5),
    evaluation('standard, 80', 'standard', seed, 80, 0.55),
    evaluation('CF ×10, stage 1', 'cf', seed, 20, 0.38),
    evaluation('CF ×10, 20 + 60', 'cf', seed, 80, 0.63),
  ]),
  notes: ['A sentence that a reader should have beside the figures, long enough to wrap on a narrow screen.'],
  environment: { node: '20.20.2', kernels: 'avx2', threads: 2 },
  config: { learningRate: 3e-4, numGenerations: 8 },
});

export const jsonl = (lines: readonly object[]) =>
  `${lines.map((line) => JSON.stringify(line)).join('\n')}\n`;

export function writeRun(
  directory: string,
  {
    summary = JSON.stringify(summaryOf()),
    metrics = jsonl(metricsLines()),
  }: { summary?: string | undefined; metrics?: string | undefined } = {},
): string {
  mkdirSync(directory, { recursive: true });
  if (summary !== undefined) writeFileSync(join(directory, 'summary.json'), summary);
  if (metrics !== undefined) writeFileSync(join(directory, 'metrics.jsonl'), metrics);
  return directory;
}

/** analysis.jsonl as analysis.record writes it, merged over arms and seeds. */
export const analysisLines = (arms = ['standard', 'cf'], seeds = [0, 1, 2]): object[] =>
  arms.flatMap((arm) =>
    seeds.flatMap((seed) =>
      Array.from({ length: 9 }, (_, i) => ({
        arm,
        seed,
        step: 10 * i,
        stage: i ? 'full' : 'start',
        maxProb: 0.7,
        entropy: 0.66 - 0.03 * i,
        logp: -0.6,
        meanCosine: 0.4,
        positiveCosines: 0.8,
        featureDrift: 0.04 * i,
        classifierNorm: 18,
        classifierMoved: 0.01 * i + 0.001 * seed,
        ...(i
          ? {
              explained: {
                maxProb: {
                  representation: 1e-3,
                  gradient: 2e-3,
                  cross: 0,
                  predicted: 3e-3,
                  measured: 3.1e-3,
                },
                entropy: {
                  representation: -1e-3,
                  gradient: -2e-3,
                  cross: 0,
                  predicted: -3e-3,
                  measured: -3.2e-3,
                },
                relativeError: 0.03,
                r2: 0.99,
                signAgreement: 0.97,
                stepNorm: 0.1,
              },
            }
          : {}),
        sampled: { distinct: 6 - 0.3 * i, distinct1: 0.5, distinct2: 0.6, selfBleu: 0.4, n: 8 },
        seconds: 0.1,
      })),
    ),
  );

/** analysis.json as headfirst analyze writes it. */
export function snapshotOf(n = 6): Snapshot {
  const random = new Random(4);
  const kernel = (name: string, share: number) => ({
    name,
    share,
    effectiveRank: 3,
    eigenvalues: Array.from({ length: n }, (_, i) => 1e6 / (i + 1)),
    rows: Array.from({ length: n }, (_, i) =>
      Array.from({ length: n }, (_, j) => (i === j ? 5 : random.uniform() - 0.4)),
    ),
  });
  const change = {
    before: 0.6,
    representation: -0.01,
    gradient: -0.02,
    cross: 0,
    predicted: -0.03,
    measured: -0.031,
  };
  return {
    samples: Array.from(
      { length: n },
      (_, i) => `#${i} a sample with a rather long label <that> could be markup`,
    ),
    kernels: [kernel('representation', 0.3), kernel('gradient', 0.7), kernel('total', 1)],
    cosines: [0, 1, 2].map((position) => ({
      position,
      pairs: 100,
      mean: 0.4,
      positive: 0.9,
      histogram: Array.from({ length: 40 }, (_, i) => (i > 20 ? 5 : 0)),
    })),
    step: {
      kind: 'ascent',
      learningRate: 1e-3,
      states: 8,
      relativeError: 0.02,
      r2: 0.99,
      signAgreement: 0.98,
      entropy: change,
      maxProb: change,
      points: Array.from({ length: 200 }, () => {
        const x = random.uniform() - 0.5;
        return [x, x + 0.02 * random.uniform()] as const;
      }),
      parts: [
        { name: 'representation', share: 0.4 },
        { name: 'gradient', share: 0.8 },
        { name: 'gradient: layer 0', share: 0.5 },
      ],
      probes: [
        {
          label: 'a state',
          token: 'x',
          predicted: 0.1,
          measured: 0.11,
          influences: [{ sample: 0, representation: 0.05, gradient: 0.02, cross: 0, total: 0.07 }],
        },
      ],
    },
    figures: [
      { name: 'maxProb', value: 0.7 },
      { name: 'classifierNorm', value: 18 },
    ],
    problems: [],
  };
}
