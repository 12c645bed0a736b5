/** A made-up run for layout and robustness tests: three seeds, a base and two arms, curves with noise. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { Random } from '../../src/core/random.js';

export function metricsLines(arms = ['standard', 'cf'], seeds = [0, 1, 2], steps = 80): object[] {
  return arms.flatMap((arm, a) => seeds.flatMap((seed) => {
    const random = new Random(seed, a);
    return Array.from({ length: steps }, (_, i) => {
      const t = (i + 1) / steps;
      const noise = () => 0.04 * (random.uniform() - 0.5);
      return {
        arm, seed, step: i + 1, reward: 0.26 + (0.3 + 0.1 * a) * t ** 1.2 + noise(), entropy: 0.66 - 0.33 * t + noise(), max_prob: 0.74 + 0.14 * t + 0.2 * noise(),
        grad_norm: 0.8 + 0.4 * t + 4 * noise(), 'completions/mean_length': 5 + 2 * t + 6 * noise(), kl: 0.2 * t * t,
      };
    });
  }));
}

const evaluation = (row: string, arm: string, seed: number, step: number, pass: number) => ({
  row, arm, seed, step, prompts: 256, samplesPerPrompt: 8, reward: pass, passAt1: pass + 0.01 * seed, passAtK: pass + 0.3, k: 8, greedy: pass + 0.2, distinct: 6 - 4 * pass,
  meanLength: 6, onPolicy: { maxProb: 0.7 + 0.2 * pass, entropy: 0.8 - pass }, fixed: { maxProb: 0.7 + 0.15 * pass, entropy: 0.7 - 0.5 * pass },
});

export const summaryOf = (seeds = [0, 1, 2]) => ({
  name: 'sample', title: 'Noisy adder: RL and classifier-first RL', created: '2026-11-24T12:00:00.000Z', command: 'headfirst demo --seeds 3', seeds,
  arms: [
    { id: 'base', label: 'base', description: 'Supervised on demonstrations.' }, { id: 'standard', label: 'standard RL', description: 'GRPO on all parameters.' },
    { id: 'cf', label: 'CF-RL ×10', description: 'Classifier first.', classifierSteps: 20 },
  ],
  evaluations: seeds.flatMap((seed) => [
    evaluation('base', 'base', seed, 0, 0.26), evaluation('standard, 60', 'standard', seed, 60, 0.5), evaluation('standard, 80', 'standard', seed, 80, 0.55),
    evaluation('CF ×10, stage 1', 'cf', seed, 20, 0.38), evaluation('CF ×10, 20 + 60', 'cf', seed, 80, 0.63),
  ]),
  notes: ['A sentence that a reader should have beside the figures, long enough to wrap on a narrow screen.'],
  environment: { node: '20.20.2', kernels: 'avx2', threads: 2 }, config: { learningRate: 3e-4, numGenerations: 8 },
});

export const jsonl = (lines: readonly object[]) => `${lines.map((line) => JSON.stringify(line)).join('\n')}\n`;

export function writeRun(directory: string, { summary = JSON.stringify(summaryOf()), metrics = jsonl(metricsLines()) }: { summary?: string | undefined; metrics?: string | undefined } = {}): string {
  mkdirSync(directory, { recursive: true });
  if (summary !== undefined) writeFileSync(join(directory, 'summary.json'), summary);
  if (metrics !== undefined) writeFileSync(join(directory, 'metrics.jsonl'), metrics);
  return directory;
}
