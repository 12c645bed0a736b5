import { describe, expect, it } from 'vitest';

import { type AdvantageOptions, computeAdvantages } from '../../../src/rl/credit/advantages.js';
import { Random } from '../../../src/core/random.js';

const base: AdvantageOptions = {
  numGenerations: 4,
  advantageEstimator: 'grpo',
  scaleRewards: 'group',
  multiObjectiveAggregation: 'sum_then_normalize',
  reinforceBaseline: 'batch_mean',
  normalizeAdvantages: false,
  rewardClipRange: null,
};
const random = new Random(7);
const rewards = Float64Array.from({ length: 12 }, () => Math.round(random.uniform() * 10) / 10);
rewards.set([0.5, 0.5, 0.5, 0.5], 4); // a group without a difference

// The formulas again, in the plainest form.
const mean = (x: number[]) => x.reduce((a, b) => a + b, 0) / x.length;
const std = (x: number[]) => Math.sqrt(x.reduce((a, b) => a + (b - mean(x)) ** 2, 0) / (x.length - 1));
const groups = (x: ArrayLike<number>) => [0, 4, 8].map((i) => Array.from(x).slice(i, i + 4));
const run = (
  options: Partial<AdvantageOptions>,
  columns = [rewards],
  weights = [1],
  penalty?: Float64Array,
) => {
  const result = computeAdvantages(columns, weights, { ...base, ...options }, penalty);
  return { ...result, advantages: [...result.advantages] };
};
const close = (ours: readonly number[], theirs: readonly number[]) => {
  expect(ours).toHaveLength(theirs.length);
  for (const [i, a] of ours.entries()) expect(a).toBeCloseTo(theirs[i]!, 12);
};

describe('advantages', () => {
  it('grpo: group mean, unbiased group std', () => {
    const { advantages, fractionZeroStd } = run({});
    close(
      advantages,
      groups(rewards).flatMap((g) => g.map((r) => (r - mean(g)) / (std(g) + 1e-4))),
    );
    expect(fractionZeroStd).toBeCloseTo(1 / 3, 12);
  });
  it('grpo: batch std', () =>
    close(
      run({ scaleRewards: 'batch' }).advantages,
      groups(rewards).flatMap((g) => g.map((r) => (r - mean(g)) / (std([...rewards]) + 1e-4))),
    ));
  it('grpo: no scale (Dr.GRPO)', () =>
    close(
      run({ scaleRewards: 'none' }).advantages,
      groups(rewards).flatMap((g) => g.map((r) => r - mean(g))),
    ));
  it('rloo: mean of the others', () =>
    close(
      run({ advantageEstimator: 'rloo' }).advantages,
      groups(rewards).flatMap((g) => g.map((r, i) => r - mean(g.filter((_, j) => j !== i)))),
    ));
  it('reinforce: batch mean, or nothing', () => {
    close(
      run({ advantageEstimator: 'reinforce' }).advantages,
      [...rewards].map((r) => r - mean([...rewards])),
    );
    close(run({ advantageEstimator: 'reinforce', reinforceBaseline: 'none' }).advantages, [...rewards]);
  });
  it('reinforce with normalised advantages (REINFORCE++)', () =>
    close(
      run({ advantageEstimator: 'reinforce', normalizeAdvantages: true }).advantages,
      [...rewards].map((r) => (r - mean([...rewards])) / (std([...rewards]) + 1e-4)),
    ));
  it('several functions: weighted sum; or each normalised first', () => {
    const other = rewards.map((r, i) => (i * 0.37 + r * r) % 1);
    const sum = [...rewards].map((r, i) => 2 * r - 0.5 * other[i]!);
    close(
      run({}, [rewards, other], [2, -0.5]).advantages,
      groups(sum).flatMap((g) => g.map((r) => (r - mean(g)) / (std(g) + 1e-4))),
    );
    const normal = [rewards, other].map((column) =>
      groups(column).flatMap((g) => g.map((r) => (r - mean(g)) / (std(g) + 1e-4))),
    );
    const total = normal[0]!.map((r, i) => 2 * r - 0.5 * normal[1]![i]!);
    close(
      run({ multiObjectiveAggregation: 'normalize_then_sum' }, [rewards, other], [2, -0.5]).advantages,
      total.map((r) => (r - mean(total)) / (std(total) + 1e-4)),
    );
  });
  it('a penalty comes off the reward', () => {
    const penalty = rewards.map((_, i) => i / 50);
    close(
      run({ scaleRewards: 'none' }, [rewards], [1], penalty).advantages,
      groups(rewards.map((r, i) => r - penalty[i]!)).flatMap((g) => g.map((r) => r - mean(g))),
    );
  });
  it('null from one function: the others decide; null from all: advantage 0 and no part in the statistics', () => {
    const [a, b] = [rewards.slice(), rewards.map((r) => 1 - r)];
    a[0] = a[1] = b[1] = NaN;
    const sum = [...rewards].map((_, i) => (i === 0 ? b[0]! : i === 1 ? NaN : a[i]! + b[i]!));
    for (const advantageEstimator of ['grpo', 'rloo', 'reinforce'] as const) {
      const { advantages } = run({ advantageEstimator }, [a, b], [1, 1]);
      expect(advantages[1]).toBe(0);
      const g = [sum[0]!, sum[2]!, sum[3]!];
      const all = sum.filter((r) => !Number.isNaN(r));
      const expected =
        advantageEstimator === 'grpo'
          ? (g[0]! - mean(g)) / (std(g) + 1e-4)
          : advantageEstimator === 'rloo'
            ? g[0]! - (g[1]! + g[2]!) / 2
            : g[0]! - mean(all);
      expect(advantages[0]).toBeCloseTo(expected, 12);
    }
  });
  it('a group with one scorable completion teaches nothing', () => {
    const lonely = rewards.slice();
    lonely.fill(NaN, 1, 4);
    for (const advantageEstimator of ['grpo', 'rloo'] as const)
      expect(run({ advantageEstimator }, [lonely]).advantages.slice(0, 4)).toEqual([0, 0, 0, 0]);
  });
});
