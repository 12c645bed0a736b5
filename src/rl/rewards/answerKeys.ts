/**
 * Groups final answers for a vote: the same string for answers that are the same mathematics, undefined for a
 * text without one.
 */
import { finalAnswer } from './answer.js';
import { type MathValue, parseMath, sameMath } from './mathValue.js';

interface Answer {
  /** As it was written first. */
  readonly key: string;
  /** Undefined for what is no mathematics. */
  readonly value: MathValue | undefined;
}

export function answerKeys(texts: readonly string[]): (string | undefined)[] {
  const seen: Answer[] = [];
  return texts.map((text) => {
    const key = finalAnswer(text);
    if (key === undefined) return undefined;
    const value = parseMath(key);
    const same = seen.find((other) => isSame(other, { key, value }));
    if (!same) seen.push({ key, value });
    return same?.key ?? key;
  });
}

function isSame(a: Answer, b: Answer): boolean {
  if (a.key === b.key) return true;
  return a.value !== undefined && b.value !== undefined && sameMath(b.value, a.value);
}
