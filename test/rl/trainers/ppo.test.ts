/**
 * PPO with a value head: the joint loss and its gradient against finite differences in double, and a run that
 * learns.
 */
import { describe, expect, it } from 'vitest';

import { Random } from '../../../src/core/random.js';
import { GRPOTrainer, PPOTrainer, RLOOTrainer, type StepMetrics } from '../../../src/rl/index.js';
import { ValueHead, valueLoss } from '../../../src/rl/credit/valueHead.js';
import { prompts, tinyModel, VOCABULARY, wantedTokens, weights } from '../helpers.js';

const random = new Random(3);
const samples = [3, 1, 5].map((length) => ({
  inputIds: Array.from({ length: 2 + length }, () => random.integer(VOCABULARY)),
  scoreFrom: 2,
}));
const N = 9;
const numbers = (n: number, scale = 1) =>
  Float64Array.from({ length: n }, () => scale * (2 * random.uniform() - 1));

it('policy and value loss: the gradient of trunk and head is that of the joint loss', async () => {
  const model = await tinyModel({ math: 'fp64' });
  const size = model.spec.hiddenSize;
  const state = {
    weight: [...numbers(size + 1)],
    expAvg: Array<number>(size + 1).fill(0),
    expAvgSq: Array<number>(size + 1).fill(0),
    step: 0,
  };
  const options = { vfCoef: 0.7, cliprangeValue: 0.3 };
  const features = await model.features(samples);
  const initial = await new ValueHead(model, state).values(features);
  // Both branches of the value clip are met.
  const oldValues = initial.map((v, n) => v + (n % 3 === 0 ? 0.6 : 0.05));
  const returns = numbers(N, 2);
  const loss = {
    loss: 'clip',
    advantages: numbers(N),
    weights: new Float64Array(N).fill(1 / N),
    oldLogps: (await model.score(samples)).logps.map((x, n) => x + 0.02 * (n % 2)),
  } as const;
  const total = async (head: ValueHead) => {
    const phi = await model.features(samples);
    const values = await head.values(phi);
    const { losses } = await model.accumulateGradients(samples, loss); // gradients are zeroed before they are read
    return (
      losses!.reduce((a, b) => a + b, 0) +
      options.vfCoef * valueLoss(values, oldValues, returns, options).loss
    );
  };

  const head = new ValueHead(model, state);
  const value = valueLoss(initial, oldValues, returns, options);
  expect(value.clipFraction).toBeGreaterThan(0);
  expect(value.clipFraction).toBeLessThan(1);
  const headGradient = await head.gradient(features, value.gradient);
  await model.zeroGradients();
  await model.accumulateGradients(samples, {
    ...loss,
    headGradients: value.gradient,
    headWeight: head.weight,
  });
  const gradients = new Map<string, Float64Array>();
  for (const { name } of model.parameters())
    gradients.set(name, Float64Array.from(await model.getGradient(name)));

  for (const name of [
    'embed.weight',
    'layers.0.attention.q.weight',
    'layers.1.mlp.down.weight',
    'lm_head.weight',
  ].filter((n) => gradients.has(n))) {
    const theta = Float64Array.from(await model.getParameter(name));
    const direction = numbers(theta.length);
    const at = async (step: number) => {
      await model.setParameter(
        name,
        theta.map((x, i) => x + step * direction[i]!),
      );
      return total(head);
    };
    const slope = ((await at(1e-5)) - (await at(-1e-5))) / 2e-5;
    await model.setParameter(name, theta);
    expect(slope, name).toBeCloseTo(
      gradients.get(name)!.reduce((sum, g, i) => sum + g * direction[i]!, 0),
      6,
    );
  }
  const direction = numbers(size + 1);
  const shifted = (step: number) =>
    new ValueHead(model, { ...state, weight: state.weight.map((x, i) => x + step * direction[i]!) });
  expect(((await total(shifted(1e-5))) - (await total(shifted(-1e-5)))) / 2e-5).toBeCloseTo(
    Float64Array.from(headGradient).reduce((sum, g, i) => sum + g * direction[i]!, 0),
    6,
  );
});

it('a head of the wrong size is refused', async () => {
  const model = await tinyModel();
  const loss = { loss: 'coefficients', coefficients: new Float32Array(N) } as const;
  await expect(
    model.accumulateGradients(samples, {
      ...loss,
      headGradients: new Float32Array(N),
      headWeight: new Float32Array(3),
    }),
  ).rejects.toMatchObject({ code: 'ERR_SHAPE', message: expect.stringContaining('headWeight') });
  await expect(
    model.accumulateGradients(samples, { ...loss, headGradients: new Float32Array(N) }),
  ).rejects.toMatchObject({ code: 'ERR_SHAPE' });
  await expect(
    model.accumulateGradients(samples, {
      ...loss,
      headGradients: new Float32Array(2),
      headWeight: new Float32Array(8),
    }),
  ).rejects.toMatchObject({ code: 'ERR_SHAPE', message: expect.stringContaining('headGradients') });
});

