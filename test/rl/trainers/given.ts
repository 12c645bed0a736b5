/**
 * A rollout that is given rather than sampled, and the check of every update made from it against its
 * expectation (expected.ts): loss, metrics, gradient norm, and all weights after AdamW.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';

import { Random } from '../../../src/core/random.js';
import type { Model, RolloutSource, Sample, StepMetrics } from '../../../src/index.js';
import { policyLossOf } from '../../../src/policy/losses.js';
import { type ResolvedGRPOConfig, resolveConfig } from '../../../src/rl/config/config.js';
import { type GRPOConfig, GRPOTrainer, type RewardFunc } from '../../../src/rl/index.js';
import { temporary, tinyModel, VOCABULARY, weights } from '../helpers.js';
import {
  advantagesOf,
  ExpectedAdamW,
  expectedUpdate,
  ExpectedValueHead,
  type Given,
  type Tokens,
} from './expected.js';

const random = new Random(17);
export const noise = (scale: number) => scale * (2 * random.uniform() - 1);
/** Given to the trainer as its data set; the completions answer them. */
export const PROMPTS = [
  [2, 3],
  [4, 5, 6],
];
const GENERATIONS = 4;
/** Completions 1 and 6 are cut off by length, 5 got no reward. */
export const COMPLETIONS = [3, 6, 2, 1, 4, 2, 6, 3].map((length) =>
  Array.from({ length }, () => random.integer(VOCABULARY)),
);
const TERMINATED = COMPLETIONS.map((_, i) => i !== 1 && i !== 6);
export const REWARDS = [0.3, 0.9, 0.1, 0.7, 0.2, null, 1, 0.4];
export const SAMPLES: Sample[] = COMPLETIONS.map((completion, i) => {
  const prompt = PROMPTS[Math.floor(i / GENERATIONS)]!;
  return { inputIds: [...prompt, ...completion], scoreFrom: prompt.length };
});
const givenRewards: RewardFunc = () => REWARDS;

/** Every rollout is the one above. `logps`: what the sampler says of its tokens. */
export const rolloutsOf = (logps?: Tokens): RolloutSource => ({
  generate: async () =>
    SAMPLES.map(({ inputIds }, i) => ({
      inputIds: [...inputIds],
      completionIds: COMPLETIONS[i]!,
      text: '',
      logps: Float32Array.from(logps?.[i] ?? COMPLETIONS[i]!.map(() => -1)),
      finishReason: TERMINATED[i] ? 'stop' : 'length',
    })),
});

/** A policy far from uniform: fresh classifiers say much the same of every token. */
export async function unevenModel(): Promise<Model> {
  return shuffled(await tinyModel({ math: 'fp64' }), 1);
}
/** The policy that a KL term pulls towards. */
export const referenceOf = async (model: Model): Promise<Model> => shuffled(await model.clone(), 2);

async function shuffled(model: Model, seed: number): Promise<Model> {
  const values = new Random(seed);
  const w = await model.getParameter('lm_head.weight');
  await model.setParameter(
    'lm_head.weight',
    Float64Array.from(w, () => 1.5 * (values.uniform() - 0.5)),
  );
  return model;
}

export const BASE: GRPOConfig = {
  perDeviceTrainBatchSize: 4,
  gradientAccumulationSteps: 2,
  numGenerations: GENERATIONS,
  maxCompletionLength: 7,
  lrSchedulerType: 'constant',
  learningRate: 0.5,
  // So large that a step of AdamW is close to one of plain descent, and moves smoothly with the gradient.
  adamEpsilon: 1,
  maxGradNorm: 0,
  // The given rollouts count as the model's own.
  vllmImportanceSamplingCorrection: false,
  seed: 1,
};

/** Numbers per token of the completions that train, as rows per completion; [] for a masked one. */
export function split(values: ArrayLike<number>, kept: readonly boolean[]): number[][] {
  const all = Array.from(values);
  let begin = 0;
  return COMPLETIONS.map(({ length }, i) => {
    if (!kept[i]) return [];
    begin += length;
    return all.slice(begin - length, begin);
  });
}
const relative = (ours: number, theirs: number) => Math.abs(ours - theirs) / Math.max(Math.abs(theirs), 1e-3);
export const mapTokens = (values: Tokens, change: (value: number, s: number, t: number) => number): Tokens =>
  values.map((row, s) => row.map((value, t) => change(value, s, t)));

export interface Situation {
  readonly c: ResolvedGRPOConfig;
  readonly kept: readonly boolean[];
  readonly logps: Tokens;
  readonly entropies: Tokens;
  readonly oldLogps: Tokens;
  readonly refLogps: Tokens;
  readonly first: boolean;
  readonly head: ExpectedValueHead | undefined;
  readonly features: readonly (readonly number[])[];
}
/** What an option changes in the expectation, beside what expected.ts reads from the config itself. */
interface Case {
  readonly options: GRPOConfig;
  readonly rollouts?: RolloutSource;
  /** Advantages of tokens; default: each completion's own for all of its tokens. */
  readonly advantages?: (situation: Situation) => Tokens;
  readonly mask?: (situation: Situation, advantages: Tokens) => Tokens;
  readonly entropyCoef?: (update: number) => number;
}

/** φ of every scored position, one row each. */
async function featuresOf(model: Model, samples: readonly Sample[]): Promise<number[][]> {
  const features = await model.features(samples);
  const all = Array.from(await features.data());
  const [rows, size] = features.shape as [number, number];
  features.dispose();
  return Array.from({ length: rows }, (_, n) => all.slice(n * size, (n + 1) * size));
}

