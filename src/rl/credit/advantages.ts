/**
 * Rewards to advantages, as TRL does at f2cd577. Rewards come group by group (the completions of one prompt
 * next to each other); NaN = unscorable (every reward function said null): left out of all statistics,
 * advantage 0.
 *   grpo       A = (r − group mean) / (std + 1e-4); std of the group or the batch, ddof 1; scaleRewards 'none': no division
 *   rloo       A = r − mean of the group's others (2402.14740)
 *   reinforce  A = r − batch mean, or r
 * normalizeAdvantages (rloo, reinforce): A ← (A − batch mean of A) / (batch std + 1e-4).
 * normalize_then_sum (grpo): each function's rewards by group first, the weighted sum over the batch after
 * (GDPO, 2601.05242).
 */
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
  readonly advantages: Float64Array;
  /** Share of completions whose scale (group or batch std) is 0: they teach nothing. */
  readonly fractionZeroStd: number;
}

const EPSILON = 1e-4;

/** Mean and standard deviation (ddof 1) of what is not NaN; NaN for none, std NaN for one. */
export function statistics(values: ArrayLike<number>): { mean: number; std: number; count: number } {
  let [sum, count] = [0, 0];
  for (let i = 0; i < values.length; ++i) if (!Number.isNaN(values[i]!)) (sum += values[i]!), ++count;
  const mean = sum / count;
  let squares = 0;
  for (let i = 0; i < values.length; ++i) if (!Number.isNaN(values[i]!)) squares += (values[i]! - mean) ** 2;
  return { mean, std: Math.sqrt(squares / (count - 1)), count };
}

/** Σ_f weight_f · reward_f over the functions with an opinion; NaN where there is none. */
export function weightedSum(columns: readonly Float64Array[], weights: readonly number[]): Float64Array {
  return Float64Array.from(columns[0]!, (_, i) => {
    const scored = columns.flatMap((column, f) =>
      Number.isNaN(column[i]!) ? [] : [weights[f]! * column[i]!],
    );
    return scored.length === 0 ? NaN : scored.reduce((a, b) => a + b);
  });
}

function byGroup(
  values: Float64Array,
  size: number,
  map: (group: Float64Array) => Float64Array,
): Float64Array {
  const out = new Float64Array(values.length);
  for (let begin = 0; begin < values.length; begin += size)
    out.set(map(values.subarray(begin, begin + size)), begin);
  return out;
}
const standardise = (values: Float64Array): Float64Array => {
  const { mean, std } = statistics(values);
  return values.map((value) => (value - mean) / (std + EPSILON));
};

/**
 * `columns`: one array of rewards per reward function; `penalty` is subtracted from their weighted sum (KL in
 * the reward).
 */
export function computeAdvantages(
  columns: readonly Float64Array[],
  weights: readonly number[],
  options: AdvantageOptions,
  penalty?: Float64Array,
): Advantages {
  const size = options.numGenerations;
  const normalizeFirst =
    options.advantageEstimator === 'grpo' && options.multiObjectiveAggregation === 'normalize_then_sum';
  const [least, most] = options.rewardClipRange ?? [-Infinity, Infinity];
  const rewards = weightedSum(
    normalizeFirst ? columns.map((column) => byGroup(column, size, standardise)) : columns,
    weights,
  ).map((reward, i) => Math.min(Math.max(reward, least), most) - (penalty?.[i] ?? 0));

  const overBatch =
    normalizeFirst || (options.advantageEstimator === 'grpo' && options.scaleRewards === 'batch');
  const std = byGroup(rewards, size, (group) =>
    new Float64Array(group.length).fill(statistics(overBatch ? rewards : group).std),
  );

  let advantages: Float64Array;
  if (normalizeFirst) advantages = standardise(rewards);
  else if (options.advantageEstimator === 'grpo') {
    advantages = byGroup(rewards, size, (group) => group.map((r) => r - statistics(group).mean));
    if (options.scaleRewards !== 'none') advantages = advantages.map((a, i) => a / (std[i]! + EPSILON));
  } else if (options.advantageEstimator === 'rloo') {
    advantages = byGroup(rewards, size, (group) => {
      const { mean, count } = statistics(group);
      return group.map((r) => r - (mean * count - r) / (count - 1));
    });
  } else if (options.advantageEstimator !== 'reinforce') {
    advantages = rewards;
  } else {
    const baseline = options.reinforceBaseline === 'none' ? 0 : statistics(rewards).mean;
    advantages = rewards.map((r) => r - baseline);
  }
  if (options.normalizeAdvantages) advantages = standardise(advantages);
  return {
    advantages: advantages.map((a) => (Number.isNaN(a) ? 0 : a)),
    // As torch.isclose(std, 0); a NaN std (one scorable completion) is not close.
    fractionZeroStd: std.reduce((n, s) => n + (Math.abs(s) <= 1e-8 ? 1 : 0), 0) / std.length,
  };
}
