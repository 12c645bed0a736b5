import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { Model } from '../../../src/index.js';
import {
  CFRLTrainer,
  type GRPOConfig,
  GRPOTrainer,
  type PromptRow,
  type RewardFunc,
  type StepMetrics,
} from '../../../src/rl/index.js';
import { config, logged, prompts, temporary, tinyModel, wantedTokens, weights } from '../helpers.js';

const grpo = (
  model: Model,
  options: GRPOConfig = {},
  rewardFuncs: RewardFunc | RewardFunc[] = wantedTokens,
  rows: PromptRow[] = prompts(),
) => new GRPOTrainer({ model, rewardFuncs, trainDataset: rows, config: { ...config, ...options } });
async function metricsOf(trainer: { steps(): AsyncGenerator<StepMetrics> }): Promise<StepMetrics[]> {
  const rows = [];
  for await (const row of trainer.steps()) rows.push(row);
  return rows;
}
const untimed = ({ step_time: _, ...row }: StepMetrics) => row;

describe('GRPOTrainer', () => {
  it('raises the reward', async () => {
    const rows = await metricsOf(
      grpo(await tinyModel(), {
        maxSteps: 60,
        perDeviceTrainBatchSize: 64,
        learningRate: 0.02,
        lrSchedulerType: 'constant',
      }),
    );
    const mean = (part: StepMetrics[]) =>
      part.reduce((sum, row) => sum + (row['reward'] as number), 0) / part.length;
    expect(mean(rows.slice(-10))).toBeGreaterThan(mean(rows.slice(0, 10)) + 0.2);
  });

  it('reports TRL’s metrics; on-policy the ratio is exactly 1 and nothing is clipped', async () => {
    const [row] = await metricsOf(
      grpo(await tinyModel(), { maxSteps: 1, entropyCoef: 0.01, beta: 0.1 }, [
        wantedTokens,
        async function second({ completionIds }) {
          return completionIds.map(() => null);
        },
      ]),
    );
    for (const key of [
      'reward',
      'reward_std',
      'frac_reward_zero_std',
      'rewards/wantedTokens/mean',
      'rewards/wantedTokens/std',
      'entropy',
      'entropy_coef',
      'kl',
      'clip_ratio/low_mean',
      'clip_ratio/low_min',
      'clip_ratio/high_mean',
      'clip_ratio/high_max',
      'clip_ratio/region_mean',
      'completions/mean_length',
      'completions/min_length',
      'completions/max_length',
      'completions/mean_terminated_length',
      'completions/min_terminated_length',
      'completions/max_terminated_length',
      'completions/clipped_ratio',
      'num_tokens',
      'step_time',
      'loss',
      'policy_loss',
      'grad_norm',
      'learning_rate',
      'epoch',
      'sampling/sampling_logp_difference/mean',
      'sampling/sampling_logp_difference/max',
    ])
      expect(typeof row![key], key).toBe('number');
    expect(row!['rewards/second/mean']).toBeNull();
    for (const key of ['low_mean', 'low_min', 'high_mean', 'high_max', 'region_mean'])
      expect(row![`clip_ratio/${key}`]).toBe(0);
    expect(row!['sampling/sampling_logp_difference/max']).toBeLessThan(1e-5);
    expect(row!['kl']).toBeCloseTo(0, 6);
    expect(row).toMatchObject({ step: 1, stage: 'full' });
  });

  it('trains on completions that fill the context', async () => {
    const model = await tinyModel();
    const { maxPositions } = model.spec;
    const rows = await metricsOf(
      grpo(model, { maxSteps: 2, maxCompletionLength: 10 * maxPositions, stop: [] }),
    );
    expect(rows.map((row) => row['completions/max_length'])).toEqual([maxPositions - 2, maxPositions - 2]);
  });

  it('says in words when a step has no signal', async () => {
    const rows = await metricsOf(
      grpo(await tinyModel(), { maxSteps: 2 }, ({ completionIds }) => completionIds.map(() => 1)),
    );
    expect(rows[0]!.notes.join(' ')).toContain('same reward');
    expect(rows[0]!['grad_norm']).toBe(0);
    const [none] = await metricsOf(
      grpo(await tinyModel(), { maxSteps: 1 }, ({ completionIds }) => completionIds.map(() => null)),
    );
    expect(none!.notes.join(' ')).toContain('null from every reward function');
    expect(none!['reward']).toBeNull();
    const [usual] = await metricsOf(grpo(await tinyModel(), { maxSteps: 1 }));
    expect(usual!.notes.join(' ')).toContain('close to 0 by construction');
  });

  it.each(['grpo', 'dr_grpo', 'dapo', 'cispo'] as const)(
    '%s: accumulation splits, threads and memory blocks',
    async (lossType) => {
      const run = async (options: GRPOConfig, threads = 1) => {
        const model = await tinyModel({ threads });
        const rows = await metricsOf(
          grpo(model, { lossType, maxSteps: 3, epsilonHigh: lossType === 'cispo' ? 5 : 0.2, ...options }),
        );
        return { rows: rows.map(untimed), weights: await weights(model) };
      };
      const whole = await run({ perDeviceTrainBatchSize: 16 });
      expect(await run({ perDeviceTrainBatchSize: 4, gradientAccumulationSteps: 4 })).toEqual(whole);
      expect(await run({ perDeviceTrainBatchSize: 16 }, 2)).toEqual(whole);
      // Another split of the sums: the same gradient up to rounding (compared before Adam, which divides it
      // by its own size).
      const blocks = await run({ perDeviceTrainBatchSize: 16, maxTokensInMemory: 16 });
      expect((blocks.rows[0]!['grad_norm'] as number) / (whole.rows[0]!['grad_norm'] as number)).toBeCloseTo(
        1,
        5,
      );
    },
  );

  it('num_iterations: several updates of one batch, old log-probabilities of the first forward', async () => {
    const rows = await metricsOf(
      grpo(await tinyModel(), {
        maxSteps: 6,
        numIterations: 3,
        learningRate: 0.1,
        lrSchedulerType: 'constant',
      }),
    );
    expect(rows.map((row) => 'reward' in row)).toEqual([true, false, false, true, false, false]);
    expect([rows[0]!, rows[3]!].map((row) => row['clip_ratio/region_mean'])).toEqual([0, 0]);
    expect(
      Math.max(...[1, 2, 4, 5].map((i) => rows[i]!['clip_ratio/region_mean'] as number)),
    ).toBeGreaterThan(0);
    expect(rows.flatMap((row) => row.notes).join(' ')).toContain('Clipping stopped');
    expect(rows[2]!['num_tokens']).toBe(rows[0]!['num_tokens']);
  });

  it('every later update of a batch is measured against its first forward', async () => {
    const model = await tinyModel();
    const seen: { old?: Float32Array | Float64Array; logps: Float32Array }[] = [];
    const accumulate = model.accumulateGradients.bind(model);
    model.accumulateGradients = async (samples, options) => {
      const scores = await accumulate(samples, options);
      seen.push({ ...(options.oldLogps ? { old: options.oldLogps } : {}), logps: scores.logps });
      return scores;
    };
    await metricsOf(grpo(model, { maxSteps: 3, numIterations: 3, lrSchedulerType: 'constant' }));
    expect(seen.map(({ old }) => old && [...old])).toEqual([
      undefined,
      [...seen[0]!.logps],
      [...seen[0]!.logps],
    ]);
    expect([...seen[1]!.logps]).not.toEqual([...seen[0]!.logps]);
  });

  it('masks truncated completions: with none left there is no gradient, and a note', async () => {
    const [row] = await metricsOf(
      grpo(await tinyModel({ eos: false }), { maxSteps: 1, maskTruncatedCompletions: true }),
    );
    expect(row!['grad_norm']).toBe(0);
    expect(row!['completions/clipped_ratio']).toBe(1);
    expect(row!.notes.join(' ')).toContain('masked every completion');
  });

  it('moves the classifier 10 × as far with the multiplier', async () => {
    const moved = async (multiplier: number) => {
      const model = await tinyModel();
      const before = await weights(model);
      await metricsOf(grpo(model, { maxSteps: 1, classifierLearningRateMultiplier: multiplier }));
      const after = await weights(model);
      return (name: string) =>
        Math.sqrt(after[name]!.reduce((sum, x, i) => sum + (x - before[name]![i]!) ** 2, 0));
    };
    const [one, ten] = [await moved(1), await moved(10)];
    expect(ten('lm_head.weight') / one('lm_head.weight')).toBeCloseTo(10, 3);
    expect(ten('embed.weight')).toBe(one('embed.weight'));
  });

  it('evaluates without changing the run', async () => {
    const run = async (options: GRPOConfig) => {
      const model = await tinyModel();
      const trainer = new GRPOTrainer({
        model,
        rewardFuncs: wantedTokens,
        trainDataset: prompts(),
        evalDataset: prompts(4),
        config: { ...config, maxSteps: 4, ...options },
      });
      return { rows: await metricsOf(trainer), weights: await weights(model) };
    };
    const [plain, evaluated] = [await run({}), await run({ evalSteps: 2 })];
    expect(evaluated.weights).toEqual(plain.weights);
    expect(evaluated.rows.map((row) => typeof row['eval_reward'])).toEqual([
      'undefined',
      'number',
      'undefined',
      'number',
    ]);
    // Without evalSteps at the end alone: rows are never held out for nothing.
    expect(plain.rows.map((row) => typeof row['eval_reward'])).toEqual([
      'undefined',
      'undefined',
      'undefined',
      'number',
    ]);
    expect(plain.rows[3]!['eval_reward']).toBe(evaluated.rows[3]!['eval_reward']);
  });
});

