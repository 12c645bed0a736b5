/**
 * record: watching changes nothing, rows say what explainStep and the measures say, and a resumed run's log
 * has no step twice.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { analysis, createContext, GRPOTrainer, Model } from '../../src/index.js';
import { temporaryDirectory } from '../helpers/files.js';
import { Random } from '../helpers/random.js';

const context = await createContext({ math: 'fp64' });
const V = 11;
async function small(): Promise<Model> {
  const model = await Model.fromConfig(
    {
      model_type: 'gpt',
      vocab_size: V,
      hidden_size: 16,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      max_position_embeddings: 10,
    },
    { context, seed: 5 },
  );
  await model.setParameter('lm_head.weight', new Random(1).normal([V * 16], 0.4).data);
  return model;
}
const random = new Random(3);
const probes = Array.from({ length: 6 }, () => ({
  inputIds: Array.from({ length: 7 }, () => random.integer(0, V)),
  scoreFrom: 3,
}));
const prompts = [
  [1, 2],
  [3, 4],
];
const countOf = ({ completionIds }: { completionIds: readonly number[] }) =>
  completionIds.filter((id) => id === 5).length;
const trainer = (model: Model, config: object = {}) =>
  new GRPOTrainer({
    model,
    trainDataset: prompts.map((prompt) => ({ prompt })),
    rewardFuncs: ({ completionIds }) => completionIds.map((ids) => countOf({ completionIds: ids })),
    config: {
      maxSteps: 5,
      perDeviceTrainBatchSize: 16,
      maxCompletionLength: 5,
      learningRate: 1e-3,
      lrSchedulerType: 'constant',
      stop: [0],
      ...config,
    },
  });
const weights = async (model: Model) =>
  Promise.all(model.parameters().map((p) => model.getParameter(p.name)));
const rowsOf = (directory: string) =>
  readFileSync(join(directory, 'analysis.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as analysis.AnalysisRow);

describe('analysis.record', () => {
  it('trains bit for bit as without it, and explains the steps that were made', async () => {
    const [plain, watched] = [await small(), await small()];
    await trainer(plain).train();
    const directory = temporaryDirectory();
    const stepsSeen: number[] = [];
    const rows: analysis.AnalysisRow[] = [];
    const sampling = {
      prompts,
      maxNewTokens: 5,
      numReturnSequences: 4,
      stop: [0],
      reward: (_: number, completion: { completionIds: readonly number[] }) =>
        Math.min(1, countOf(completion)),
    };
    for await (const { metrics, analysis: row } of analysis.record(
      trainer(watched, { outputDir: directory }),
      { every: 2, probes, kernelProbes: 4, sampling },
    )) {
      if (metrics) stepsSeen.push(metrics.step);
      if (row) rows.push(row);
    }
    expect(await weights(watched)).toEqual(await weights(plain));
    expect(stepsSeen).toEqual([1, 2, 3, 4, 5]);
    expect(rows.map((r) => r.step)).toEqual([0, 2, 4]);
    expect(rowsOf(directory)).toEqual(rows);
    expect(rows[0]!.explained).toBeUndefined();
    expect(rows[0]).toMatchObject({
      featureDrift: 0,
      classifierMoved: 0,
      kernel: { alignment: expect.closeTo(1, 12) as number },
    });
    for (const row of rows.slice(1)) {
      const { entropy, relativeError, r2 } = row.explained!;
      expect(relativeError).toBeLessThan(0.1);
      expect(r2).toBeGreaterThan(0.98);
      expect(entropy.representation + entropy.gradient + entropy.cross).toBeCloseTo(entropy.predicted, 12);
      expect(row.classifierMoved).toBeGreaterThan(0);
      expect(row.kernel!.alignment).toBeLessThan(1);
      expect(row.sampled!.distinct).toBeGreaterThan(1);
      expect(row.sampled!.bestOfN!).toBeGreaterThanOrEqual(row.sampled!.reward!);
    }
    // All states of the probes, measured at consecutive rows: the explained step is the one that led to the
    // row.
    const copy = await small();
    const fresh = trainer(copy);
    let before = 0;
    for await (const { step } of fresh.steps()) {
      const { entropy } = await analysis.confidence(copy, probes);
      if (step === 2) expect(rows[1]!.explained!.entropy.measured).toBeCloseTo(entropy - before, 10);
      before = entropy;
    }
  });

  it('goes on where a stopped run was: no step twice, drift from the origin given', async () => {
    const directory = temporaryDirectory();
    const origin = await small();
    const first = trainer(await small(), { outputDir: directory });
    for await (const { metrics } of analysis.record(first, { every: 1, probes, explainedStates: 0 }))
      if (metrics?.step === 3) break;
    await first.saveCheckpoint();
    const model = await small();
    for await (const _ of analysis.record(trainer(model, { outputDir: directory }), {
      every: 1,
      probes,
      explainedStates: 0,
      resumeFrom: 'latest',
      origin,
    }))
      void _;
    const straight = temporaryDirectory();
    for await (const _ of analysis.record(trainer(await small(), { outputDir: straight }), {
      every: 1,
      probes,
      explainedStates: 0,
    }))
      void _;
    const timeless = (rows: analysis.AnalysisRow[]) => rows.map(({ seconds: _, ...row }) => row);
    expect(timeless(rowsOf(directory))).toEqual(timeless(rowsOf(straight)));
  });

  it('without an outputDir writes nothing; refuses what it cannot follow', async () => {
    const model = await small();
    const run = (options: object) =>
      analysis.record(trainer(model), options as analysis.RecordOptions).next();
    expect((await run({ every: 1, probes })).value!.analysis!.step).toBe(0);
    expect(existsSync('analysis.jsonl')).toBe(false);
    await expect(run({ every: 0, probes })).rejects.toThrow('every must be a positive integer');
    await expect(run({ every: 1, probes: [] })).rejects.toThrow('probes must be an array that is not empty');
    await expect(run({ every: 1, probes, evry: 2 })).rejects.toThrow("no option 'evry'");
    await expect(
      run({ every: 1, probes: [{ inputIds: new Array(40).fill(1), scoreFrom: 3 }] }),
    ).rejects.toThrow('context');
  });
});
