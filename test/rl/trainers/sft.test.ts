/** Supervised training: its numbers against the formula in double, its modes, and the rows it refuses. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import type { Sample } from '../../../src/index.js';
import {
  readJsonLines,
  type SFTConfig,
  type SFTRow,
  SFTTrainer,
  type StepMetrics,
} from '../../../src/rl/index.js';
import { temporaryDirectory } from '../../helpers/files.js';
import { CONTEXT, tinyModel, weights } from '../helpers.js';
import { ExpectedAdamW } from './expected.js';

async function metricsOf(trainer: { steps(): AsyncGenerator<StepMetrics> }): Promise<StepMetrics[]> {
  const rows = [];
  for await (const row of trainer.steps()) rows.push(row);
  return rows;
}
const untimed = ({ step_time: _, ...row }: StepMetrics) => row;

describe('loss and weights of each update: the mean of −log π over the scored tokens', () => {
  const rows: SFTRow[] = [
    { prompt: [2, 3], completion: [4, 5, 1] },
    { prompt: [6], completion: [7, 8] },
    { inputIds: [9, 10, 11, 12, 13], scoreFrom: 4 },
  ];
  /** By hand: where each row's completion begins; without completionOnlyLoss the prompt is learned too. */
  const scoredFrom = (completionOnlyLoss: boolean): Sample[] => [
    { inputIds: [2, 3, 4, 5, 1], scoreFrom: completionOnlyLoss ? 2 : 1 },
    { inputIds: [6, 7, 8], scoreFrom: 1 },
    { inputIds: [9, 10, 11, 12, 13], scoreFrom: 4 },
  ];
  it.each<[SFTConfig, Sample[]]>([
    [{}, scoredFrom(true)],
    [{ completionOnlyLoss: false }, scoredFrom(false)],
    [{ maxTokensInMemory: 5, gradientCheckpointing: true }, scoredFrom(true)],
    [{ mode: 'lp', lpLearningRate: 0.5 }, scoredFrom(true)],
    [
      { maxLength: 4, completionOnlyLoss: false },
      [
        { inputIds: [2, 3, 4, 5], scoreFrom: 1 },
        { inputIds: [6, 7, 8], scoreFrom: 1 },
      ],
    ],
  ])('%j', async (options, samples) => {
    const model = await tinyModel({ math: 'fp64' });
    const trainDataset = rows.slice(0, samples.length);
    const config: SFTConfig = {
      perDeviceTrainBatchSize: samples.length,
      maxSteps: 3,
      learningRate: 0.5,
      lrSchedulerType: 'constant',
      adamEpsilon: 1,
      maxGradNorm: 0,
      shuffleDataset: false,
      ...options,
    };
    const evaluated = new SFTTrainer({ model, trainDataset, evalDataset: trainDataset, config });
    const steps = evaluated.steps();
    const optimizers = new Map<string, ExpectedAdamW>();
    for (let update = 1; update <= 3; ++update) {
      const copy = await model.clone();
      const before = await weights(model);
      const { logits } = await copy.forward({ inputIds: samples.map((s) => s.inputIds) }, { logits: true });
      const size = model.spec.vocabSize;
      let loss = 0;
      let right = 0;
      let tokens = 0;
      for (const [s, { inputIds, scoreFrom }] of samples.entries()) {
        const all = Array.from(await logits![s]!.data());
        for (let t = scoreFrom; t < inputIds.length; ++t) {
          const z = all.slice((t - 1) * size, t * size);
          loss += Math.log(z.reduce((sum, x) => sum + Math.exp(x), 0)) - z[inputIds[t]!]!;
          right += z.indexOf(Math.max(...z)) === inputIds[t] ? 1 : 0;
          tokens += 1;
        }
      }
      const evaluation = await evaluated.evaluate();
      const row = (await steps.next()).value as StepMetrics;
      expect(row['loss']).toBeCloseTo(loss / tokens, 6);
      expect(evaluation['eval_loss']).toBeCloseTo(loss / tokens, 6);
      expect(row['mean_token_accuracy']).toBe(right / tokens);
      expect(row['num_tokens']).toBe(update * samples.reduce((sum, s) => sum + s.inputIds.length, 0));

      const coefficients = new Float64Array(tokens).fill(1 / tokens);
      await copy.accumulateGradients(samples, { loss: 'coefficients', coefficients });
      const after = await weights(model);
      for (const { name, role } of copy.parameters()) {
        const gradient = [...(await copy.getGradient(name))];
        if (!optimizers.has(name)) optimizers.set(name, new ExpectedAdamW(gradient.length));
        const trains = options.mode !== 'lp' || role === 'classifier';
        const moved = trains ? optimizers.get(name)!.update(before[name]!, gradient, 0.5, 1) : before[name]!;
        const largest = Math.max(...moved.map((p, i) => Math.abs(p - after[name]![i]!)));
        expect(largest, `update ${update} ${name}`).toBeLessThan(1e-7);
      }
    }
  });
});

