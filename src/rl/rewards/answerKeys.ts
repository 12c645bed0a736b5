/**
 * Groups final answers for a vote: the same string for answers that are the same mathematics, undefined for a
 * text without one.
 */
import { finalAnswer } from './answer.js';
import { parseMath, sameMath, type MathValue } from './mathValue.js';

export function answerKeys(texts: readonly string[]): (string | undefined)[] {
  const seen: { readonly key: string; readonly value: MathValue | undefined }[] = [];
  return texts.map((text) => {
    const answer = finalAnswer(text);
    if (answer === undefined) return undefined;
    const value = parseMath(answer);
    const same = seen.find(
      (other) => other.key === answer || (value && other.value && sameMath(value, other.value)),
    );
    if (!same) seen.push({ key: answer, value });
    return same?.key ?? answer;
  });
}
