/**
 * The numbers of a trainer's step. The rollout is given (a RolloutSource that says always the same), so the
 * advantages, the loss, its gradient's norm and the weights after AdamW can be computed a second time, in
 * double and from the formulas (expected.ts), and are compared update by update.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { Random } from '../../../src/core/random.js';
import type { Model, RolloutSource, Sample, StepMetrics } from '../../../src/index.js';
import { type ResolvedGRPOConfig, resolveConfig } from '../../../src/rl/config/config.js';
import { type GRPOConfig, GRPOTrainer, type RewardFunc } from '../../../src/rl/index.js';
import { temporary, tinyModel, VOCABULARY, weights } from '../helpers.js';
import {
  advantagesOf,
  ExpectedAdamW,
  expectedUpdate,
  ExpectedValueHead,
  gae,
  type Given,
  quantile,
  rewardsOfTokens,
  type Tokens,
  whitened,
} from './expected.js';

const random = new Random(17);
const noise = (scale: number) => scale * (2 * random.uniform() - 1);
const PROMPTS = [
  [2, 3],
  [4, 5, 6],
];
const GENERATIONS = 4;
/** Completions 1 and 6 are cut off by length, 5 got no reward. */
const COMPLETIONS = [3, 6, 2, 1, 4, 2, 6, 3].map((length) =>
  Array.from({ length }, () => random.integer(VOCABULARY)),
);
const TERMINATED = COMPLETIONS.map((_, i) => i !== 1 && i !== 6);
const REWARDS = [0.3, 0.9, 0.1, 0.7, 0.2, null, 1, 0.4];
const SAMPLES: Sample[] = COMPLETIONS.map((completion, i) => {
  const prompt = PROMPTS[Math.floor(i / GENERATIONS)]!;
  return { inputIds: [...prompt, ...completion], scoreFrom: prompt.length };
});
const givenRewards: RewardFunc = () => REWARDS;