const samples = Array.from({ length: 12 }, (_, i) => ({
  prompt: [2 + (i % 5)],
  completion: [3 + (i % 5), 4 + (i % 5), 1],
}));
describe('SFTTrainer', () => {
  it('lowers the loss, as probing, fine-tuning and both in turn', async () => {
    for (const stages of [
      [{ name: 'lp', steps: 40, trainable: 'classifier', learningRate: 0.03 }],
      [{ name: 'ft', steps: 40, trainable: 'all', learningRate: 0.03 }],
      [
        { name: 'lp', steps: 20, trainable: 'classifier', learningRate: 0.03 },
        { name: 'ft', steps: 20, trainable: 'all', learningRate: 0.03 },
      ],
    ]) {
      const trainer = new SFTTrainer({
        model: await tinyModel(),
        trainDataset: samples,
        evalDataset: samples,
        config: { stages, lrSchedulerType: 'constant' },
      });
      const before = await trainer.evaluate();
      const rows = await metricsOf(trainer);
      expect(rows.at(-1)!['mean_token_accuracy'] as number).toBeGreaterThan(
        rows[0]!['mean_token_accuracy'] as number,
      );
      expect(rows.at(-1)!['loss'] as number).toBeLessThan(0.6 * (rows[0]!['loss'] as number));
      expect((await trainer.evaluate())['eval_loss']).toBeLessThan(0.6 * before['eval_loss']!);
    }
  });
  it('modes: ft, lp, lp_ft', async () => {
    const run = async (options: SFTConfig) => {
      const model = await tinyModel();
      const rows = await metricsOf(
        new SFTTrainer({
          model,
          trainDataset: samples,
          config: { maxSteps: 2, learningRate: 0.01, lrSchedulerType: 'constant', ...options },
        }),
      );
      return {
        stages: rows.map((row) => `${row.stage} ${row['learning_rate']}`),
        weights: await weights(model),
      };
    };
    const start = await weights(await tinyModel());
    const [ft, lp, both] = [
      await run({}),
      await run({ mode: 'lp', lpLearningRate: 0.1 }),
      await run({ mode: 'lp_ft', lpSteps: 1, lpLearningRate: 0.1 }),
    ];
    expect([ft.stages, lp.stages, both.stages]).toEqual([
      ['sft 0.01', 'sft 0.01'],
      ['lp 0.1', 'lp 0.1'],
      ['lp 0.1', 'ft 0.01', 'ft 0.01'],
    ]);
    const { 'lm_head.weight': head, ...body } = lp.weights;
    const { 'lm_head.weight': first, ...rest } = start;
    expect(body).toEqual(rest);
    expect(head).not.toEqual(first);
    for (const { weights: w } of [ft, both]) expect(w['embed.weight']).not.toEqual(start['embed.weight']);
    await expect(run({ mode: 'lp', trainable: 'all' })).rejects.toThrow(
      "mode 'lp' and trainable exclude each other",
    );
    await expect(run({ lpSteps: 3 })).rejects.toThrow("belongs to mode 'lp_ft'");
  });
  it('is the mean over the step’s tokens, whatever the split', async () => {
    const run = async (perDeviceTrainBatchSize: number, gradientAccumulationSteps: number) => {
      const model = await tinyModel();
      return [
        (
          await metricsOf(
            new SFTTrainer({
              model,
              trainDataset: samples,
              config: { maxSteps: 2, perDeviceTrainBatchSize, gradientAccumulationSteps },
            }),
          )
        ).map(untimed),
        await weights(model),
      ];
    };
    expect(await run(2, 4)).toEqual(await run(8, 1));
  });
  it.each([
    [{ prompt: [1, 2], completion: [] }, 'no token to learn'],
    [{ prompt: Array(CONTEXT).fill(2) as number[], completion: [1] }, 'no token to learn'],
    [{ text: 'hello' }, 'tokenizer'],
    [{ prompt: [1] }, 'must have prompt and completion'],
  ])('refuses %j', async (row, part) => {
    await expect(
      metricsOf(
        new SFTTrainer({ model: await tinyModel(), trainDataset: [row as never], config: { maxSteps: 1 } }),
      ),
    ).rejects.toThrow(part);
  });
  it('names a row with nothing to learn before the first step, by its file and line', async () => {
    const file = join(temporaryDirectory(), 'rows.jsonl');
    const good = '{"prompt":[1,2],"completion":[3]}\n';
    writeFileSync(file, `${good.repeat(20)}\n{"prompt":[1,2],"completion":[]}\n${good}`);
    const model = await tinyModel();
    const trainer = (rows: object) => new SFTTrainer({ model, config: { maxSteps: 1 }, ...rows } as never);
    const rows = await readJsonLines<never>(file);
    await expect(metricsOf(trainer({ trainDataset: rows }))).rejects.toThrow(
      `SFTTrainer: ${file}:22 has no token to learn`,
    );
    const right = rows.slice(0, 20);
    await expect(metricsOf(trainer({ trainDataset: right, evalDataset: rows }))).rejects.toThrow(
      `${file}:22`,
    );
    const unread = [...right, { prompt: [1], completion: [] }];
    await expect(metricsOf(trainer({ trainDataset: unread }))).rejects.toThrow('row 20 of trainDataset');
    expect(await metricsOf(trainer({ trainDataset: right }))).toHaveLength(1);
  });
});
