/** Strings as Python has them: sequences of code points, with Python's idea of white space. */

const SURROGATE = /[\ud800-\udfff]/;
/**
 * What str.isspace() is true of: not what \s of JavaScript means, which has U+FEFF and lacks U+001C to
 * U+001F.
 */
export const SPACE = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const LEADING = new RegExp(`^[${SPACE}]+`);
const ONLY_SPACE = new RegExp(`^[${SPACE}]+$`);
const SPACES = new RegExp(`[${SPACE}]+`);
const ONE_SPACE = new RegExp(`[${SPACE}]`);

/** Has characters that JavaScript counts twice. */
export const hasPairs = (text: string): boolean => SURROGATE.test(text);

export const codePoints = (text: string): string[] => Array.from(text);

export const lengthOf = (text: string): number => (hasPairs(text) ? codePoints(text).length : text.length);

export const isSpace = (text: string): boolean => ONLY_SPACE.test(text);

export const stripLeft = (text: string): string => text.replace(LEADING, '');

/** Not by an expression: one that is anchored at the end is quadratic in runs of white space. */
export function stripRight(text: string): string {
  let end = text.length;
  while (end > 0 && ONE_SPACE.test(text[end - 1]!)) --end;
  return text.slice(0, end);
}

/** Words between white space. */
export const words = (text: string): string[] => text.split(SPACES).filter((word) => word !== '');

/** The position in code points of a position in UTF-16 units. */
export const pointIndex = (text: string, unit: number): number =>
  hasPairs(text) ? codePoints(text.slice(0, unit)).length : unit;

/** Written as a text because control characters in an expression look like a mistake to the linter. */
const LINE_ENDS = ['\r\n', '[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]'];
const LINE_END = new RegExp(LINE_ENDS.join('|'), 'g');

/** str.splitlines. */
export function splitLines(text: string, keepEnds = false): string[] {
  const lines: string[] = [];
  let begin = 0;
  for (const match of text.matchAll(LINE_END)) {
    const end = match.index + match[0].length;
    lines.push(text.slice(begin, keepEnds ? end : match.index));
    begin = end;
  }
  if (begin < text.length) lines.push(text.slice(begin));
  return lines;
}
