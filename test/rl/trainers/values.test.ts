/**
 * The numbers of a trainer's step. The rollout is given (a RolloutSource that says always the same), so the
 * advantages, the loss, its gradient's norm and the weights after AdamW can be computed a second time, in
 * double and from the formulas (expected.ts), and are compared update by update (given.ts).
 */
import { describe, expect, it } from 'vitest';

import type { Model, StepMetrics } from '../../../src/index.js';
import { lossTypes } from '../../../src/policy/losses.js';
import { resolveConfig } from '../../../src/rl/config/config.js';
import { type GRPOConfig, GRPOTrainer } from '../../../src/rl/index.js';
import { VOCABULARY } from '../helpers.js';
import { advantagesOf, gae, quantile, rewardsOfTokens, whitened } from './expected.js';
import {
  BASE,
  checkUpdates,
  COMPLETIONS,
  mapTokens,
  noise,
  PROMPTS,
  referenceOf,
  REWARDS,
  rolloutsOf,
  SAMPLES,
  type Situation,
  split,
  unevenModel,
} from './given.js';

const options = (name: string, values: readonly unknown[], rest: GRPOConfig = {}): [GRPOConfig][] =>
  values.map((value) => [{ [name]: value, ...rest }]);

describe('loss, gradient and weights of each update equal TRL’s formulas in double', () => {
  it.each([
    ...options('lossType', lossTypes, { numIterations: 2 }),
    ...options('lossType', lossTypes, {
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
    const { records } = await checkUpdates({ options: given });
    const c = resolveConfig('GRPOConfig', { ...BASE, ...given });
    const expected = advantagesOf(REWARDS, c);
    expect(records.map((record) => record.rewards.givenRewards)).toEqual(REWARDS);
    for (const [i, record] of records.slice(0, REWARDS.length).entries()) {
      expect(record.completion).toEqual(COMPLETIONS[i]);
      expect(record.advantage).toBeCloseTo(expected[i]!, 10);
    }
  });

  it('clipping is met on both sides where it is tested', async () => {
    const { rows } = await checkUpdates({ options: { numIterations: 3, epsilon: 0.05, learningRate: 2 } });
    expect(rows[2]!['clip_ratio/low_mean']).toBeGreaterThan(0);
    expect(rows[2]!['clip_ratio/high_mean']).toBeGreaterThan(0);
  });

  it('klInReward: beta · Σ k1 comes off each completion’s reward', async () => {
    const beta = 0.3;
    const klOf = ({ logps, refLogps }: Situation) => mapTokens(logps, (x, s, t) => x - refLogps[s]![t]!);
    const { rows } = await checkUpdates({
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
      await checkUpdates({
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
    await checkUpdates({
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
    const { rows } = await checkUpdates({
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
    await checkUpdates({
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
    const { rows, state, head } = await checkUpdates({
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
      const { rows } = await checkUpdates({
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