/** Every rollout is the one above. `logps`: what the sampler says of its tokens. */
const rolloutsOf = (logps?: Tokens): RolloutSource => ({
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
async function unevenModel(): Promise<Model> {
  return shuffled(await tinyModel({ math: 'fp64' }), 1);
}
/** The policy that a KL term pulls towards. */
const referenceOf = async (model: Model): Promise<Model> => shuffled(await model.clone(), 2);

async function shuffled(model: Model, seed: number): Promise<Model> {
  const values = new Random(seed);
  const w = await model.getParameter('lm_head.weight');
  await model.setParameter(
    'lm_head.weight',
    Float64Array.from(w, () => 1.5 * (values.uniform() - 0.5)),
  );
  return model;
}

const BASE: GRPOConfig = {
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
function split(values: ArrayLike<number>, kept: readonly boolean[]): number[][] {
  const all = Array.from(values);
  let begin = 0;
  return COMPLETIONS.map(({ length }, i) => {
    if (!kept[i]) return [];
    begin += length;
    return all.slice(begin - length, begin);
  });
}
const relative = (ours: number, theirs: number) => Math.abs(ours - theirs) / Math.max(Math.abs(theirs), 1e-3);
const mapTokens = (values: Tokens, change: (value: number, s: number, t: number) => number): Tokens =>
  values.map((row, s) => row.map((value, t) => change(value, s, t)));

interface Situation {
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
async function check({ options, rollouts = rolloutsOf(), advantages, mask, entropyCoef }: Case) {
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
    if (c.lossType !== 'cispo') {
      expect(row['clip_ratio/low_mean'], where).toBeCloseTo(expected.clippedLow, 6);
      expect(row['clip_ratio/high_mean'], where).toBeCloseTo(expected.clippedHigh, 6);
    }

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

const options = (name: string, values: readonly unknown[], rest: GRPOConfig = {}): [GRPOConfig][] =>
  values.map((value) => [{ [name]: value, ...rest }]);

describe('loss, gradient and weights of each update equal TRL’s formulas in double', () => {
  it.each([
    ...options('lossType', ['grpo', 'bnpo', 'dr_grpo', 'dapo', 'cispo'], { numIterations: 2 }),
    ...options('lossType', ['grpo', 'bnpo', 'dr_grpo', 'dapo', 'cispo'], {
      maskTruncatedCompletions: true,
      epsilonHigh: 0.9,
      entropyCoef: 0.3,
    }),
    ...options('scaleRewards', ['group', 'batch', 'none']),
    [{ importanceSamplingLevel: 'token', numIterations: 3, epsilon: 0.05, learningRate: 2 }],
    [{ importanceSamplingLevel: 'sequence', numIterations: 3, epsilon: 0.05, lossType: 'grpo' }],
    [{ importanceSamplingLevel: 'product', numIterations: 3, epsilon: 0.2, learningRate: 0.3 }],
    [{ numIterations: 3, epsilon: 0.3, epsilonHigh: 0.05, learningRate: 2 }],
    [{ numIterations: 3, epsilon: 0.01, delta: 1.02, learningRate: 2 }],
    [{ numIterations: 3, lossType: 'cispo', epsilonHigh: 1.01, learningRate: 2 }],
    ...options('klEstimator', ['k1', 'k2', 'k3'], { beta: 0.4, numIterations: 2 }),
    ...options('klEstimator', ['k1', 'k2', 'k3'], { beta: 0.4, useBiasCorrectionKl: true, numIterations: 2 }),
    [{ entropyCoef: 0.3, lossType: 'grpo', numIterations: 2 }],
    [{ temperature: 0.7, beta: 0.2, entropyCoef: 0.1 }],
    [{ advantageEstimator: 'rloo', normalizeAdvantages: true }],
    [{ advantageEstimator: 'reinforce', rewardClipRange: [0.2, 0.6] }],
    [{ advantageEstimator: 'reinforce', reinforceBaseline: 'none', normalizeAdvantages: true }],
    [{ maxTokensInMemory: 8, gradientCheckpointing: true, beta: 0.2 }],
    [{ trainable: 'classifier', numIterations: 3, beta: 0.2 }],
    [{ classifierLearningRateMultiplier: 10 }],
  ] as [GRPOConfig][])('%j', async (given) => {
    const { records } = await check({ options: given });
    const c = resolveConfig('GRPOConfig', { ...BASE, ...given });
    const expected = advantagesOf(REWARDS, c);
    expect(records.map((record) => record.rewards.givenRewards)).toEqual(REWARDS);
    for (const [i, record] of records.slice(0, REWARDS.length).entries()) {
      expect(record.completion).toEqual(COMPLETIONS[i]);
      expect(record.advantage).toBeCloseTo(expected[i]!, 10);
    }
  });

  it('clipping is met on both sides where it is tested', async () => {
    const { rows } = await check({ options: { numIterations: 3, epsilon: 0.05, learningRate: 2 } });
    expect(rows[2]!['clip_ratio/low_mean']).toBeGreaterThan(0);
    expect(rows[2]!['clip_ratio/high_mean']).toBeGreaterThan(0);
  });

  it('klInReward: beta · Σ k1 comes off each completion’s reward', async () => {
    const beta = 0.3;
    const klOf = ({ logps, refLogps }: Situation) => mapTokens(logps, (x, s, t) => x - refLogps[s]![t]!);
    const { rows } = await check({
      options: { advantageEstimator: 'rloo', klInReward: true, beta, numIterations: 2 },
      advantages(situation) {
        const kl = klOf(situation).map((row) => row.reduce((a, b) => a + b, 0));
        const less = REWARDS.map((reward, i) => (reward === null ? null : reward - beta * kl[i]!));
        const advantages = advantagesOf(less, situation.c);
        return mapTokens(situation.logps, (_, s) => advantages[s]!);
      },
    });
    const model = await unevenModel();
    const reference = await referenceOf(model);
    const [ours, theirs] = [await model.score(SAMPLES), await reference.score(SAMPLES)];
    const meanKl = ours.logps.reduce((sum, x, n) => sum + x - theirs.logps[n]!, 0) / ours.logps.length;
    expect(rows[0]!['kl']).toBeCloseTo(meanKl, 6);
    expect(rows[1]).not.toHaveProperty('kl');
  });

  it('klEstimator exact: the KL divergence over the vocabulary, in the loss', async () => {
    const model = await unevenModel();
    const refModel = await referenceOf(model);
    const logSoftmax = async (which: Model) => {
      const { logits } = await which.forward({ inputIds: SAMPLES.map((s) => s.inputIds) }, { logits: true });
      const rows: number[][] = [];
      for (const [i, { inputIds, scoreFrom }] of SAMPLES.entries()) {
        const all = Array.from((await logits![i]!.data()) as Float64Array);
        for (let t = scoreFrom; t < inputIds.length; ++t) {
          const row = all.slice((t - 1) * VOCABULARY, t * VOCABULARY);
          const log = Math.log(row.reduce((a, z) => a + Math.exp(z), 0));
          rows.push(row.map((z) => z - log));
        }
      }
      return rows;
    };
    const [p, q] = [await logSoftmax(model), await logSoftmax(refModel)];
    const kl = p.map((row, n) => row.reduce((a, logp, v) => a + Math.exp(logp) * (logp - q[n]![v]!), 0));
    const expected = kl.reduce((a, b) => a + b, 0) / kl.length;
    const trainer = new GRPOTrainer({
      model,
      refModel,
      rollouts: rolloutsOf(),
      rewardFuncs: function same() {
        return REWARDS.map(() => 0.5);
      },
      trainDataset: PROMPTS.map((prompt) => ({ prompt })),
      config: { ...BASE, maxSteps: 1, beta: 0.7, klEstimator: 'exact' },
    });
    const row = (await trainer.steps().next()).value as StepMetrics;
    expect(row['kl']).toBeCloseTo(expected, 6);
    expect(row['loss']).toBeCloseTo(0.7 * expected, 6);
  });

  it.each(['grpo', 'bnpo', 'dapo'] as const)(
    'topEntropyQuantile with %s: only the tokens of high entropy',
    async (lossType) => {
      await check({
        options: { lossType, topEntropyQuantile: 0.4, entropyCoef: 0.2, numIterations: 2 },
        mask({ entropies }) {
          const threshold = quantile(entropies.flat(), 0.6);
          return mapTokens(entropies, (h) => (h >= threshold ? 1 : 0));
        },
      });
    },
  );

  it('offPolicyMaskThreshold: bad completions that have moved away train no more', async () => {
    const threshold = 0.02;
    let masked = 0;
    await check({
      options: { offPolicyMaskThreshold: threshold, numIterations: 3, learningRate: 2, epsilon: 0.9 },
      mask({ logps, oldLogps, first }, advantages) {
        if (first) return mapTokens(logps, () => 1);
        return logps.map((row, s) => {
          const kl = row.reduce((a, logp, t) => a + oldLogps[s]![t]! - logp, 0) / row.length;
          const isMasked = advantages[s]![0]! < 0 && kl > threshold;
          masked += isMasked ? 1 : 0;
          return row.map(() => (isMasked ? 0 : 1));
        });
      },
    });
    expect(masked).toBeGreaterThan(0);
  });

  it('useAdaptiveEntropy: the bonus acts after a step whose entropy was at or below the target', async () => {
    const coefficients = [0, 0.06, 0.07];
    const { rows } = await check({
      options: {
        useAdaptiveEntropy: true,
        entropyCoef: 0.05,
        entropyCoefDelta: 0.01,
        entropyTarget: 100,
        numIterations: 3,
      },
      entropyCoef: (update) => coefficients[update]!,
    });
    expect(rows.map((row) => row['entropy_coef'])).toEqual(
      [0.06, 0.07, 0.08].map((x) => expect.closeTo(x, 12)),
    );
  });

  it('reinforce_plus_plus: discounted returns of rewards less the KL, whitened', async () => {
    const [beta, gamma] = [0.2, 0.9];
    await check({
      options: { advantageEstimator: 'reinforce_plus_plus', beta, klInReward: true, gamma, numIterations: 2 },
      advantages({ logps, refLogps }) {
        const kl = mapTokens(logps, (x, s, t) => x - refLogps[s]![t]!);
        const rewards = rewardsOfTokens(REWARDS, kl, beta);
        const zero = mapTokens(kl, () => 0);
        return whitened(
          gae(rewards, zero, gamma, 1),
          REWARDS.map((reward) => reward !== null),
        );
      },
    });
  });

  it.each([
    [false, 'all'],
    [true, 'all'],
    [false, 'classifier'],
  ])('gae: PPO with a value head; whitenRewards %j, trainable %j', async (whitenRewards, trainable) => {
    const [beta, gamma, lam] = [0.2, 0.95, 0.8];
    const scorable = REWARDS.map((reward) => reward !== null);
    const { rows, state, head } = await check({
      options: {
        advantageEstimator: 'gae',
        klInReward: true,
        numIterations: 3,
        vfCoef: 0.6,
        cliprangeValue: 0.05,
        ...{ beta, gamma, lam, whitenRewards, trainable },
      },
      advantages({ kept, logps, refLogps, features, head: values }) {
        const kl = mapTokens(logps, (x, s, t) => x - refLogps[s]![t]!);
        const plain = rewardsOfTokens(REWARDS, kl, beta);
        const flat = plain.filter((_, s) => scorable[s]).flat();
        const mean = flat.reduce((a, b) => a + b, 0) / flat.length;
        const rewards = whitenRewards
          ? mapTokens(whitened(plain, scorable), (x, s) => (scorable[s] ? x + mean : 0))
          : plain;
        const old = values!.values(features);
        const advantages = gae(rewards, split(old, kept), gamma, lam);
        values!.beginBatch(
          old,
          advantages.flat().map((a, n) => a + old[n]!),
        );
        return whitened(advantages, scorable);
      },
    });
    expect(rows[2]!['val/clipfrac_avg']).toBeGreaterThan(0);
    expect(rows[2]!['val/clipfrac_avg']).toBeLessThan(1);
    expect(state.valueHead.weight).toEqual(head!.weight.map((w) => expect.closeTo(w, 6)));
    expect(state.valueHead.step).toBe(3);
  });

  it('rollouts made elsewhere: tokens weigh π_training / π_sampling, and old is the model’s own', async () => {
    const shifts = mapTokens(COMPLETIONS, () => noise(0.35));
    const { logps } = await (await unevenModel()).score(SAMPLES);
    const all = COMPLETIONS.map(() => true);
    const sampling = mapTokens(split(logps, all), (x, s, t) => Math.fround(x - shifts[s]![t]!));
    const log = split(logps, all).map((row, s) => row.map((x, t) => x - sampling[s]![t]!));
    const sumOf = (row: readonly number[]) => row.reduce((a, b) => a + b, 0);
    const weightsOf = {
      token_truncate: mapTokens(log, (x) => Math.min(Math.max(Math.exp(x), 0.8), 1.3)),
      token_mask: mapTokens(log, (x) => (Math.exp(x) < 0.8 || Math.exp(x) > 1.3 ? 0 : Math.exp(x))),
      sequence_truncate: mapTokens(log, (_, s) => Math.min(Math.max(Math.exp(sumOf(log[s]!)), 0.8), 1.3)),
      sequence_mask: mapTokens(log, (_, s) => {
        const ratio = Math.exp(sumOf(log[s]!));
        return ratio < 0.8 || ratio > 1.3 ? 0 : ratio;
      }),
    };
    for (const [mode, tokenWeights] of Object.entries(weightsOf)) {
      const { rows } = await check({
        rollouts: rolloutsOf(sampling),
        options: {
          vllmImportanceSamplingCorrection: true,
          vllmImportanceSamplingMode: mode as keyof typeof weightsOf,
          vllmImportanceSamplingClipMin: 0.8,
          vllmImportanceSamplingClipMax: 1.3,
          numIterations: 2,
          learningRate: 0.1,
        },
        advantages({ c, logps: own }) {
          const advantages = advantagesOf(REWARDS, c);
          return mapTokens(own, (_, s, t) => advantages[s]! * tokenWeights[s]![t]!);
        },
      });
      const flat = tokenWeights.flat();
      expect(rows[0]!['sampling/importance_sampling_ratio/mean']).toBeCloseTo(sumOf(flat) / flat.length, 6);
      expect(rows[0]!['sampling/sampling_logp_difference/max']).toBeCloseTo(
        Math.max(...log.flat().map(Math.abs)),
        6,
      );
    }
  });
});
