/** Names of rewards in metrics. */
import type { RewardFunc } from '../interfaces.js';

/** Gives a reward made by a factory its name in metrics. */
export const named = (rewardName: string, func: RewardFunc): RewardFunc =>
  Object.assign(func, { rewardName });