/** Trains as many updates as the config says, each compared with its expectation. */
export async function checkUpdates({
  options,
  rollouts = rolloutsOf(),
  advantages,
  mask,
  entropyCoef,
}: Case) {
  const given: GRPOConfig = { ...BASE, maxSteps: options.numIterations ?? 1, ...options };
  const c = resolveConfig('GRPOConfig', given);
  const model = await unevenModel();
  const refModel = await referenceOf(model);
  const outputDir = temporary();
  const trainer = new GRPOTrainer({
    model,
    refModel,
    rollouts,
    rewardFuncs: givenRewards,
    trainDataset: PROMPTS.map((prompt) => ({ prompt })),
    config: { ...given, shuffleDataset: false, outputDir, logCompletions: true },
  });
  const kept = TERMINATED.map((terminated) => terminated || !c.maskTruncatedCompletions);
  const samples = SAMPLES.filter((_, i) => kept[i]);
  const { temperature } = c;
  const refLogps = split((await refModel.score(samples, { temperature })).logps, kept);
  const optimizers = new Map<string, ExpectedAdamW>();
  const head = c.advantageEstimator === 'gae' ? new ExpectedValueHead(model.spec.hiddenSize) : undefined;
  const steps = trainer.steps();
  const rows: StepMetrics[] = [];
  let oldLogps: Tokens = [];
  let ofBatch: Tokens = [];

  for (let update = 0; update < c.maxSteps; ++update) {
    const scores = await model.score(samples, { temperature });
    const logps = split(scores.logps, kept);
    const entropies = split(scores.entropy, kept);
    const first = update % c.numIterations === 0;
    if (first) oldLogps = logps;
    const features = head ? await featuresOf(model, samples) : [];
    const situation = { c, kept, logps, entropies, oldLogps, refLogps, first, head, features };
    if (first) {
      const ofCompletions = advantagesOf(REWARDS, c);
      ofBatch = advantages?.(situation) ?? mapTokens(logps, (_, s) => ofCompletions[s]!);
    }
    const inputs: Given = {
      advantages: ofBatch,
      logps,
      entropies,
      oldLogps,
      refLogps,
      entropyCoef: entropyCoef?.(update) ?? c.entropyCoef,
      ...(mask ? { mask: mask(situation, ofBatch) } : {}),
    };
    const expected = expectedUpdate(inputs, c);
    const copy = await model.clone();
    const before = await weights(model);
    const row = (await steps.next()).value as StepMetrics;
    rows.push(row);

    const where = `update ${update + 1}`;
    const value = head?.loss(features, c);
    const loss = expected.loss + c.vfCoef * (value?.loss ?? 0);
    expect(relative(row['loss'] as number, loss), `${where} loss`).toBeLessThan(2e-5);
    if (value) {
      expect(relative(row['loss/value_avg'] as number, value.loss), where).toBeLessThan(2e-5);
      expect(row['val/clipfrac_avg'], where).toBeCloseTo(value.clipFraction, 10);
    }
    expect(relative(row['policy_loss'] as number, expected.policyLoss), where).toBeLessThan(2e-5);
    if (c.beta > 0 && !c.klInReward) expect(row['kl'], where).toBeCloseTo(expected.kl, 5);
    const { clippedLow: low, clippedHigh: high } = expected;
    const shares = { low, high, any: low + high };
    for (const [name, { side, of }] of Object.entries(policyLossOf(c.lossType).metrics))
      if (of === 'mean') expect(row[name], `${where} ${name}`).toBeCloseTo(shares[side], 6);

    const entropyUsed = expected.entropyCoefficients.flat();
    await copy.accumulateGradients(samples, {
      loss: 'coefficients',
      coefficients: Float64Array.from(expected.coefficients.flat()),
      ...(entropyUsed.some((x) => x !== 0) ? { entropyCoefficients: Float64Array.from(entropyUsed) } : {}),
      ...(head && value
        ? {
            headGradients: Float64Array.from(value.gradient),
            headWeight: Float64Array.from(head.weight.slice(0, -1)),
          }
        : {}),
      temperature,
    });
    if (head && value) head.update(features, value.gradient, c);
    const after = await weights(model);
    let squares = 0;
    for (const { name, role } of copy.parameters()) {
      if (c.trainable === 'classifier' && role !== 'classifier') {
        expect(after[name], `${where} ${name}`).toEqual(before[name]);
        continue;
      }
      const gradient = [...(await copy.getGradient(name))];
      for (const g of gradient) squares += g * g;
      if (!optimizers.has(name)) optimizers.set(name, new ExpectedAdamW(gradient.length));
      const rate = c.learningRate * (role === 'classifier' ? c.classifierLearningRateMultiplier : 1);
      const moved = optimizers.get(name)!.update(before[name]!, gradient, rate, c.adamEpsilon);
      const largest = Math.max(...moved.map((p, i) => Math.abs(p - after[name]![i]!)));
      expect(largest, `${where} ${name}`).toBeLessThan(2e-7);
    }
    expect(relative(row['grad_norm'] as number, Math.sqrt(squares)), `${where} norm`).toBeLessThan(2e-5);
    expect(Math.sqrt(squares), `${where}: a gradient to compare`).toBeGreaterThan(1e-3);
  }
  const records = readFileSync(join(outputDir, 'completions.jsonl'), 'utf8').trim().split('\n');
  const { state } = JSON.parse(
    readFileSync(join(await trainer.saveCheckpoint(), 'trainer_state.json'), 'utf8'),
  );
  return { rows, records: records.map((line) => JSON.parse(line)), state, head };
}
