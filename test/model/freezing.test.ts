/**
 * Freezing by name: everything but the classifier frozen is CF-RL's first stage. (What it saves:
 * bench/large.ts.)
 */
import { describe, expect, it } from 'vitest';

import { CFRLTrainer, Context, createContext, GRPOTrainer, Model } from '../../src/index.js';
import { addon } from '../../src/core/addon/addon.js';
import { config, prompts, wantedTokens } from '../rl/helpers.js';

const contexts = {
  fp64: await createContext({ math: 'fp64' }),
  fp32: await createContext({ threads: 1 }),
  /** The yardstick of the accuracy rule. */
  naive: new Context(new addon.Context({ backend: 'reference32' }), {
    device: 'cpu',
    math: 'fp32',
    seed: 0,
    reason: 'the naive reference',
  }),
};
const tiny = (context: Context) =>
  Model.fromConfig(
    {
      model_type: 'gpt',
      vocab_size: 17,
      hidden_size: 16,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      intermediate_size: 32,
      max_position_embeddings: 12,
      eos_token_id: 1,
    },
    { context, seed: 5 },
  );
const STEPS = 5;
const common = { ...config, learningRate: 0.01, lrSchedulerType: 'constant' as const };

/** Everything else frozen by name; the full trainer otherwise. */
async function frozen(context: Context): Promise<Model> {
  const model = await tiny(context);
  await new GRPOTrainer({
    model,
    rewardFuncs: wantedTokens,
    trainDataset: prompts(),
    config: { ...common, maxSteps: STEPS, trainable: '^lm_head' },
  }).train();
  return model;
}
async function firstStage(context: Context): Promise<Model> {
  const model = await tiny(context);
  const trainer = new CFRLTrainer({
    model,
    rewardFuncs: wantedTokens,
    trainDataset: prompts(),
    config: { ...common, classifierSteps: STEPS, classifierLearningRate: 0.01, maxSteps: 1 },
  });
  let step = 0;
  for await (const _ of trainer.steps()) if (++step === STEPS) break;
  return model;
}
function relative(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [difference, norm] = [0, 0];
  for (let i = 0; i < expected.length; ++i) {
    difference += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}

describe('everything but the classifier frozen by name', () => {
  it('equals CF-RL’s first stage by the accuracy rule: how far the classifier moved, against double', async () => {
    const start = await (await tiny(contexts.fp64)).getParameter('lm_head.weight');
    const moved = async (model: Model) =>
      Float64Array.from(await model.getParameter('lm_head.weight'), (v, i) => v - start[i]!);
    const truth = await moved(await frozen(contexts.fp64));
    const naive = relative(await moved(await frozen(contexts.naive)), truth);
    expect(relative(await moved(await firstStage(contexts.fp32)), truth)).toBeLessThanOrEqual(
      2 * naive + 1e-6,
    );
    expect(relative(await moved(await firstStage(contexts.fp64)), truth)).toBeLessThan(1e-12);
    expect(Math.hypot(...truth)).toBeGreaterThan(0.1);
  });

  it('moves nothing else, bit for bit', async () => {
    const [before, after] = [await tiny(contexts.fp32), await frozen(contexts.fp32)];
    for (const { name } of before.parameters((p) => p.role !== 'classifier'))
      expect(await after.getParameter(name), name).toEqual(await before.getParameter(name));
  });
});

it('gradients of one part have the bits that they have when all trains; frozen parts have none', async () => {
  const model = await tiny(contexts.fp32);
  const samples = [{ inputIds: [1, 2, 3, 4, 5, 6], scoreFrom: 2 }];
  const gradients = async (which: 'all' | RegExp) => {
    model.setTrainable(which);
    await model.zeroGradients();
    await model.accumulateGradients(samples, {
      loss: 'coefficients',
      coefficients: new Float32Array(4).fill(1),
    });
    return Object.fromEntries(
      await Promise.all(
        model.parameters().map(async (p) => [p.name, await model.getGradient(p.name)] as const),
      ),
    );
  };
  const whole = await gradients('all');
  const top = await gradients(/layers\.1\.mlp/);
  for (const [name, gradient] of Object.entries(top))
    expect(gradient, name).toEqual(
      /layers\.1\.mlp/.test(name) ? whole[name] : new Float32Array(gradient.length),
    );
});
