/**
 * Memory: what training will hold is known before it begins; gradient checkpointing holds less and computes
 * the same bits.
 */
import { describe, expect, it } from 'vitest';

import {
  createContext,
  GRPOTrainer,
  Model,
  ntk,
  type Sample,
  SFTTrainer,
  type TrainingEstimate,
  type TrainingShape,
} from '../../src/index.js';
import { checkMemory, describeMemory } from '../../src/rl/run/memory.js';
import { golden, goldenFamilies } from '../helpers/files.js';
import { Random } from '../helpers/random.js';

const shapes = {
  gpt_neox: {
    model_type: 'gpt_neox',
    vocab_size: 3000,
    hidden_size: 128,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    intermediate_size: 512,
    max_position_embeddings: 256,
  },
  qwen3: {
    model_type: 'qwen3',
    vocab_size: 1000,
    hidden_size: 128,
    num_hidden_layers: 3,
    num_attention_heads: 8,
    num_key_value_heads: 2,
    head_dim: 32,
    intermediate_size: 384,
    max_position_embeddings: 256,
  },
  gpt2: { model_type: 'gpt2', vocab_size: 2000, n_embd: 96, n_layer: 3, n_head: 4, n_positions: 256 },
};

const samplesOf = (V: number, sequences: number, length: number, scored: number): Sample[] => {
  const random = new Random(1);
  return Array.from({ length: sequences }, () => ({
    inputIds: Array.from({ length }, () => random.integer(0, V)),
    scoreFrom: length - scored,
  }));
};
/**
 * The arena's peak when the work is done a second time: the first time it grows block by block, which leaves
 * gaps.
 */
async function peak(model: Model, work: () => Promise<unknown>): Promise<number> {
  for (let i = 0; i < 2; ++i) {
    model.context.memory();
    await work();
  }
  return model.context.memory().arenaPeakBytes;
}
const near = (estimate: number, measured: number, what: string, within = 0.05) =>
  expect(Math.abs(estimate / measured - 1), `${what}: ${estimate} for ${measured}`).toBeLessThan(within);

describe.each(Object.entries(shapes))('%s: the estimate is within 5 %% of the arena’s peak', (_, config) => {
  it.each([
    [6, 40, 20],
    [3, 200, 199],
  ])('%i sequences of %i tokens, %i scored', async (sequences, sequenceLength, scoredLength) => {
    const context = await createContext({ threads: 2 });
    const model = await Model.fromConfig(config, { context, seed: 1 });
    const reference = await model.clone();
    const samples = samplesOf(config.vocab_size, sequences, sequenceLength, scoredLength);
    const n = sequences * scoredLength;
    const shape = { sequences, sequenceLength, scoredLength };
    const modes: [TrainingShape, object][] = [
      [shape, {}],
      [{ ...shape, gradientCheckpointing: true }, { gradientCheckpointing: true }],
      [{ ...shape, trainable: /\.2\./ }, {}],
      [{ ...shape, trainable: /\.1\./, gradientCheckpointing: true }, { gradientCheckpointing: true }],
      [{ ...shape, trainable: /norm.*weight$|ln_f/ }, {}],
      [{ ...shape, maxTokens: 2 * sequenceLength }, { maxTokens: 2 * sequenceLength }],
      [
        { ...shape, reference: 'exact' },
        {
          loss: 'clip',
          advantages: new Float32Array(n).fill(1),
          coefficients: undefined,
          kl: 'exact',
          beta: 0.1,
          reference,
        },
      ],
      ...(model.tied ? [] : [[{ ...shape, trainable: 'classifier' }, {}] as [TrainingShape, object]]),
    ];
    for (const [asked, options] of modes) {
      model.setTrainable(asked.trainable ?? 'all');
      const measured = await peak(model, () =>
        model.accumulateGradients(samples, {
          loss: 'coefficients',
          coefficients: new Float32Array(n).fill(0.01),
          ...options,
        }),
      );
      near(model.estimateTraining(asked).activations, measured, JSON.stringify(asked));
    }
    const sampling = {
      prompts: 2,
      promptLength: sequenceLength - scoredLength,
      numReturnSequences: 3,
      maxNewTokens: scoredLength,
    };
    const estimate = model.estimateTraining({ ...shape, sampling });
    near(estimate.scoring, await peak(model, () => model.score(samples)), 'scoring');
    const prompts = samples.slice(0, 2).map(({ inputIds, scoreFrom }) => inputIds.slice(0, scoreFrom));
    near(
      estimate.sampling,
      await peak(model, () =>
        model.generate(prompts, { maxNewTokens: scoredLength, numReturnSequences: 3, stop: [] }),
      ),
      'sampling',
    );
    context.dispose();
  });
});

