/** Token-level advantages by their definitions, and the masks and weights of tokens. */
import { describe, expect, it } from 'vitest';

import { Random } from '../../../src/core/random.js';
import { activeCoefficient, initialControl, nextControl } from '../../../src/rl/loss/entropyControl.js';
import { resolveConfig } from '../../../src/rl/config/config.js';
import {
  discountedReturns,
  generalizedAdvantages,
  tokenRewards,
  whiten,
} from '../../../src/rl/credit/returns.js';
import {
  highEntropyMask,
  importanceWeights,
  offPolicyMask,
  quantile,
} from '../../../src/rl/loss/tokenFactors.js';

const random = new Random(5);
const lengths = [3, 0, 1, 5];
const N = 9;
const numbers = (n = N) => Float64Array.from({ length: n }, () => 2 * random.uniform() - 1);
const close = (ours: Iterable<number>, theirs: readonly number[]) => {
  const all = [...ours];
  expect(all).toHaveLength(theirs.length);
  for (const [i, x] of all.entries()) expect(x).toBeCloseTo(theirs[i]!, 12);
};
const starts = [0, 3, 3, 4];

describe('returns', () => {
  it('token rewards: the penalty everywhere, the score at the end', () => {
    const kl = numbers();
    const rewards = tokenRewards([1, 2, 3, 4], lengths, 0.1, kl);
    close(rewards, [
      -0.1 * kl[0]!,
      -0.1 * kl[1]!,
      1 - 0.1 * kl[2]!,
      3 - 0.1 * kl[3]!,
      ...[4, 5, 6, 7].map((n) => -0.1 * kl[n]!),
      4 - 0.1 * kl[8]!,
    ]);
    expect([...tokenRewards([1, 2, 3, 4], lengths, 0.1)]).toEqual([0, 0, 1, 3, 0, 0, 0, 0, 4]);
  });
  it('discounted returns and GAE equal their sums', () => {
    const [rewards, values] = [numbers(), numbers()];
    const [gamma, lam] = [0.9, 0.8];
    const expected = lengths.flatMap((length, s) =>
      Array.from({ length }, (_, t) => {
        const at = (u: number) => starts[s]! + u;
        const value = (u: number) => (u < length ? values[at(u)]! : 0);
        let [discounted, advantage] = [0, 0];
        for (let u = t; u < length; ++u) {
          discounted += gamma ** (u - t) * rewards[at(u)]!;
          advantage += (gamma * lam) ** (u - t) * (rewards[at(u)]! + gamma * value(u + 1) - value(u));
        }
        return { discounted, advantage };
      }),
    );
    close(
      discountedReturns(rewards, lengths, gamma),
      expected.map((e) => e.discounted),
    );
    const { advantages, returns } = generalizedAdvantages(rewards, values, lengths, { gamma, lam });
    close(
      advantages,
      expected.map((e) => e.advantage),
    );
    close(
      returns,
      expected.map((e, n) => e.advantage + values[n]!),
    );
  });
  it('whitening: mean 0 and unbiased variance 1 of what counts', () => {
    const mask = [1, 1, 0, 1, 1, 1, 0, 1, 1];
    const counted = (x: Iterable<number>) => [...x].filter((_, n) => mask[n]);
    const mean = (x: number[]) => x.reduce((a, b) => a + b, 0) / x.length;
    const x = numbers();
    const y = [...whiten(x, { mask })];
    expect(mean(counted(y))).toBeCloseTo(0, 12);
    expect(counted(y).reduce((a, b) => a + b * b, 0) / 6).toBeCloseTo(1, 6);
    expect([y[2], y[6]]).toEqual([0, 0]);
    expect(mean([...whiten(x, { shiftMean: false })])).toBeCloseTo(mean([...x]), 12);
    expect([...whiten(Float64Array.of(3))]).toEqual([0]);
  });
});

describe('token factors', () => {
  it('quantiles are torch’s, and the mask keeps what is at or above', () => {
    expect([0, 0.25, 0.5, 0.9, 1].map((q) => quantile([4, 1, 3, 2], q))).toEqual([1, 1.75, 2.5, 3.7, 4]);
    expect([...highEntropyMask([0.1, 0.9, 0.5, 0.7], 0.5)]).toEqual([0, 1, 0, 1]);
    expect([...highEntropyMask([0.1, 0.9, 0.5, 0.7], 1)]).toEqual([1, 1, 1, 1]);
  });
  it('off-policy: bad sequences that have drifted', () => {
    const old = new Float64Array(N);
    const now = Float64Array.from([-1, -1, -1, -1, ...Array<number>(5).fill(0.2)]);
    const advantages = (signs: number[]) =>
      lengths.flatMap((length, s) => Array<number>(length).fill(signs[s]!));
    expect([...offPolicyMask(advantages([-1, -1, 1, -1]), now, old, lengths, 0.5)]).toEqual([0, 1, 1, 1]);
    expect([...offPolicyMask(advantages([-1, -1, 1, -1]), now, old, lengths, 1.5)]).toEqual([1, 1, 1, 1]);
  });
  it('importance weights of four modes', () => {
    const sampling = new Float64Array(4);
    const training = Float64Array.from([Math.log(2), Math.log(2), Math.log(0.25), Math.log(5)]);
    const weights = (
      mode: 'token_truncate' | 'token_mask' | 'sequence_truncate' | 'sequence_mask',
      min: number | null,
      max: number | null,
    ) =>
      [
        ...importanceWeights(training, sampling, [2, 2], {
          vllmImportanceSamplingMode: mode,
          vllmImportanceSamplingClipMin: min,
          vllmImportanceSamplingClipMax: max,
        }),
      ].map((x) => Math.round(1e9 * x) / 1e9);
    expect(weights('token_truncate', 0.5, 3)).toEqual([2, 2, 0.5, 3]);
    expect(weights('token_mask', 0.5, 3)).toEqual([2, 2, 0, 0]);
    expect(weights('sequence_truncate', null, 3)).toEqual([3, 3, 1.25, 1.25]);
    expect(weights('sequence_mask', null, 3)).toEqual([0, 0, 1.25, 1.25]);
    expect(weights('sequence_mask', null, null)).toEqual([4, 4, 1.25, 1.25]);
  });
});

it('adaptive entropy grows at or below its target, acts only there, and stays within bounds', () => {
  const config = resolveConfig('GRPOConfig', {
    useAdaptiveEntropy: true,
    entropyCoef: 0.01,
    entropyCoefDelta: 0.004,
    entropyCoefMax: 0.015,
    entropyTarget: 1,
  });
  let control = initialControl(config);
  expect(activeCoefficient(control, config)).toBe(0); // nothing is known before the first step
  const coefficients = [0.5, 1, 1.5, 0.2].map((entropy) => {
    control = nextControl(control, entropy, config);
    return [control.coef, activeCoefficient(control, config)].map((x) => Math.round(1e6 * x) / 1e6);
  });
  expect(coefficients).toEqual([
    [0.014, 0.014],
    [0.015, 0.015],
    [0.011, 0],
    [0.015, 0.015],
  ]);
  const fixed = resolveConfig('GRPOConfig', { entropyCoef: 0.01 });
  expect(activeCoefficient(nextControl(initialControl(fixed), 5, fixed), fixed)).toBe(0.01);
});
