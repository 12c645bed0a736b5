/**
 * 1 when a completion's final answer is the row's, as mathematics rather than as text: GSM8K `####`,
 * `\\boxed{}`, or the last number.
 */
import { check, checkOptions, type Rules, string, text as nonEmpty } from '../../core/check.js';
import { fail } from '../../errors.js';
import type { RewardFunc } from '../interfaces.js';
import { finalAnswer, numbersIn } from './answer.js';
import { type MathValue, parseMath, sameMath } from './mathValue.js';
import { named } from './named.js';

/** What a text's final answer is; when that is no mathematics as a whole, its first number. */
function finalValue(text: string): MathValue | undefined {
  const answer = finalAnswer(text);
  if (answer === undefined) return undefined;
  return parseMath(answer) ?? parseMath(numbersIn(answer)[0] ?? '');
}

/** The right answer as a row of the data set gives it: marked in a text, or alone. */
function givenValue(text: string): MathValue | undefined {
  const isMarked = /####|\\(?:boxed|fbox)/.test(text);
  return isMarked ? finalValue(text) : (parseMath(text) ?? finalValue(text));
}

/** Options of mathReward(). */
export interface MathRewardOptions {
  /** The column with the right answer: a number, an answer, or a text that ends in one. Default 'answer'. */
  readonly answerColumn?: string;
}

const OPTIONS: Rules = { answerColumn: nonEmpty };

/**
 * 1 when a completion's final answer (after `####`, in `\boxed{}`, or its last number) is the row's as
 * mathematics, so 1/2 equals 0.5; else 0. Null for a row whose answer cannot be read. @throws ERR_REWARD when
 * the data set has no such column.
 */
export function mathReward(options: MathRewardOptions = {}): RewardFunc {
  checkOptions('mathReward', options, OPTIONS);
  const { answerColumn = 'answer' } = options;
  return named('math', (input) => {
    const answers = input[answerColumn] as readonly unknown[] | undefined;
    if (!answers)
      fail('ERR_REWARD', `reward function 'math' needs the column '${answerColumn}' in the data set`);
    // A prompt's completions lie next to each other: read its answer once.
    let lastText: string | undefined;
    let answer: MathValue | undefined;
    return input.completions.map((completion, i) => {
      const text = String(answers[i]);
      if (text !== lastText) answer = givenValue(text);
      lastText = text;
      if (answer === undefined) return null;
      const value = finalValue(completion);
      return value !== undefined && sameMath(value, answer) ? 1 : 0;
    });
  });
}

/** Whether two answers, written in any of the ways that mathReward reads, are the same. */
export function sameAnswer(a: string, b: string): boolean {
  check('sameAnswer', 'a', a, string);
  check('sameAnswer', 'b', b, string);
  const left = parseMath(a) ?? finalValue(a);
  const right = parseMath(b) ?? finalValue(b);
  return left !== undefined && right !== undefined && sameMath(left, right);
}
