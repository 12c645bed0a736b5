/** Where a text says its answer. */

/** With thousands separators, or decimals, or both. */
const DIGITS = String.raw`(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+`;
/**
 * One number as people write it: sign, currency, thousands separators, decimals, a fraction or a mixed
 * number, per cent. A sign counts unless it follows a digit (`3-2` ends in 2).
 */
const NUMBER = new RegExp(
  String.raw`(?:(?<![\w.)])[-−+])?(?:[$€£]\s?)?(?<![\d.])(?:${DIGITS})(?:\s\d+\/\d+|\s?\/\s?\d+)?(?:\s?%)?`,
  'g',
);
/** GSM8K writes it before the answer. */
const MARK = '####';
/** `$…$` and `\(…\)`, on one line. */
const INLINE = /\$([^$\n]+)\$|\\\(([^\n]+?)\\\)/g;

const BOX = /\\(?:boxed|fbox)\s*\{/g;

export const numbersIn = (text: string): string[] => text.match(NUMBER) ?? [];

/** Where the brace closes that was opened just before `begin`; −1 when it does not. */
function closingBrace(text: string, begin: number): number {
  let depth = 1;
  for (let i = begin; i < text.length; ++i) {
    if (text[i] === '{') ++depth;
    if (text[i] === '}') --depth;
    if (depth === 0) return i;
  }
  return -1;
}

/** Content of the last \boxed{…} or \fbox{…} with its braces balanced, and where the box begins. */
function lastBox(text: string): { readonly at: number; readonly content: string } | undefined {
  for (const match of [...text.matchAll(BOX)].reverse()) {
    const begin = match.index + match[0].length;
    const end = closingBrace(text, begin);
    if (end >= 0) return { at: match.index, content: text.slice(begin, end) };
  }
  return undefined;
}

/** LaTeX commands, with the words that stand in \text{…} and the like. */
const COMMANDS = /\\(?:text|mathrm|mbox)\s*\{[^}]*\}|\\(?!boxed|fbox)[a-z]+/gi;

/** Has words of at least so many letters: "$5 and he pays $6" is no formula, `5 \text{ km}` is one. */
function hasWords(text: string, letters: number): boolean {
  const words = text.replace(COMMANDS, '');
  return new RegExp(`[a-z]{${letters}}`, 'i').test(words);
}

/**
 * The answer as it is written: what follows the last `####` on its line (GSM8K) or stands in the last
 * `\boxed{…}`, whichever comes later; without either, a text that is all formula, or else its last number or
 * inline formula. Undefined when there is none.
 */
export function finalAnswer(text: string): string | undefined {
  const mark = text.lastIndexOf(MARK);
  const box = lastBox(text);
  if (box && box.at > mark) return box.content.trim();
  if (mark >= 0) {
    const [line] = text.slice(mark + MARK.length).split('\n');
    return line!.trim();
  }
  const isAllFormula = /\\[a-z]/i.test(text) && !hasWords(text, 2);
  if (isAllFormula) return text.trim();
  return lastFormulaOrNumber(text);
}

function lastFormulaOrNumber(text: string): string | undefined {
  const contentOf = (match: RegExpExecArray): string => match[1] ?? match[2]!;
  const endOf = (match: RegExpExecArray): number => match.index + match[0].length;
  const formula = [...text.matchAll(INLINE)].filter((match) => !hasWords(contentOf(match), 3)).at(-1);
  const number = [...text.matchAll(NUMBER)].at(-1);
  const formulaIsLast = formula && (!number || endOf(formula) > endOf(number));
  return (formulaIsLast ? contentOf(formula) : number?.[0])?.trim();
}