describe('stages', () => {
  it('CF-RL moves the classifier alone, then everything, each with its own learning rate', async () => {
    const model = await tinyModel();
    const before = await weights(model);
    const trainer = new CFRLTrainer({
      model,
      rewardFuncs: wantedTokens,
      trainDataset: prompts(),
      config: { ...config, classifierSteps: 3, maxSteps: 2, learningRate: 0.01, lrSchedulerType: 'linear' },
    });
    expect(trainer.totalSteps).toBe(5);
    const rows: StepMetrics[] = [];
    for await (const row of trainer.steps()) {
      rows.push(row);
      if (row.step !== 3) continue;
      const { 'lm_head.weight': classifier, ...body } = await weights(model);
      const { 'lm_head.weight': first, ...rest } = before;
      expect(body).toEqual(rest);
      expect(classifier).not.toEqual(first);
    }
    expect(rows.map((row) => row.stage)).toEqual(['classifier', 'classifier', 'classifier', 'full', 'full']);
    for (const [i, rate] of [0.1, 0.1 * (2 / 3), 0.1 / 3, 0.01, 0.005].entries())
      expect(rows[i]!['learning_rate']).toBeCloseTo(rate, 10);
    expect((await weights(model))['embed.weight']).not.toEqual(before['embed.weight']);
  });
  it('cached features give the classifier the gradient of the full pass', async () => {
    const model = await tinyModel();
    model.setTrainable('classifier');
    const samples = [
      [2, 3, 4, 5],
      [6, 7, 1],
    ].map((inputIds) => ({ inputIds, scoreFrom: 2 }));
    const loss = {
      loss: 'clip',
      advantages: Float32Array.of(1, 1, -0.5),
      weights: new Float32Array(3).fill(1 / 3),
    } as const;
    const gradient = async (features?: Awaited<ReturnType<Model['features']>>) => {
      await model.zeroGradients();
      const { logps } = await model.accumulateGradients(samples, {
        ...loss,
        ...(features ? { features } : {}),
      });
      return [[...logps], [...(await model.getGradient('lm_head.weight'))]];
    };
    expect(await gradient(await model.features(samples))).toEqual(await gradient());
  });
  it('stage 1 computes features once per batch', async () => {
    const model = await tinyModel();
    let calls = 0;
    const features = model.features.bind(model);
    model.features = (...args) => {
      ++calls;
      return features(...args);
    };
    await metricsOf(grpo(model, { maxSteps: 6, numIterations: 3, trainable: 'classifier' }));
    expect(calls).toBe(2);
  });
  it('refuses a tied model in words', async () => {
    const model = await tinyModel({ tied: true });
    expect(
      () => new CFRLTrainer({ model, rewardFuncs: wantedTokens, trainDataset: prompts(), config }),
    ).toThrow('untieClassifier');
    expect(() => grpo(model, { classifierLearningRateMultiplier: 10 })).toThrow('untieClassifier');
  });
});

