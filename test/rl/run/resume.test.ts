import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import type { Model } from '../../../src/index.js';
import { CFRLTrainer, GRPOTrainer, PPOTrainer, type RewardFunc, SFTTrainer } from '../../../src/rl/index.js';
import { common, config, EOS, logged, temporary, tinyModel, wantedTokens, weights } from '../helpers.js';

interface Runnable {
  readonly model: Model;
  readonly totalSteps: number;
  step: number;
  steps(options?: { resumeFrom?: string }): AsyncGenerator<{ readonly step: number }>;
  train(options?: object): Promise<unknown>;
  saveCheckpoint(directory?: string): Promise<string>;
}
const kinds: Record<string, (model: Model, outputDir?: string) => Runnable> = {
  GRPO: (model, outputDir) => new GRPOTrainer({ ...common(model), config: { ...config, outputDir } }),
  'GRPO with a reference, 3 updates per batch': (model, outputDir) =>
    new GRPOTrainer({
      ...common(model),
      config: { ...config, outputDir, numIterations: 3, beta: 0.1, entropyCoef: 0.01, lossType: 'grpo' },
    }),
  'RLOO, KL in the reward': (model, outputDir) =>
    new GRPOTrainer({
      ...common(model),
      config: { ...config, outputDir, advantageEstimator: 'rloo', beta: 0.1, klInReward: true },
    }),
  'PPO, KL and adaptive entropy': (model, outputDir) =>
    new PPOTrainer({
      ...common(model),
      config: {
        ...config,
        outputDir,
        numIterations: 3,
        useAdaptiveEntropy: true,
        entropyTarget: 3,
        topEntropyQuantile: 0.8,
      },
    }),
  'CF-RL': (model, outputDir) =>
    new CFRLTrainer({
      ...common(model),
      config: { ...config, outputDir, classifierSteps: 5, maxSteps: 5, numIterations: 2 },
    }),
  'rows on demand': (model, outputDir) =>
    new GRPOTrainer({
      ...common(model),
      trainDataset: (index, random) => ({ prompt: [2 + random.integer(10)], wanted: index % 3 }),
      config: { ...config, outputDir },
    }),
  'SFT, two stages': (model, outputDir) =>
    new SFTTrainer({
      model,
      trainDataset: Array.from({ length: 7 }, (_, i) => ({ prompt: [2 + i], completion: [3 + i, EOS] })),
      config: {
        outputDir,
        seed: 1,
        perDeviceTrainBatchSize: 3,
        stages: [
          { name: 'lp', steps: 6, trainable: 'classifier', learningRate: 0.1 },
          { name: 'ft', steps: 4, trainable: 'all', learningRate: 0.01 },
        ],
      },
    }),
};

/** Every point: within stage 1, at the boundary, within stage 2, between two updates of a batch. */
const POINTS = [1, 3, 5, 6, 8];

describe.each(Object.keys(kinds))('%s', (kind) => {
  const make = kinds[kind]!;
  it.each(POINTS)('10 steps = %i + save + load + the rest, bit for bit', async (point) => {
    const straight = temporary();
    const whole = make(await tinyModel(), straight);
    await whole.train();
    expect(whole.step).toBe(10);

    const outputDir = temporary();
    const first = make(await tinyModel(), outputDir);
    for await (const { step } of first.steps()) {
      if (step === point) await first.saveCheckpoint();
      if (step === point + 1) break; // one step more than was saved: resuming forgets it
    }
    const second = make(await tinyModel(), outputDir);
    await second.train({ resumeFrom: 'latest' });
    expect(await weights(second.model)).toEqual(await weights(whole.model));
    expect(logged(outputDir)).toEqual(logged(straight));
    const optimizer = (directory: string) =>
      readdirSync(join(directory, 'checkpoint-10')).includes('optimizer.safetensors');
    expect(optimizer(outputDir)).toBe(optimizer(straight));
  });
});

/** As it was written before `state` held everything (version 2). */
function toVersion2(checkpoint: string): void {
  const file = join(checkpoint, 'trainer_state.json');
  const { version, state, ...rest } = JSON.parse(readFileSync(file, 'utf8'));
  expect(version).toBe(3);
  const { batch, valueHead, entropy, ...counters } = state;
  const pending = entropy === null ? null : { batch, head: valueHead, entropy };
  writeFileSync(file, JSON.stringify({ version: 2, state: counters, ...rest, pending }));
}

it.each(['GRPO with a reference, 3 updates per batch', 'PPO, KL and adaptive entropy', 'SFT, two stages'])(
  'a checkpoint of version 2 is resumed bit for bit: %s',
  async (kind) => {
    const make = kinds[kind]!;
    const whole = make(await tinyModel());
    await whole.train();
    const outputDir = temporary();
    const first = make(await tinyModel(), outputDir);
    for await (const { step } of first.steps()) if (step === 5) break;
    const checkpoint = await first.saveCheckpoint();
    toVersion2(checkpoint);
    const second = make(await tinyModel(), outputDir);
    await second.train({ resumeFrom: checkpoint });
    expect(await weights(second.model)).toEqual(await weights(whole.model));
  },
);

it('the optimizer’s moments are restored, not only the weights', async () => {
  const trainer = kinds['GRPO']!(await tinyModel(), temporary());
  for await (const { step } of trainer.steps()) if (step === 4) break;
  const checkpoint = await trainer.saveCheckpoint();
  expect(readFileSync(join(checkpoint, 'optimizer.safetensors')).length).toBeGreaterThan(1000);
  const state = JSON.parse(readFileSync(join(checkpoint, 'trainer_state.json'), 'utf8'));
  expect(state).toMatchObject({
    state: { step: 4, stage: 0, stageStep: 4, rows: 8, completions: 32 },
    optimizerStep: 4,
  });
});