async function run(trainer: { steps(): AsyncGenerator<StepMetrics> }): Promise<StepMetrics[]> {
  const rows = [];
  for await (const row of trainer.steps()) rows.push(row);
  return rows;
}
const mean = (rows: StepMetrics[], key: string) =>
  rows.reduce((sum, row) => sum + (row[key] as number), 0) / rows.length;

describe('trainers', () => {
  const common = { rewardFuncs: wantedTokens, trainDataset: prompts() };
  const config = {
    perDeviceTrainBatchSize: 32,
    maxCompletionLength: 6,
    learningRate: 0.02,
    lrSchedulerType: 'constant',
    seed: 3,
    beta: 0,
  } as const;

  it('PPO raises the reward, and its values come to predict it', async () => {
    const rows = await run(
      new PPOTrainer({
        model: await tinyModel(),
        ...common,
        config: { ...config, maxSteps: 80, numIterations: 2, temperature: 1, vfCoef: 0.5 },
      }),
    );
    const rollouts = rows.filter((row) => 'reward' in row);
    expect(rollouts).toHaveLength(40);
    expect(mean(rollouts.slice(-8), 'reward')).toBeGreaterThan(mean(rollouts.slice(0, 8), 'reward') + 0.2);
    // V = 0 would cost at least ½ (mean reward)².
    expect(mean(rollouts.slice(-8), 'loss/value_avg')).toBeLessThan(
      0.3 * mean(rollouts.slice(-8), 'reward') ** 2,
    );
    expect(typeof rows[1]!['val/clipfrac_avg']).toBe('number');
  });
  // One run gains 0.1 to 0.6 by its seed, on every instruction set; three together are not a matter of luck.
  it('REINFORCE++ and RLOO raise the reward', async () => {
    const trainers = {
      'REINFORCE++': async (seed: number) =>
        new GRPOTrainer({
          model: await tinyModel(),
          ...common,
          config: {
            ...config,
            seed,
            perDeviceTrainBatchSize: 64,
            numGenerations: 1,
            advantageEstimator: 'reinforce_plus_plus',
            maxSteps: 60,
          },
        }),
      RLOO: async (seed: number) =>
        new RLOOTrainer({
          model: await tinyModel(),
          ...common,
          config: { ...config, seed, perDeviceTrainBatchSize: 64, maxSteps: 60 },
        }),
    };
    for (const [name, create] of Object.entries(trainers)) {
      let gain = 0;
      for (const seed of [1, 2, 3]) {
        const rows = await run(await create(seed));
        gain += (mean(rows.slice(-10), 'reward') - mean(rows.slice(0, 10), 'reward')) / 3;
      }
      expect(gain, name).toBeGreaterThan(0.15);
    }
  });
  it('defaults are those of TRL’s trainers', async () => {
    const model = await tinyModel();
    expect(new RLOOTrainer({ model, ...common, config: { maxSteps: 1 } }).config).toMatchObject({
      numGenerations: 2,
      beta: 0.05,
      normalizeAdvantages: false,
      klInReward: true,
      importanceSamplingLevel: 'product',
      rewardClipRange: null,
    });
    expect(new PPOTrainer({ model, ...common, config: { maxSteps: 1 } }).config).toMatchObject({
      learningRate: 3e-6,
      numIterations: 4,
      beta: 0.05,
      gamma: 1,
      lam: 0.95,
      vfCoef: 0.1,
      cliprangeValue: 0.2,
      epsilon: 0.2,
      whitenRewards: false,
      temperature: 0.7,
      maxCompletionLength: 53,
    });
    expect(
      () => new PPOTrainer({ model, ...common, config: { maxSteps: 1, advantageEstimator: 'grpo' } }),
    ).toThrow('numGenerations');
  });
  it('topEntropyQuantile 1 and a threshold that nothing exceeds change no bit', async () => {
    const weightsAfter = async (options: object) => {
      const model = await tinyModel();
      await run(
        new GRPOTrainer({
          model,
          ...common,
          config: { ...config, numGenerations: 4, maxSteps: 2, numIterations: 2, ...options },
        }),
      );
      return weights(model);
    };
    expect(await weightsAfter({ topEntropyQuantile: 1, offPolicyMaskThreshold: 1e9 })).toEqual(
      await weightsAfter({}),
    );
  });
});
