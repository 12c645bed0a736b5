/** Where a text says its answer. */

/**
 * One number as people write it: sign, currency, thousands separators, decimals, a fraction or a mixed
 * number, per cent. A sign counts unless it follows a digit (`3-2` ends in 2).
 */
const DIGITS = String.raw`(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+`;
const NUMBER = new RegExp(
  String.raw`(?:(?<![\w.)])[-−+])?(?:[$€£]\s?)?(?<![\d.])(?:${DIGITS})(?:\s\d+\/\d+|\s?\/\s?\d+)?(?:\s?%)?`,
  'g',
);
const MARK = '####';
/** `$…$` and `\(…\)`, on one line. */
const INLINE = /\$([^$\n]+)\$|\\\(([^\n]+?)\\\)/g;

export const numbersIn = (text: string): string[] => text.match(NUMBER) ?? [];

/** Content of the last \boxed{…} or \fbox{…} with its braces balanced, and where the box begins. */
function lastBox(text: string): { readonly at: number; readonly content: string } | undefined {
  for (const match of [...text.matchAll(/\\(?:boxed|fbox)\s*\{/g)].reverse()) {
    const begin = match.index + match[0].length;
    let depth = 1;
    for (let i = begin; i < text.length; ++i) {
      if (text[i] === '{') ++depth;
      else if (text[i] === '}' && --depth === 0) return { at: match.index, content: text.slice(begin, i) };
    }
  }
  return undefined;
}

/** Has words of at least so many letters: "$5 and he pays $6" is no formula, `5 \text{ km}` is one. */
const hasWords = (text: string, letters: number) =>
  new RegExp(`[a-z]{${letters}}`, 'i').test(
    text.replace(/\\(?:text|mathrm|mbox)\s*\{[^}]*\}|\\(?!boxed|fbox)[a-z]+/gi, ''),
  );

/**
 * The answer as it is written: what follows the last `####` on its line (GSM8K) or stands in the last
 * `\boxed{…}`, whichever comes later; without either, a text that is all formula, or else its last number or
 * inline formula. Undefined when there is none.
 */
export function finalAnswer(text: string): string | undefined {
  const mark = text.lastIndexOf(MARK);
  const box = lastBox(text);
  if (box && box.at > mark) return box.content.trim();
  if (mark >= 0)
    return text
      .slice(mark + MARK.length)
      .split('\n')[0]!
      .trim();
  if (/\\[a-z]/i.test(text) && !hasWords(text, 2)) return text.trim();
  const formula = [...text.matchAll(INLINE)].filter((match) => !hasWords(match[1] ?? match[2]!, 3)).at(-1);
  const number = [...text.matchAll(NUMBER)].at(-1);
  if (formula && formula.index + formula[0].length > (number ? number.index + number[0].length : -1))
    return (formula[1] ?? formula[2]!).trim();
  return number?.[0].trim();
}
