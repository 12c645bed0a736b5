/** Mathematics as people and models write it, rewritten in the syntax of mathjs. */

/** Longer texts are no answers, and parsing what a model wrote must not take long. */
export const MAX_LENGTH = 300;

/** Replaces innermost groups first, until nothing changes. */
function untilStable(text: string, step: (text: string) => string): string {
  for (let i = 0; i < MAX_LENGTH; ++i) {
    const next = step(text);
    if (next === text) return text;
    text = next;
  }
  return text;
}

type Replacement = readonly [pattern: RegExp, by: string];

/** Signs and commands that stand for something else. ⟦ and ⟧ keep the braces of sets apart from groups. */
const SYMBOLS: readonly Replacement[] = [
  [/−|–/g, '-'],
  [/\bper\s?cent\b/g, '%'],
  [/×|\\times|\\cdot|·|⋅/g, '*'],
  [/÷|\\div/g, '/'],
  [/π|\\pi(?![a-z])/g, ' pi '],
  [/∞|\\infty|\binfinity\b/g, ' Infinity '],
  [/√\s*(\d+(?:\.\d+)?|[a-z])/g, ' sqrt($1)'],
  [/√/g, ' sqrt'],
  [/½/g, '(1/2)'],
  [/¼/g, '(1/4)'],
  [/¾/g, '(3/4)'],
  [/²/g, '^2'],
  [/³/g, '^3'],
  [/\\[dtc]frac/g, '\\frac'],
  [/\\(?:left|right|displaystyle|bigl?|bigr?)(?![a-z])/g, ''],
  [/\\ln(?![a-z])/g, ' log '],
  [/\bln\b/g, 'log'],
  [/\\(sin|cos|tan|log|exp)(?![a-z])/g, ' $1 '],
  [/\^\s*\{?\\circ\}?|°|\\degree/g, ''],
  [/\\\{/g, '⟦'],
  [/\\\}/g, '⟧'],
  [/\\[,!]\s*(?=\d{3}\b)/g, ''],
  [/\\[,;:! ]|~|\\quad/g, ' '],
];

/** `\frac12` and `\sqrt2`: arguments without braces. */
const ARGUMENTS: readonly Replacement[] = [
  [/\\frac\s*(\d)\s*(\d)/g, '\\frac{$1}{$2}'],
  [/\\sqrt\s*(\d|[a-z])/g, '\\sqrt{$1}'],
];

/** Commands whose groups hold no further groups; words in \text{…} stay as words. */
const GROUPS: readonly Replacement[] = [
  [/\\(?:text|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}/g, ' $1 '],
  // A mixed number.
  [/(?<![\d^_])(\d+)\s*\\frac\s*\{(\d+)\}\s*\{(\d+)\}/g, '($1+$2/$3)'],
  [/\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}/g, '(($1)/($2))'],
  [/\\sqrt\s*\[([^[\]{}]*)\]\s*\{([^{}]*)\}/g, ' nthRoot($2, $1)'],
  [/\\sqrt\s*\{([^{}]*)\}/g, ' sqrt($1)'],
  [/([\^_])\s*\{([^{}]*)\}/g, '$1($2)'],
];

/** What is left of LaTeX: groups become brackets, commands their names. */
const REST: readonly Replacement[] = [
  [/\{/g, '('],
  [/\}/g, ')'],
  [/\\/g, ''],
  [/⟦/g, '{'],
  [/⟧/g, '}'],
];

const THOUSANDS = /(?<![\d.])\d{1,3}(?:,\d{3})+(?![\d])/g;
const MIXED_NUMBER = /(?<![\d/.])(\d+)\s+(\d+\s*\/\s*\d+)(?![\d/])/g;

function replaceAll(text: string, replacements: readonly Replacement[]): string {
  return replacements.reduce((out, [pattern, by]) => out.replace(pattern, by), text);
}

export function plainMath(text: string): string {
  const inner = text
    .trim()
    .replace(/\\?[$€£]/g, '')
    .replace(/^\\\(|\\\)$|^\\\[|\\\]$/g, '');
  const withArguments = replaceAll(replaceAll(inner, SYMBOLS), ARGUMENTS);
  const withoutGroups = untilStable(withArguments, (out) => replaceAll(out, GROUPS));
  return replaceAll(withoutGroups, REST)
    .replace(THOUSANDS, (number) => number.replaceAll(',', ''))
    .replace(MIXED_NUMBER, '($1+$2)')
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/[.;,]+$/, '')
    .trim();
}