it('a model in double resumes bit for bit too', async () => {
  const outputDir = temporary();
  const whole = await tinyModel({ math: 'fp64' });
  await kinds['GRPO']!(whole).train();
  const first = kinds['GRPO']!(await tinyModel({ math: 'fp64' }), outputDir);
  for await (const { step } of first.steps()) if (step === 5) break;
  await first.saveCheckpoint();
  const model = await tinyModel({ math: 'fp64' });
  await kinds['GRPO']!(model, outputDir).train({ resumeFrom: join(outputDir, 'checkpoint-5') });
  expect(await weights(model)).toEqual(await weights(whole));
});

describe('a step that fails changes nothing', () => {
  const failAt =
    (step: number, how: () => number): RewardFunc =>
    (input) =>
      input.trainerState.step === step ? input.completionIds.map(how) : wantedTokens(input);
  it.each<[string, () => number]>([
    [
      'throws',
      () => {
        throw new Error('boom');
      },
    ],
    ['NaN', () => NaN],
  ])('reward %s', async (_, how) => {
    const outputDir = temporary();
    const model = await tinyModel();
    const good = await tinyModel();
    const trainer = new GRPOTrainer({
      ...common(model),
      rewardFuncs: failAt(4, how),
      config: { ...config, outputDir },
    });
    await expect(trainer.train()).rejects.toMatchObject({
      code: 'ERR_REWARD',
      message: expect.stringContaining('(step 4)'),
    });
    for await (const { step } of kinds['GRPO']!(good).steps()) if (step === 3) break;
    expect(await weights(model)).toEqual(await weights(good));
    expect(trainer.step).toBe(3);
    expect(logged(outputDir)).toHaveLength(3);
    expect(existsSync(join(outputDir, 'checkpoint-3'))).toBe(true);
    // … and the run goes on once the reward is mended.
    const mended = await tinyModel();
    await kinds['GRPO']!(mended, outputDir).train({ resumeFrom: 'latest' });
    const whole = await tinyModel();
    await kinds['GRPO']!(whole).train();
    expect(await weights(mended)).toEqual(await weights(whole));
  });

  it('aborting: the signal’s reason, a checkpoint, and the rest as if nothing had happened', async () => {
    const outputDir = temporary();
    const controller = new AbortController();
    const model = await tinyModel();
    const stopping: RewardFunc = (input) => {
      if (input.trainerState.step === 6) controller.abort(new Error('enough'));
      return wantedTokens(input);
    };
    const trainer = new GRPOTrainer({
      ...common(model),
      rewardFuncs: Object.assign(stopping, { rewardName: 'wantedTokens' }),
      config: { ...config, outputDir },
    });
    await expect(trainer.train({ signal: controller.signal })).rejects.toThrow('enough');
    expect(readdirSync(outputDir)).toContain('checkpoint-5');
    const resumed = await tinyModel();
    await kinds['GRPO']!(resumed, outputDir).train({ resumeFrom: 'latest' });
    await trainer.train(); // the same object goes on as well
    const whole = await tinyModel();
    await kinds['GRPO']!(whole).train();
    expect(await weights(resumed)).toEqual(await weights(whole));
    expect(await weights(model)).toEqual(await weights(whole));
  });

  it('a signal that comes with the gradients: no update is made', async () => {
    const controller = new AbortController();
    const model = await tinyModel();
    const before = await weights(model);
    const accumulate = model.accumulateGradients.bind(model);
    model.accumulateGradients = async (...args) => {
      const scores = await accumulate(...args);
      controller.abort(new Error('late'));
      return scores;
    };
    const trainer = kinds['GRPO']!(model);
    await expect(trainer.train({ signal: controller.signal })).rejects.toThrow('late');
    expect(await weights(model)).toEqual(before);
    expect(trainer.step).toBe(0);
  });

  it('a failure after the gradients leaves none behind', async () => {
    const model = await tinyModel();
    const trainer = kinds['GRPO']!(model);
    const accumulate = model.accumulateGradients.bind(model);
    let calls = 0;
    model.accumulateGradients = async (...args) => {
      const scores = await accumulate(...args);
      if (++calls === 4) throw new Error('late');
      return scores;
    };
    await expect(trainer.train()).rejects.toThrow('late');
    for (const { name } of model.parameters())
      expect(
        (await model.getGradient(name)).every((g) => g === 0),
        name,
      ).toBe(true);
    await trainer.train();
    const whole = await tinyModel();
    await kinds['GRPO']!(whole).train();
    expect(await weights(model)).toEqual(await weights(whole));
  });

  it('a gradient that is not finite: no update, a note, and the run goes on', async () => {
    const model = await tinyModel();
    const accumulate = model.accumulateGradients.bind(model);
    let calls = 0;
    model.accumulateGradients = (samples, options) =>
      accumulate(
        samples,
        ++calls === 1 ? { ...options, weights: options.weights!.map(() => 3e38) } : options,
      );
    const before = await weights(model);
    const trainer = new GRPOTrainer({ ...common(model), config: { ...config, maxSteps: 2 } });
    for await (const { step, notes, grad_norm } of trainer.steps()) {
      expect(notes.join(' ').includes('not finite')).toBe(step === 1);
      if (step > 1) continue;
      expect(grad_norm).toBeNull();
      expect(await weights(model)).toEqual(before);
    }
    const after = await weights(model);
    expect(after).not.toEqual(before);
    expect(Object.values(after).flat().every(Number.isFinite)).toBe(true);
  });

  it('a signal that is aborted from the start', async () => {
    await expect(
      kinds['GRPO']!(await tinyModel()).train({ signal: AbortSignal.abort(new Error('no')) }),
    ).rejects.toThrow('no');
  });
});
