/** The second sentence of a step: one number, or no opinion, per completion and reward function. */
import type { Tokenizer } from '../../model/tokenizer/tokenizer.js';
import type { Rollout } from '../rollout/sample.js';
import type { ByCompletion } from '../spaces.js';
import { callRewards, type NamedReward } from './call.js';
import { rewardInput } from './rewardInput.js';
import { weightedSum } from './statistics.js';

export interface Rewards {
  /** One array per reward function; NaN where it had no opinion. */
  readonly columns: readonly ByCompletion<number>[];
  /** Of each function in the sum. */
  readonly weights: readonly number[];
  /** The weighted sum; NaN where no function had an opinion. */
  readonly totals: ByCompletion<number>;
  /** What the functions reported with logMetric, each the mean over its calls. */
  readonly logged: Readonly<Record<string, number>>;
}

export interface ScoreContext {
  readonly rewards: readonly NamedReward[];
  readonly tokenizer: () => Tokenizer;
  readonly config: { readonly rewardTimeoutMs: number };
  readonly signal: AbortSignal | undefined;
}

/** What reward functions are told as trainerState: the step they judge for, and its stage. */
export interface ScoredStep {
  readonly step: number;
  readonly stage: string;
}

export async function score(
  rollout: Rollout,
  { step, stage }: ScoredStep,
  { rewards, tokenizer, config, signal }: ScoreContext,
): Promise<Rewards> {
  const reported = new Map<string, number[]>();
  const logMetric = (name: string, value: number): void => {
    reported.set(name, [...(reported.get(name) ?? []), value]);
  };
  const input = rewardInput(rollout, tokenizer, step, stage, logMetric);
  const timeoutMs = config.rewardTimeoutMs;
  const columns = await callRewards(rewards, input, rollout.samples.length, { timeoutMs, step, signal });
  const weights = rewards.map(({ weight }) => weight);
  return {
    columns,
    weights,
    totals: weightedSum(columns, weights),
    logged: Object.fromEntries(
      [...reported].map(([name, values]) => [name, values.reduce((a, b) => a + b, 0) / values.length]),
    ),
  };
}