describe('files', () => {
  it('writes a row per step, completions when asked, and keeps the newest checkpoints', async () => {
    const outputDir = temporary();
    await grpo(await tinyModel(), {
      outputDir,
      maxSteps: 6,
      saveSteps: 2,
      saveTotalLimit: 2,
      logCompletions: true,
    }).train();
    expect(logged(outputDir).map((row) => row.step)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(readdirSync(outputDir).sort()).toEqual([
      'checkpoint-4',
      'checkpoint-6',
      'completions.jsonl',
      'metrics.jsonl',
    ]);
    const records = readFileSync(join(outputDir, 'completions.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(records).toHaveLength(48);
    expect(records[0]).toMatchObject({
      step: 1,
      prompt: expect.any(Array),
      completion: expect.any(Array),
      advantage: expect.any(Number),
      rewards: { wantedTokens: expect.any(Number) },
    });
    const reloaded = await Model.fromPretrained(join(outputDir, 'checkpoint-6'));
    expect(await reloaded.generate([[2, 3]], { maxNewTokens: 3, temperature: 0 })).toHaveLength(1);
  });
  it('does not mix two runs in one directory', async () => {
    const outputDir = temporary();
    await grpo(await tinyModel(), { outputDir, maxSteps: 1 }).train();
    await expect(grpo(await tinyModel(), { outputDir, maxSteps: 1 }).train()).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG',
      message: expect.stringContaining('overwriteOutputDir'),
    });
    await grpo(await tinyModel(), { outputDir, maxSteps: 2, overwriteOutputDir: true }).train();
    expect(logged(outputDir)).toHaveLength(2);
    expect(existsSync(join(outputDir, 'checkpoint-1'))).toBe(false);
  });
});
