import {
  appendFileSync,
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { Model } from '../../../src/index.js';
import {
  CFRLTrainer,
  type GRPOConfig,
  GRPOTrainer,
  PPOTrainer,
  type RewardFunc,
  SFTTrainer,
} from '../../../src/rl/index.js';
import {
  config,
  CONTEXT,
  EOS,
  logged,
  prompts,
  temporary,
  tinyModel,
  wantedTokens,
  weights,
} from '../helpers.js';

interface Runnable {
  readonly model: Model;
  readonly totalSteps: number;
  step: number;
  steps(options?: { resumeFrom?: string }): AsyncGenerator<{ readonly step: number }>;
  train(options?: object): Promise<unknown>;
  saveCheckpoint(directory?: string): Promise<string>;
}
const common = (model: Model) => ({ model, rewardFuncs: wantedTokens, trainDataset: prompts() });
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

describe('bad input', () => {
  const train = async (
    options: GRPOConfig,
    rest: Partial<ConstructorParameters<typeof GRPOTrainer>[0]> = {},
  ) =>
    new GRPOTrainer({
      ...common(await tinyModel()),
      ...rest,
      config: { ...config, maxSteps: 1, ...options },
    }).train();
  it('a prompt longer than the context', async () => {
    await expect(
      train({}, { trainDataset: [{ prompt: Array(CONTEXT).fill(3) as number[], wanted: 0 }] }),
    ).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG',
      message: expect.stringContaining(`context is ${CONTEXT}`),
    });
  });
  it('text without a tokenizer', async () => {
    await expect(train({}, { trainDataset: [{ prompt: 'hello' }] })).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('tokenizer'),
    });
    await expect(
      train({}, { rewardFuncs: ({ completions }) => completions.map(() => 0) }),
    ).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED' });
  });
  it.each([[{ prompt: 5 }], [{}], [{ prompt: [] }]])('a row without a usable prompt: %j', async (row) => {
    await expect(train({}, { trainDataset: [row as never] })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG',
    });
  });
  it('no reward function, no rows, no steps', async () => {
    const model = await tinyModel();
    expect(() => new GRPOTrainer({ model, rewardFuncs: [], trainDataset: prompts() })).toThrow('rewardFuncs');
    expect(() => new GRPOTrainer({ model, rewardFuncs: wantedTokens, trainDataset: [] })).toThrow('empty');
    expect(
      () => new GRPOTrainer({ model, rewardFuncs: wantedTokens, trainDataset: () => ({ prompt: [1] }) }),
    ).toThrow('maxSteps');
    expect(
      () =>
        new GRPOTrainer({
          model,
          rewardFuncs: wantedTokens,
          trainDataset: prompts(),
          config: { evalSteps: 1 },
        }),
    ).toThrow('evalDataset');
  });
  it('a run directory that is a file', async () => {
    const outputDir = join(temporary(), 'file');
    writeFileSync(outputDir, '');
    await expect(train({ outputDir })).rejects.toMatchObject({
      code: 'ERR_IO',
      message: expect.stringContaining(outputDir),
    });
  });
  it.skipIf(process.getuid?.() === 0)('an unwritable run directory', async () => {
    const outputDir = temporary();
    chmodSync(outputDir, 0o500);
    await expect(train({ outputDir: join(outputDir, 'run') })).rejects.toMatchObject({ code: 'ERR_IO' });
  });
  it('a checkpoint that cannot be written: ERR_IO, nothing half-written, the run goes on', async () => {
    const outputDir = temporary();
    const trainer = new GRPOTrainer({ ...common(await tinyModel()), config: { ...config, outputDir } });
    for await (const { step } of trainer.steps()) if (step === 2) break;
    writeFileSync(join(outputDir, 'checkpoint-2'), '');
    await expect(trainer.saveCheckpoint()).rejects.toMatchObject({
      code: 'ERR_IO',
      message: expect.stringContaining('checkpoint-2'),
    });
    expect(readdirSync(outputDir).filter((name) => name.includes('.tmp'))).toEqual([]);
    await trainer.train();
    expect(logged(outputDir)).toHaveLength(10);
  });
  it.skipIf(!existsSync('/dev/full'))(
    'a full disk: ERR_IO in words; the step stands and the run can go on',
    async () => {
      const outputDir = temporary();
      const metrics = join(outputDir, 'metrics.jsonl');
      const trainer = new GRPOTrainer({ ...common(await tinyModel()), config: { ...config, outputDir } });
      for await (const { step } of trainer.steps()) if (step === 2) break;
      rmSync(metrics);
      symlinkSync('/dev/full', metrics);
      await expect(trainer.train()).rejects.toMatchObject({
        code: 'ERR_IO',
        message: expect.stringContaining('the disk is full'),
      });
      expect(trainer.step).toBe(3);
      rmSync(metrics);
      await trainer.train();
      expect(trainer.step).toBe(10);
    },
  );

  describe('checkpoints', () => {
    const prepare = async () => {
      const outputDir = temporary();
      const options = { ...config, outputDir, maxSteps: 6, saveSteps: 2 };
      const trainer = new GRPOTrainer({ ...common(await tinyModel()), config: options });
      for await (const { step } of trainer.steps()) if (step === 5) break;
      const model = await tinyModel();
      return {
        outputDir,
        newest: join(outputDir, 'checkpoint-4'),
        model,
        before: await weights(model),
        resume: (change: GRPOConfig = {}) =>
          new GRPOTrainer({ ...common(model), config: { ...options, ...change } }).train({
            resumeFrom: 'latest',
          }),
      };
    };
    it.each<[string, (newest: string) => void, string]>([
      [
        'truncated weights',
        (newest) => truncateSync(join(newest, 'model.safetensors'), 500),
        'model.safetensors is damaged',
      ],
      [
        'a flipped byte in the moments',
        (newest) => {
          const path = join(newest, 'optimizer.safetensors');
          const bytes = readFileSync(path);
          bytes[bytes.length - 3]! ^= 1;
          writeFileSync(path, bytes);
        },
        'optimizer.safetensors is damaged',
      ],
      ['a state that is not JSON', (newest) => truncateSync(join(newest, 'trainer_state.json'), 40), 'JSON'],
      [
        'a foreign version',
        (newest) => writeFileSync(join(newest, 'trainer_state.json'), '{"version":99}'),
        'version 99',
      ],
    ])('%s: ERR_CHECKPOINT, the older one named, the model untouched', async (_, damage, part) => {
      const { outputDir, newest, model, before, resume } = await prepare();
      damage(newest);
      await expect(resume()).rejects.toMatchObject({
        code: 'ERR_CHECKPOINT',
        message: expect.stringContaining(part),
      });
      await expect(resume()).rejects.toThrow(`resume from the older ${join(outputDir, 'checkpoint-2')}`);
      expect(await weights(model)).toEqual(before);
    });
    it('another learning rate is refused by name; another place or interval is not', async () => {
      const { resume } = await prepare();
      await expect(resume({ learningRate: 0.5 })).rejects.toMatchObject({
        code: 'ERR_CHECKPOINT',
        message: expect.stringContaining('learningRate 0.01, now it is 0.5'),
      });
      await resume({ saveSteps: 100 });
    });
    it('a model of another shape', async () => {
      const { outputDir } = await prepare();
      const { context } = await tinyModel();
      const other = await Model.fromConfig(
        {
          model_type: 'gpt',
          vocab_size: 17,
          hidden_size: 16,
          num_hidden_layers: 2,
          num_attention_heads: 2,
          intermediate_size: 16,
          max_position_embeddings: CONTEXT,
        },
        { context },
      );
      await expect(
        new GRPOTrainer({ ...common(other), config: { ...config, outputDir, maxSteps: 6 } }).train({
          resumeFrom: 'latest',
        }),
      ).rejects.toMatchObject({ code: 'ERR_CHECKPOINT', message: expect.stringContaining('another model') });
    });
    it('another reference model', async () => {
      const outputDir = temporary();
      const options = { ...config, outputDir, beta: 0.1 };
      const trainer = new GRPOTrainer({ ...common(await tinyModel()), config: options });
      for await (const { step } of trainer.steps()) if (step === 3) break;
      const checkpoint = await trainer.saveCheckpoint();
      const trained = await Model.fromPretrained(checkpoint);
      await expect(
        new GRPOTrainer({ ...common(trained), config: options }).train({ resumeFrom: checkpoint }),
      ).rejects.toThrow('another reference model');
    });
    it('the last line of a killed run is dropped', async () => {
      const outputDir = temporary();
      const run = (maxSteps: number, resumeFrom?: 'latest') =>
        tinyModel().then((model) =>
          new GRPOTrainer({
            ...common(model),
            config: { ...config, outputDir, maxSteps, saveSteps: 1 },
          }).train({ resumeFrom }),
        );
      await run(1);
      appendFileSync(join(outputDir, 'metrics.jsonl'), '{"step":2,"rew');
      await run(2, 'latest');
      expect(logged(outputDir).map((row) => row.step)).toEqual([1, 2]);
    });
    it('latest without a checkpoint is no fresh start', async () => {
      const outputDir = temporary();
      await expect(
        new GRPOTrainer({ ...common(await tinyModel()), config: { ...config, outputDir } }).train({
          resumeFrom: 'latest',
        }),
      ).rejects.toMatchObject({
        code: 'ERR_CHECKPOINT',
        message: expect.stringContaining('has no checkpoint to go on from; leave resumeFrom out to begin'),
      });
      expect(readdirSync(outputDir)).toEqual([]);
    });
    it('a finished run goes on with more steps, as one run of that length on a constant rate', async () => {
      const [straight, twice] = [temporary(), temporary()];
      const options = { ...config, lrSchedulerType: 'constant' as const, numIterations: 2, beta: 0.1 };
      const run = async (outputDir: string, maxSteps: number, resumeFrom?: 'latest') => {
        const model = await tinyModel();
        await new GRPOTrainer({ ...common(model), config: { ...options, outputDir, maxSteps } }).train({
          resumeFrom,
        });
        return weights(model);
      };
      const whole = await run(straight, 7);
      await run(twice, 4);
      expect(await run(twice, 7, 'latest')).toEqual(whole);
      expect(logged(twice)).toEqual(logged(straight));
    });
  });
});
