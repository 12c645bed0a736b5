/** CF-RL's first stage ends by what the body has to gain beside the classifier. */
import { expect, it } from 'vitest';

import { CFRLTrainer, GRPOTrainer } from '../../../src/index.js';
import type { StepMetrics } from '../../../src/rl/index.js';
import { config, prompts, tinyModel, wantedTokens } from '../helpers.js';

const args = { rewardFuncs: wantedTokens, trainDataset: prompts() };
async function stagesOf(switchRatio: number | undefined, own: object = {}): Promise<StepMetrics[]> {
  const trainer = new CFRLTrainer({
    ...args,
    model: await tinyModel({ math: 'fp64' }),
    config: {
      ...config,
      maxSteps: 3,
      classifierSteps: 10,
      ...(switchRatio === undefined ? {} : { switchRatio }),
      ...own,
    },
  });
  const rows: StepMetrics[] = [];
  for await (const row of trainer.steps()) rows.push(row);
  return rows;
}

it('at the first fourth step where the ratio is reached, at the latest after classifierSteps', async () => {
  const classifierSteps = (rows: readonly StepMetrics[]) =>
    rows.filter((row) => row.stage === 'classifier').length;
  const early = await stagesOf(1e-9);
  expect(early.map((row) => row.stage)).toEqual([
    ...new Array<string>(4).fill('classifier'),
    ...new Array<string>(3).fill('full'),
  ]);
  expect(classifierSteps(await stagesOf(1e9))).toBe(10);
  const never = await stagesOf(undefined);
  expect(classifierSteps(never)).toBe(10);
  expect(never.some((row) => 'growth/gradient' in row)).toBe(false);
  expect(early.filter((row) => 'growth/gradient' in row).map((row) => row.step)).toEqual([4]);
});

it('looking changes nothing, and sees the gradient that training everything would have', async () => {
  const still = { classifierLearningRate: 0, maxGradNorm: 0 };
  const looked = await stagesOf(1e9, still);
  const all: StepMetrics[] = [];
  for await (const row of new GRPOTrainer({
    ...args,
    model: await tinyModel({ math: 'fp64' }),
    config: { ...config, maxSteps: 8, learningRate: 0, maxGradNorm: 0 },
  }).steps())
    all.push(row);
  for (const step of [4, 8]) {
    const { 'growth/gradient': body, 'growth/representation': classifier } = looked[step - 1]! as Record<
      string,
      number
    >;
    expect(body! + classifier!).toBeCloseTo((all[step - 1]!['grad_norm'] as number) ** 2, 8);
    expect(Math.sqrt(classifier!)).toBeCloseTo(looked[step - 1]!['grad_norm'] as number, 8);
  }
  const metrics = (rows: readonly StepMetrics[]) =>
    rows.map(({ step_time: _, 'growth/gradient': _g, 'growth/representation': _r, ...row }) => row);
  expect(metrics(await stagesOf(1e9))).toEqual(metrics(await stagesOf(undefined)));
});
