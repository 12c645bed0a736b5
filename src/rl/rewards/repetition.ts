/** A penalty on repeating oneself. */
import { fail } from '../../errors.js';
import type { RewardFunc } from '../types.js';
import { named } from './named.js';

/** Options of repetitionPenaltyReward(). */
export interface RepetitionPenaltyOptions {
  /** n. Default 3. */
  readonly ngramSize?: number;
  /** At most 0. Default −1. */
  readonly maxPenalty?: number;
}

/**
 * `maxPenalty` times the share of a completion's token n-grams that it has written before: (1 − different / all), 0 for one shorter than n
 * (2502.03373, appendix C.2; TRL's get_repetition_penalty_reward). Needs no tokenizer.
 */
export function repetitionPenaltyReward({ ngramSize = 3, maxPenalty = -1 }: RepetitionPenaltyOptions = {}): RewardFunc {
  if (!(Number.isInteger(ngramSize) && ngramSize >= 1)) fail('ERR_INVALID_ARG', `repetitionPenaltyReward: ngramSize must be a positive integer, got ${ngramSize}`);
  if (!(maxPenalty <= 0 && Number.isFinite(maxPenalty))) fail('ERR_INVALID_ARG', `repetitionPenaltyReward: maxPenalty must be a number ≤ 0, got ${maxPenalty}`);
  return named('repetition_penalty', ({ completionIds }) => completionIds.map((ids) => {
    const all = ids.length - ngramSize + 1;
    if (all <= 0) return 0;
    const repeated = 1 - new Set(Array.from({ length: all }, (_, i) => ids.slice(i, i + ngramSize).join())).size / all;
    return repeated === 0 ? 0 : repeated * maxPenalty;
  }));
}
