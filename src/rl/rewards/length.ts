/** Rewards on the number of tokens; they need no tokenizer. */
import { checkOptions, nonNegative, positive, required, rule, type Rules } from '../../core/check.js';
import { fail } from '../../errors.js';
import type { RewardFunc } from '../interfaces.js';
import { named } from './named.js';

/** Options of lengthReward(). */
export interface LengthRewardOptions {
  /** Tokens, the stop token included. Default 100. */
  readonly target?: number;
}

const LENGTH: Rules = { target: rule('a positive number of tokens', positive.accepts) };
const OVERLONG: Rules = { maxCompletionLength: required(positive), softPunishCache: required(nonNegative) };

/** Longer is better up to `target` tokens, where the reward is 1; beyond it falls off the same way. */
export function lengthReward(options: LengthRewardOptions = {}): RewardFunc {
  checkOptions('lengthReward', options, LENGTH);
  const { target = 100 } = options;
  return named('length', ({ completionIds }) =>
    completionIds.map((ids) => Math.max(0, 1 - Math.abs(ids.length - target) / target)),
  );
}

/** Lengths of softOverlongPunishment(), in tokens; 0 ≤ softPunishCache ≤ maxCompletionLength. */
export interface SoftOverlongOptions {
  /** L_max, tokens. */
  readonly maxCompletionLength: number;
  /** L_cache: the stretch before L_max over which the penalty grows to −1. */
  readonly softPunishCache: number;
}

/**
 * 0 up to L_max − L_cache tokens, then falling evenly to −1 at L_max, and −1 beyond (DAPO, 2503.14476, eq.
 * 13; TRL's get_soft_overlong_punishment).
 */
export function softOverlongPunishment(options: SoftOverlongOptions): RewardFunc {
  checkOptions('softOverlongPunishment', options, OVERLONG);
  const { maxCompletionLength, softPunishCache } = options;
  if (maxCompletionLength < softPunishCache)
    fail(
      'ERR_INVALID_ARG',
      'softOverlongPunishment: 0 ≤ softPunishCache ≤ maxCompletionLength must hold, ' +
        `got ${softPunishCache} and ${maxCompletionLength}`,
    );
  const free = maxCompletionLength - softPunishCache;
  const punishment = (length: number): number => {
    if (length <= free) return 0;
    if (length > maxCompletionLength) return -1;
    return (free - length) / softPunishCache;
  };
  return named('soft_overlong_punishment', ({ completionIds }) =>
    completionIds.map((ids) => punishment(ids.length)),
  );
}
