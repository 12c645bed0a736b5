/**
 * Rewards to advantages, as TRL does at f2cd577. Rewards come group by group (the completions of one prompt
 * next to each other); NaN = unscorable (every reward function said null): left out of all statistics,
 * advantage 0.
 *   grpo       A = (r − group mean) / (std + 1e-4); std of the group or the batch, ddof 1;
 *              scaleRewards 'none': no division
 *   rloo       A = r − mean of the group's others (2402.14740)
 *   reinforce  A = r − batch mean, or r
 * normalizeAdvantages (rloo, reinforce): A ← (A − batch mean of A) / (batch std + 1e-4).
 * normalize_then_sum (grpo): each function's rewards by group first, the weighted sum over the batch after
 * (GDPO, 2601.05242).
 */
import { statistics, weightedSum } from '../rewards/statistics.js';
import { type ByCompletion, plain } from '../spaces.js';

export interface AdvantageOptions {
  readonly numGenerations: number;
  /**
   * For 'reinforce_plus_plus' and 'gae', which value tokens (returns.ts), a completion's reward stands as it
   * is.
   */
  readonly advantageEstimator: 'grpo' | 'rloo' | 'reinforce' | 'reinforce_plus_plus' | 'gae';
  readonly scaleRewards: 'group' | 'batch' | 'none';
  readonly multiObjectiveAggregation: 'sum_then_normalize' | 'normalize_then_sum';
  readonly reinforceBaseline: 'batch_mean' | 'none';
  readonly normalizeAdvantages: boolean;
  readonly rewardClipRange: readonly [number, number] | null;
}

export interface Advantages {
  readonly advantages: ByCompletion<number>;
  /** Share of completions whose scale (group or batch std) is 0: they teach nothing. */
  readonly fractionZeroStd: number;
}

const EPSILON = 1e-4;
/** As torch.isclose(std, 0). */
const ZERO_STD = 1e-8;

/** Applies `change` to each group of `size` values. */
function byGroup(
  values: Float64Array,
  size: number,
  change: (group: Float64Array) => Float64Array,
): Float64Array {
  const out = new Float64Array(values.length);
  for (let begin = 0; begin < values.length; begin += size) {
    const group = values.subarray(begin, begin + size);
    out.set(change(group), begin);
  }
  return out;
}

function standardise(values: Float64Array): Float64Array {
  const { mean, std } = statistics(values);
  return values.map((value) => (value - mean) / (std + EPSILON));
}

function subtractGroupMean(group: Float64Array): Float64Array {
  const { mean } = statistics(group);
  return group.map((reward) => reward - mean);
}

function subtractMeanOfOthers(group: Float64Array): Float64Array {
  const { mean, count } = statistics(group);
  return group.map((reward) => {
    const othersMean = (mean * count - reward) / (count - 1);
    return reward - othersMean;
  });
}

/** Each completion's reward: the weighted sum, clipped, less the penalty. */
function combinedRewards(
  columns: readonly ByCompletion<number>[],
  weights: readonly number[],
  clipRange: AdvantageOptions['rewardClipRange'],
  penalty: ByCompletion<number> | undefined,
): Float64Array {
  const [least, most] = clipRange ?? [-Infinity, Infinity];
  const penalties = penalty && plain(penalty);
  return weightedSum(columns, weights).map((reward, i) => {
    const clipped = Math.min(Math.max(reward, least), most);
    return clipped - (penalties?.[i] ?? 0);
  });
}

/**
 * `columns`: one array of rewards per reward function; `penalty` is subtracted from their weighted sum (KL in
 * the reward).
 */
export function computeAdvantages(
  columns: readonly ByCompletion<number>[],
  weights: readonly number[],
  options: AdvantageOptions,
  penalty?: ByCompletion<number>,
): Advantages {
  const { numGenerations: size, advantageEstimator: estimator, scaleRewards } = options;
  const normalizeFirst = estimator === 'grpo' && options.multiObjectiveAggregation === 'normalize_then_sum';
  const summed = normalizeFirst
    ? columns.map((column) => byGroup(Float64Array.from(column), size, standardise))
    : columns;
  const rewards = combinedRewards(summed, weights, options.rewardClipRange, penalty);

  const scaleByBatch = normalizeFirst || (estimator === 'grpo' && scaleRewards === 'batch');
  const std = byGroup(rewards, size, (group) =>
    new Float64Array(group.length).fill(statistics(scaleByBatch ? rewards : group).std),
  );

  const estimate = (): Float64Array => {
    switch (estimator) {
      case 'grpo': {
        if (normalizeFirst) return standardise(rewards);
        const centred = byGroup(rewards, size, subtractGroupMean);
        return scaleRewards === 'none' ? centred : centred.map((a, i) => a / (std[i]! + EPSILON));
      }
      case 'rloo':
        return byGroup(rewards, size, subtractMeanOfOthers);
      case 'reinforce': {
        const baseline = options.reinforceBaseline === 'none' ? 0 : statistics(rewards).mean;
        return rewards.map((reward) => reward - baseline);
      }
      case 'reinforce_plus_plus':
      case 'gae':
        return rewards;
    }
  };
  const estimated = estimate();
  const advantages = options.normalizeAdvantages ? standardise(estimated) : estimated;

  // A NaN std (one scorable completion) is not 0.
  const withoutScale = std.filter((s) => Math.abs(s) <= ZERO_STD).length;
  return {
    advantages: advantages.map((advantage) => (Number.isNaN(advantage) ? 0 : advantage)),
    fractionZeroStd: withoutScale / std.length,
  };
}
