/** Longer is better up to `target` tokens, where the reward is 1; beyond it falls off the same way. Needs no tokenizer. */
import { fail } from '../../errors.js';
import type { RewardFunc } from '../types.js';
import { named } from './named.js';

export interface LengthRewardOptions {
  /** Tokens, the stop token included. Default 100. */
  readonly target?: number;
}

export function lengthReward({ target = 100 }: LengthRewardOptions = {}): RewardFunc {
  if (!(target > 0 && Number.isFinite(target))) fail('ERR_INVALID_ARG', `lengthReward: target must be a positive number of tokens, got ${target}`);
  return named('length', ({ completionIds }) => completionIds.map((ids) => Math.max(0, 1 - Math.abs(ids.length - target) / target)));
}
