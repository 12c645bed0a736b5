/** Numbers about rewards. A reward that no function gave (NaN) is left out of them. */
import { type ByCompletion, mapEach } from '../spaces.js';
import type { NamedReward } from './call.js';

export interface Statistics {
  readonly mean: number;
  readonly std: number;
  readonly count: number;
}

/** Mean and standard deviation (ddof 1) of what is not NaN; NaN for none, std NaN for one. */
export function statistics(values: Iterable<number>): Statistics {
  let sum = 0;
  let count = 0;
  for (const value of values) {
    if (Number.isNaN(value)) continue;
    sum += value;
    ++count;
  }
  const mean = sum / count;
  let squares = 0;
  for (const value of values) if (!Number.isNaN(value)) squares += (value - mean) ** 2;
  return { mean, std: Math.sqrt(squares / (count - 1)), count };
}

/** Σ_f weight_f · reward_f over the functions with an opinion; NaN where there is none. */
export function weightedSum(
  columns: readonly ByCompletion<number>[],
  weights: readonly number[],
): Float64Array {
  const totals = mapEach(columns[0]!, (_, completion) => {
    const scored = columns.flatMap((column, f) => {
      const reward = column[completion]!;
      return Number.isNaN(reward) ? [] : [weights[f]! * reward];
    });
    return scored.length === 0 ? NaN : scored.reduce((a, b) => a + b);
  });
  return Float64Array.from(totals);
}

/** rewards/<name>/mean and std, then reward and reward_std of the weighted sum; NaN where undefined. */
export function rewardSummary(
  rewards: readonly NamedReward[],
  columns: readonly ByCompletion<number>[],
): Record<string, number> {
  const summary: Record<string, number> = {};
  for (const [f, { name }] of rewards.entries()) {
    const { mean, std } = statistics(columns[f]!);
    summary[`rewards/${name}/mean`] = mean;
    summary[`rewards/${name}/std`] = std;
  }
  const weights = rewards.map(({ weight }) => weight);
  const total = statistics(weightedSum(columns, weights));
  return { ...summary, reward: total.mean, reward_std: total.std };
}
