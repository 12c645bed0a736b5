/** What a run refuses: rows, directories, checkpoints; each with a code and in words, nothing changed. */
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
import { type GRPOConfig, GRPOTrainer } from '../../../src/rl/index.js';
import {
  common,
  config,
  CONTEXT,
  logged,
  prompts,
  temporary,
  tinyModel,
  wantedTokens,
  weights,
} from '../helpers.js';

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
