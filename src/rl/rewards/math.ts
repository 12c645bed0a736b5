/** 1 when the completion's final number is the row's answer: `#### n` when there is one (GSM8K), else the last number in the text. */
import { fail } from '../../errors.js';
import type { RewardFunc } from '../types.js';
import { named } from './named.js';

/** Digits with optional thousands commas and decimals; a sign counts unless it follows a digit (`3-2` ends in 2). */
const NUMBER = /(?<![\d.])[-−+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|(?<!\d)[-−+]?\.\d+/g;

export function finalNumber(text: string): number | undefined {
  const marked = text.lastIndexOf('####');
  const numbers = (marked >= 0 ? text.slice(marked + 4) : text).match(NUMBER);
  if (!numbers) return undefined;
  const chosen = marked >= 0 ? numbers[0]! : numbers.at(-1)!;
  return Number(chosen.replace(/,/g, '').replace('−', '-'));
}

export interface MathRewardOptions {
  /** The column with the right answer: a number, or a text whose final number is it. Default 'answer'. */
  readonly answerColumn?: string;
}

/** Null for a row whose answer has no number. */
export function mathReward({ answerColumn = 'answer' }: MathRewardOptions = {}): RewardFunc {
  return named('math', (input) => {
    const answers = input[answerColumn] as readonly unknown[] | undefined;
    if (!answers) fail('ERR_REWARD', `reward function 'math' needs the column '${answerColumn}' in the data set`);
    return input.completions.map((completion, i) => {
      const answer = typeof answers[i] === 'number' ? answers[i] : finalNumber(String(answers[i]));
      return answer === undefined ? null : finalNumber(completion) === answer ? 1 : 0;
    });
  });
}
