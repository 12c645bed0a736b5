/** Built-in rewards by the name a command line uses. A new one is a file and a line here. */
import { fail } from '../../errors.js';
import type { RewardFunc } from '../interfaces.js';
import { thinkFormatReward } from './format.js';
import { lengthReward, softOverlongPunishment } from './length.js';
import { mathReward } from './math.js';
import { regexReward } from './regex.js';
import { repetitionPenaltyReward } from './repetition.js';

export { httpReward, type HttpRewardOptions, type RewardRequest } from './httpReward.js';
export { thinkFormatReward } from './format.js';
export {
  lengthReward,
  type LengthRewardOptions,
  softOverlongPunishment,
  type SoftOverlongOptions,
} from './length.js';
export { mathReward, type MathRewardOptions, sameAnswer } from './math.js';
export { regexReward } from './regex.js';
export { repetitionPenaltyReward, type RepetitionPenaltyOptions } from './repetition.js';

/** The numbers of `form` ('overlong:512,128'), as many as it has; `meaning` says what they are. */
function numbers(form: string, meaning: string, argument = ''): number[] {
  const [name, example] = form.split(':') as [string, string];
  const given = argument.split(',').map((part) => (part.trim() === '' ? NaN : Number(part)));
  if (given.length === example.split(',').length && !given.some(Number.isNaN)) return given;
  const written = argument === '' ? name : `${name}:${argument}`;
  return fail(
    'ERR_INVALID_ARG',
    `reward '${name}' must be written like '${form}' (${meaning}), got '${written}'`,
  );
}

/**
 * Built-in rewards by the name that loadReward() and the command line's --reward take, with the text after
 * ':' as argument.
 */
export const builtinRewards: Readonly<Record<string, (argument?: string) => RewardFunc>> = {
  math: (column) => mathReward(column === undefined ? {} : { answerColumn: column }),
  regex: (pattern) => regexReward(pattern ?? ''),
  think: (argument) =>
    argument === undefined
      ? thinkFormatReward()
      : fail('ERR_INVALID_ARG', `reward 'think' takes no argument, got 'think:${argument}'`),
  repetition: (argument) => {
    if (argument === undefined) return repetitionPenaltyReward();
    const [ngramSize] = numbers('repetition:4', 'tokens of an n-gram', argument) as [number];
    return repetitionPenaltyReward({ ngramSize });
  },
  overlong: (argument) => {
    const meaning = 'maxCompletionLength and softPunishCache, tokens';
    const lengths = numbers('overlong:512,128', meaning, argument) as [number, number];
    const [maxCompletionLength, softPunishCache] = lengths;
    return softOverlongPunishment({ maxCompletionLength, softPunishCache });
  },
  length: (argument) => {
    if (argument === undefined) return lengthReward();
    const [target] = numbers('length:100', 'tokens', argument) as [number];
    return lengthReward({ target });
  },
};
