/** Built-in rewards by the name a command line uses. A new one is a file and a line here. */
import type { RewardFunc } from '../types.js';
import { thinkFormatReward } from './format.js';
import { lengthReward, softOverlongPunishment } from './length.js';
import { mathReward } from './math.js';
import { regexReward } from './regex.js';
import { repetitionPenaltyReward } from './repetition.js';

export { httpReward, type HttpRewardOptions, type RewardRequest } from './http.js';
export { thinkFormatReward } from './format.js';
export { lengthReward, type LengthRewardOptions, softOverlongPunishment, type SoftOverlongOptions } from './length.js';
export { answerKeys } from './answerKeys.js';
export { mathReward, type MathRewardOptions, sameAnswer } from './math.js';
export { regexReward } from './regex.js';
export { repetitionPenaltyReward, type RepetitionPenaltyOptions } from './repetition.js';

/** Built-in rewards by the name that loadReward() and the command line's --reward take, with the text after ':' as argument. */
export const builtinRewards: Readonly<Record<string, (argument?: string) => RewardFunc>> = {
  math: (column) => mathReward(column === undefined ? {} : { answerColumn: column }),
  regex: (pattern) => regexReward(pattern ?? ''),
  think: () => thinkFormatReward(),
  repetition: (ngramSize) => repetitionPenaltyReward(ngramSize === undefined ? {} : { ngramSize: Number(ngramSize) }),
  overlong: (lengths) => {
    const [maxCompletionLength, softPunishCache] = (lengths ?? '').split(',').map(Number) as [number, number];
    return softOverlongPunishment({ maxCompletionLength, softPunishCache });
  },
  length: (target) => lengthReward(target === undefined ? {} : { target: Number(target) }),
};