it('the estimate counts what is held throughout, and follows what trains', async () => {
  const model = await Model.fromConfig(shapes.gpt_neox);
  const shape: TrainingShape = { sequences: 4, sequenceLength: 30 };
  const all = model.estimateTraining(shape);
  expect([all.weights, all.gradients, all.optimizer, all.reference]).toEqual(
    [4, 4, 8, 0].map((bytes) => bytes * model.native.size),
  );
  expect(all.bytes).toBe(16 * model.native.size + all.activations);
  const head = model.estimateTraining({ ...shape, trainable: 'classifier', reference: true });
  expect([head.gradients, head.optimizer, head.reference]).toEqual([
    4 * 3000 * 128,
    8 * 3000 * 128,
    4 * model.native.size,
  ]);
  expect(head.activations).toBeLessThan(all.activations / 2);
  expect(() => model.estimateTraining({ sequences: 0, sequenceLength: 30 })).toThrow(
    expect.objectContaining({ code: 'ERR_INVALID_ARG', message: expect.stringContaining('sequences') }),
  );
  expect(() => model.estimateTraining({ ...shape, maxToken: 3 } as TrainingShape)).toThrow(
    expect.objectContaining({ message: expect.stringContaining("'maxTokens'") }),
  );
});

describe('a trainer', () => {
  const config = { ...shapes.gpt_neox, eos_token_id: null };
  const options = {
    perDeviceTrainBatchSize: 8,
    numGenerations: 4,
    maxCompletionLength: 60,
    maxSteps: 2,
    gradientCheckpointing: true,
  };
  const prompts = Array.from({ length: 6 }, (_, i) => ({
    prompt: Array.from({ length: 3 + i }, (_, t) => t),
  }));
  const reward = ({ completionIds }: { completionIds: readonly (readonly number[])[] }) =>
    completionIds.map((ids) => ids[0]! % 2);

  it('knows its peak: weights, optimizer and the largest phase within 5 %', async () => {
    const context = await createContext({ threads: 1 });
    const trainer = new GRPOTrainer({
      model: await Model.fromConfig(config, { context }),
      rewardFuncs: reward,
      trainDataset: prompts,
      config: options,
    });
    const estimate = trainer.estimateMemory();
    await trainer.train();
    context.memory();
    const again = new GRPOTrainer({
      model: trainer.model,
      rewardFuncs: reward,
      trainDataset: prompts,
      config: options,
    });
    for await (const _ of again.steps()) break;
    const { arenaPeakBytes, tensorBytes } = context.memory();
    trainer.dispose();
    near(estimate.bytes, arenaPeakBytes + tensorBytes, describeMemory(estimate));
    expect(describeMemory(estimate)).toMatch(
      /^[\d.]+ MB at its peak \(weights [\d.]+ MB, gradients .*, optimizer .*, activations .*\)$/,
    );
    context.dispose();
  });

  it('SFT: the longest row decides, cut to maxLength', async () => {
    const model = await Model.fromConfig(config);
    const rows = [5, 90, 30].map((length) => ({
      prompt: new Array<number>(length).fill(1),
      completion: [2, 3],
    }));
    const of = (extra: object): TrainingEstimate =>
      new SFTTrainer({
        model,
        trainDataset: rows,
        config: { maxSteps: 1, perDeviceTrainBatchSize: 2, ...extra },
      }).estimateMemory();
    expect(of({}).activations).toBe(model.estimateTraining({ sequences: 2, sequenceLength: 92 }).activations);
    expect(of({ maxLength: 91 }).activations).toBe(
      model.estimateTraining({ sequences: 2, sequenceLength: 91 }).activations,
    );
    // A row whose completion is cut off is one that the step refuses.
    expect(of({ maxLength: 40 }).activations).toBe(
      model.estimateTraining({ sequences: 2, sequenceLength: 32 }).activations,
    );
  });

  it('refuses a run that cannot fit, before anything happens, and says what would help', async () => {
    const model = await Model.fromConfig(config);
    const trainer = new GRPOTrainer({
      model,
      rewardFuncs: reward,
      trainDataset: prompts,
      config: { ...options, perDeviceTrainBatchSize: 4e8, maxTokensInMemory: 1e10 },
    });
    await expect(trainer.train()).rejects.toMatchObject({
      code: 'ERR_OUT_OF_MEMORY',
      message: expect.stringMatching(
        /GRPOTrainer: this run needs .* TB at its peak .*, got .* GB of memory; lower maxTokensInMemory, set gradientCheckpointing/,
      ),
    });
    const estimate = model.estimateTraining({ sequences: 4, sequenceLength: 30 });
    expect(() => checkMemory('x', estimate, estimate.bytes)).not.toThrow();
    expect(() => checkMemory('x', estimate, estimate.bytes - 1)).toThrow(
      expect.objectContaining({ code: 'ERR_OUT_OF_MEMORY' }),
    );
  });
});

