/**
 * What must not change a result: how a batch is cut, its order, who else is in it, what follows a sequence.
 * (There is no padding here: sequences are packed; tokens after the last scored one are what right padding
 * would be, and left padding cannot be expressed.) And what must not grow: memory, over many steps of a
 * trainer.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';

import { createContext, type GradientOptions, GRPOTrainer, Model, type Sample } from '../../src/index.js';
import { golden, goldenFamilies } from '../helpers/files.js';
import { Random } from '../helpers/random.js';
import { config, prompts, tinyModel, wantedTokens } from '../rl/helpers.js';

const context = await createContext({ threads: 1 });
const lengths = [11, 3, 16, 7, 2, 13];

interface Case {
  readonly sample: Sample;
  readonly weights: Float32Array;
  readonly advantages: Float32Array;
}

function cases(V: number): Case[] {
  const random = new Random(11);
  return lengths.map((length) => {
    const scoreFrom = random.integer(1, length);
    const n = length - scoreFrom;
    return {
      sample: { inputIds: Array.from({ length }, () => random.integer(0, V)), scoreFrom },
      weights: Float32Array.from({ length: n }, () => 0.1 + 0.05 * random.uniform()),
      advantages: Float32Array.from(random.normal([n]).data),
    };
  });
}
const join = (parts: readonly Float32Array[]) => Float32Array.from(parts.flatMap((part) => [...part]));

/** Loss, and every gradient in one vector. */
async function evaluate(
  model: Model,
  batches: readonly (readonly Case[])[],
  options: Partial<GradientOptions> = {},
): Promise<{ loss: number; gradient: number[] }> {
  await model.zeroGradients();
  let loss = 0;
  for (const batch of batches) {
    const { losses } = await model.accumulateGradients(
      batch.map((c) => c.sample),
      {
        loss: 'clip',
        advantages: join(batch.map((c) => c.advantages)),
        weights: join(batch.map((c) => c.weights)),
        entropyCoef: 0.02,
        ...options,
      },
    );
    loss += losses!.reduce((a, b) => a + b, 0);
  }
  const gradient: number[] = [];
  for (const { name } of model.parameters())
    for (const value of await model.getGradient(name)) gradient.push(value);
  return { loss, gradient };
}
function expectSame(
  actual: Awaited<ReturnType<typeof evaluate>>,
  expected: Awaited<ReturnType<typeof evaluate>>,
): void {
  let [difference, norm] = [0, 0];
  for (const [i, value] of expected.gradient.entries()) {
    difference += (actual.gradient[i]! - value) ** 2;
    norm += value ** 2;
  }
  expect(norm).toBeGreaterThan(0);
  expect(Math.sqrt(difference / norm)).toBeLessThan(1e-6);
  expect(Math.abs(actual.loss - expected.loss)).toBeLessThan(1e-6 * Math.max(1, Math.abs(expected.loss)));
}

describe.each(goldenFamilies)('%s: loss and gradients within 1e-6', async (name) => {
  const model = await Model.fromPretrained(golden(name), { context });
  const all = cases(model.spec.vocabSize);
  const whole = await evaluate(model, [all]);

  it.each([1, 2, 4])('in micro-batches of %i', async (size) => {
    const batches = Array.from({ length: Math.ceil(all.length / size) }, (_, b) =>
      all.slice(b * size, (b + 1) * size),
    );
    expectSame(await evaluate(model, batches), whole);
  });

  it.each([1, 16, 25])('at most %i tokens in memory, with and without checkpointing', async (maxTokens) => {
    expectSame(await evaluate(model, [all], { maxTokens }), whole);
    expectSame(await evaluate(model, [all], { maxTokens, gradientCheckpointing: true }), whole);
  });

  it('in any order', async () => {
    for (const order of [
      [5, 4, 3, 2, 1, 0],
      [2, 0, 4, 1, 5, 3],
    ])
      expectSame(await evaluate(model, [order.map((i) => all[i]!)]), whole);
  });

  it.each([0, 1, 60])('padded on the right with token %i', async (pad) => {
    const padded = all.map(({ sample, weights, advantages }, s) => {
      const extra = (s * 5) % 7;
      const fill = (values: Float32Array) =>
        Float32Array.from({ length: values.length + extra }, (_, i) => values[i] ?? 0);
      return {
        sample: { ...sample, inputIds: [...sample.inputIds, ...new Array<number>(extra).fill(pad)] },
        weights: fill(weights),
        advantages: fill(advantages),
      };
    });
    expectSame(await evaluate(model, [padded]), whole);
  });

  it('a sequence’s scores have the same bits whoever is beside it', async () => {
    const { logps } = await model.score(all.map((c) => c.sample));
    let row = 0;
    for (const { sample } of all) {
      const alone = (await model.score([sample])).logps;
      expect(logps.slice(row, row + alone.length)).toEqual(alone);
      row += alone.length;
    }
  });
});

it('memory does not grow over 120 steps of a trainer', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const model = await tinyModel();
  const trainer = new GRPOTrainer({
    model,
    rewardFuncs: wantedTokens,
    trainDataset: prompts(),
    config: { ...config, maxSteps: 150, beta: 0.02, numIterations: 2, evalSteps: 50 },
    evalDataset: prompts(2),
  });
  const measure = async () => {
    // Finalizers of collected tensors run a little later.
    for (let i = 0; i < 3; ++i) {
      collect();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const { tensors, tensorBytes, arenaBytes } = model.context.memory();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return { native: { tensors, tensorBytes, arenaBytes }, script: heapUsed + arrayBuffers };
  };
  const seen: Awaited<ReturnType<typeof measure>>[] = [];
  for await (const { step } of trainer.steps()) if (step === 30 || step === 140) seen.push(await measure());
  expect(seen[1]!.native).toEqual(seen[0]!.native);
  expect(seen[1]!.script - seen[0]!.script).toBeLessThan(1e6);
});
