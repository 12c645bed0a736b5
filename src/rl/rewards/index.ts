/** Built-in rewards by the name a command line uses. A new one is a file and a line here. */
import type { RewardFunc } from '../types.js';
import { lengthReward } from './length.js';
import { mathReward } from './math.js';
import { regexReward } from './regex.js';

export { lengthReward, type LengthRewardOptions } from './length.js';
export { finalNumber, mathReward, type MathRewardOptions } from './math.js';
export { regexReward } from './regex.js';

export const builtinRewards: Readonly<Record<string, (argument?: string) => RewardFunc>> = {
  math: (column) => mathReward(column === undefined ? {} : { answerColumn: column }),
  regex: (pattern) => regexReward(pattern ?? ''),
  length: (target) => lengthReward(target === undefined ? {} : { target: Number(target) }),
};