describe('gradient checkpointing', () => {
  it.each(goldenFamilies)('%s: every gradient and score bit for bit', async (name) => {
    const model = await Model.fromPretrained(golden(name));
    const samples = samplesOf(model.spec.vocabSize, 3, 12, 9);
    const run = async (gradientCheckpointing: boolean) => {
      await model.zeroGradients();
      const scores = await model.accumulateGradients(samples, {
        loss: 'clip',
        advantages: Float32Array.from({ length: 27 }, (_, i) => Math.sin(i)),
        gradientCheckpointing,
      });
      return {
        scores,
        gradients: await Promise.all(model.parameters().map((p) => model.getGradient(p.name))),
      };
    };
    const [plain, again] = [await run(false), await run(true)];
    expect(again).toEqual(plain);
    expect(plain.gradients.every((gradient) => gradient.some((value) => value !== 0))).toBe(true);
  });

  it('holds less: layer inputs and one layer instead of all layers', async () => {
    const model = await Model.fromConfig(
      { ...shapes.gpt_neox, num_hidden_layers: 8 },
      { context: await createContext({ threads: 1 }) },
    );
    const samples = samplesOf(3000, 8, 100, 20);
    const held = (gradientCheckpointing: boolean) =>
      peak(model, () =>
        model.accumulateGradients(samples, {
          loss: 'coefficients',
          coefficients: new Float32Array(160).fill(1),
          gradientCheckpointing,
        }),
      );
    expect(await held(true)).toBeLessThan(0.4 * (await held(false)));
  });
});

// Outputs of norms and of the nonlinearity are not kept (Keep::kLess): with them it would be a third more.
it('a Gram matrix of one block holds what its plan says', async () => {
  const context = await createContext({ threads: 1 });
  const model = await Model.fromConfig(
    {
      model_type: 'gpt',
      vocab_size: 64,
      hidden_size: 64,
      num_hidden_layers: 6,
      num_attention_heads: 4,
      max_position_embeddings: 64,
    },
    { context, seed: 1 },
  );
  const x = samplesOf(64, 32, 64, 63);
  const { bytes, blocks } = await ntk.estimate(model, x);
  expect(blocks).toBe(1);
  // The products of blocks of gradients use caches of the processor and count as nothing.
  near(bytes, await peak(model, () => ntk.gram(model, x)), 'Gram', 0.15);
  context.dispose();
});
