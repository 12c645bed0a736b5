/** What a step of a policy says of itself: metrics, notes, and completions for completions.jsonl. */
import type { Tokenizer } from '../../model/tokenizer/tokenizer.js';
import type { ResolvedGRPOConfig } from '../config/config.js';
import type { TrainingBatch } from '../credit/batch.js';
import type { Credit } from '../credit/assignCredit.js';
import type { NamedReward } from '../rewards/call.js';
import type { Rewards } from '../rewards/score.js';
import { rewardSummary } from '../rewards/statistics.js';
import type { Kept } from '../rollout/keepForTraining.js';
import type { Rollout } from '../rollout/sample.js';
import { type ByToken, mapEach } from '../spaces.js';
import type { CompletionRecord } from './log.js';
import { completionMetrics, importanceMetrics, mismatchMetrics } from './metrics.js';
import { explain } from './notes.js';
import type { Counters } from './state.js';

/** A batch's rollout and how it was judged: reported with the first update of the batch. */
export interface Origin {
  readonly rollout: Rollout;
  readonly rewards: Rewards;
  readonly kept: Kept;
  readonly credit: Credit;
}

/** What the update itself measured. */
export interface Measured {
  /** Under the model as it was before the update. */
  readonly logps: ByToken<number>;
  /** Of the loss and what else was looked at, with the value head's part of the loss. */
  readonly metrics: Readonly<Record<string, number>>;
}

export interface DescribeContext {
  readonly config: ResolvedGRPOConfig;
  readonly rewards: readonly NamedReward[];
  /** Undefined: completions are written as token ids. */
  readonly decoder: Tokenizer | undefined;
}

export interface Description {
  readonly metrics: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
  readonly records: readonly CompletionRecord[] | undefined;
}

/** `origin`: undefined for a later update of a batch. */
export function describe(
  origin: Origin | undefined,
  batch: TrainingBatch,
  measured: Measured,
  { stageStep }: Counters,
  context: DescribeContext,
): Description {
  const { config } = context;
  const metrics: Record<string, number> = {
    ...(origin ? rolloutMetrics(origin, context) : {}),
    ...measured.metrics,
    ...(origin && samplesAsItTrains(config)
      ? mismatchMetrics(measured.logps, origin.kept.samplingLogps)
      : {}),
  };
  const masked = [...batch.lengths].filter((length) => length === 0).length;
  const unscorable = origin ? [...origin.rewards.totals].filter(Number.isNaN).length : 0;
  const facts = {
    first: stageStep === 0,
    unscorable,
    masked: origin ? masked : 0,
    completions: batch.lengths.length,
  };
  return {
    metrics,
    notes: explain(metrics, config, facts),
    records: origin && config.logCompletions ? completionRecords(origin, context) : undefined,
  };
}

/** Truncated sampling draws from another distribution than the one trained. */
const samplesAsItTrains = ({ topP, topK, minP }: ResolvedGRPOConfig): boolean =>
  topP === 1 && topK === 0 && !minP;

function rolloutMetrics(
  { rollout, rewards, credit }: Origin,
  context: DescribeContext,
): Record<string, number> {
  const { fractionZeroStd, importance, tokenKl } = credit;
  return {
    ...rewardSummary(context.rewards, rewards.columns),
    frac_reward_zero_std: fractionZeroStd,
    ...completionMetrics(rollout),
    ...rewards.logged,
    ...(importance ? importanceMetrics(importance) : {}),
    ...(tokenKl ? { kl: [...tokenKl].reduce((a, b) => a + b, 0) / Math.max(tokenKl.length, 1) } : {}),
  };
}

function completionRecords(
  { rollout, rewards, credit }: Origin,
  { rewards: functions, decoder }: DescribeContext,
): CompletionRecord[] {
  const records = mapEach(rollout.completions, ({ completionIds }, completion) => {
    const byFunction = functions.map(({ name }, f) => {
      const reward = rewards.columns[f]![completion]!;
      return [name, Number.isNaN(reward) ? null : reward] as const;
    });
    return {
      prompt: rollout.rows[completion]!.prompt,
      completion: decoder ? decoder.decode(completionIds) : completionIds,
      advantage: credit.ofCompletions[completion]!,
      rewards: Object.fromEntries(byFunction),
    };
  });
  return [...records];
}
