/** A penalty on repeating oneself. */
import { checkOptions, count, rule, type Rules } from '../../core/check.js';
import type { RewardFunc } from '../interfaces.js';
import { named } from './named.js';

/** Options of repetitionPenaltyReward(). */
export interface RepetitionPenaltyOptions {
  /** n. Default 3. */
  readonly ngramSize?: number;
  /** At most 0. Default −1. */
  readonly maxPenalty?: number;
}

const OPTIONS: Rules = {
  ngramSize: count,
  maxPenalty: rule(
    'a number ≤ 0',
    (value) => typeof value === 'number' && Number.isFinite(value) && value <= 0,
  ),
};

/**
 * `maxPenalty` times the share of a completion's token n-grams that it has written before: (1 − different /
 * all), 0 for one shorter than n (2502.03373, appendix C.2; TRL's get_repetition_penalty_reward). Needs no
 * tokenizer.
 */
export function repetitionPenaltyReward(options: RepetitionPenaltyOptions = {}): RewardFunc {
  checkOptions('repetitionPenaltyReward', options, OPTIONS);
  const { ngramSize = 3, maxPenalty = -1 } = options;
  const penalty = (ids: readonly number[]): number => {
    const all = ids.length - ngramSize + 1;
    if (all <= 0) return 0;
    const ngrams = Array.from({ length: all }, (_, begin) => ids.slice(begin, begin + ngramSize).join());
    const repeated = 1 - new Set(ngrams).size / all;
    // Not −0.
    return repeated === 0 ? 0 : repeated * maxPenalty;
  };
  return named('repetition_penalty', ({ completionIds }) => completionIds.map(penalty));
}
