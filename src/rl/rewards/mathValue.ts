/**
 * Mathematical answers as values that can be compared: numbers (exact fractions where possible), numbers with
 * a unit, expressions with variables, lists, tuples, intervals and sets, written in plain text or LaTeX.
 * Arithmetic, parsing and units are mathjs'.
 *
 * Two answers are the same when
 *   numbers      are equal: as fractions when both are rational (0.5 = 1/2, but 0.33 ≠ 1/3), else to 1e-9 of their size
 *   per cent     25 % is both 25 and 0.25
 *   units        both known: equal in SI (5 km = 5000 m); one known: the numbers are equal. Words that are no unit say nothing (18 dollars = 18);
 *                a lone letter is a variable unless the other side has a unit
 *   expressions  agree wherever they are evaluated
 *   lists        agree item by item; sets in any order; brackets must match
 */
import { createRequire } from 'node:module';

import type { MathNode } from 'mathjs';

type MathJs = import('mathjs').MathJsInstance;
type Fraction = import('mathjs').Fraction;

interface NumberValue {
  readonly kind: 'number';
  readonly exact: Fraction | undefined;
  readonly value: number;
  readonly percent: boolean;
  readonly unit: Unit | undefined;
}
export type MathValue =
  | NumberValue
  /** `quantity`: what `5 m` is if m is no variable. */
  | {
      readonly kind: 'expression';
      readonly values: readonly number[];
      readonly variables: string;
      readonly quantity?: NumberValue;
    }
  | { readonly kind: 'list'; readonly brackets: string; readonly items: readonly MathValue[] };

/** Its size in SI and its dimensions. */
interface Unit {
  readonly factor: number;
  readonly dimensions: string;
}

/** Longer texts are no answers, and parsing what a model wrote must not take long. */
const MAX_LENGTH = 300;
const FUNCTIONS = ['sqrt', 'cbrt', 'nthRoot', 'sin', 'cos', 'tan', 'log', 'exp', 'abs'];
const CONSTANTS = ['pi', 'e', 'i'];
/** Where expressions are compared: no special points. */
const POINTS = [0.7310585786, 1.6487212707, 2.2360679775];

let loaded: { readonly exact: MathJs; readonly real: MathJs } | undefined;
/** mathjs takes most of a second to load: only this reward pays for it. */
function mathjs() {
  if (!loaded) {
    const { create, all } = createRequire(import.meta.url)('mathjs') as typeof import('mathjs');
    loaded = { exact: create(all!, { number: 'Fraction' }), real: create(all!) };
  }
  return loaded;
}

/** Replaces innermost groups first, until nothing changes. */
function untilStable(text: string, step: (text: string) => string): string {
  for (let i = 0; i < MAX_LENGTH; ++i) {
    const next = step(text);
    if (next === text) return text;
    text = next;
  }
  return text;
}

const SYMBOLS: readonly (readonly [RegExp, string])[] = [
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

/** LaTeX to mathjs' syntax; words in \text{…} stay as words. */
function plain(text: string): string {
  let out = text
    .trim()
    .replace(/\\?[$€£]/g, '')
    .replace(/^\\\(|\\\)$|^\\\[|\\\]$/g, '');
  for (const [pattern, by] of SYMBOLS) out = out.replace(pattern, by);
  out = out.replace(/\\frac\s*(\d)\s*(\d)/g, '\\frac{$1}{$2}').replace(/\\sqrt\s*(\d|[a-z])/g, '\\sqrt{$1}');
  out = untilStable(out, (s) =>
    s
      .replace(/\\(?:text|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}/g, ' $1 ')
      .replace(/(?<![\d^_])(\d+)\s*\\frac\s*\{(\d+)\}\s*\{(\d+)\}/g, '($1+$2/$3)')
      .replace(/\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}/g, '(($1)/($2))')
      .replace(/\\sqrt\s*\[([^[\]{}]*)\]\s*\{([^{}]*)\}/g, ' nthRoot($2, $1)')
      .replace(/\\sqrt\s*\{([^{}]*)\}/g, ' sqrt($1)')
      .replace(/([\^_])\s*\{([^{}]*)\}/g, '$1($2)'),
  );
  out = out
    .replace(/[{}]/g, (brace) => (brace === '{' ? '(' : ')'))
    .replace(/\\/g, '')
    .replace(/⟦/g, '{')
    .replace(/⟧/g, '}');
  return out
    .replace(/(?<![\d.])\d{1,3}(?:,\d{3})+(?![\d])/g, (number) => number.replaceAll(',', ''))
    .replace(/(?<![\d/.])(\d+)\s+(\d+\s*\/\s*\d+)(?![\d/])/g, '($1+$2)') // a mixed number
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/[.;,]+$/, '')
    .trim();
}

/** What stands outside all brackets, cut at commas. */
function items(text: string): string[] {
  const parts = [''];
  let depth = 0;
  for (const c of text) {
    if ('([{'.includes(c)) ++depth;
    else if (')]}'.includes(c)) --depth;
    if (c === ',' && depth === 0) parts.push('');
    else parts[parts.length - 1] += c;
  }
  return parts.map((part) => part.trim());
}

/** Only arithmetic, and no power of a power: exact arithmetic on what a model wrote must stay small. */
function check(node: MathNode): {
  readonly safe: boolean;
  readonly exact: boolean;
  readonly variables: ReadonlySet<string>;
} {
  let [safe, exact] = [true, true];
  const variables = new Set<string>();
  node.traverse((n, path, parent) => {
    const part = n as unknown as {
      type: string;
      name?: string;
      op?: string;
      fn?: { name?: string };
      args?: MathNode[];
    };
    switch (part.type) {
      case 'ConstantNode':
      case 'ParenthesisNode':
        break;
      case 'OperatorNode': {
        if (!['+', '-', '*', '/', '^'].includes(part.op!)) safe = false;
        if (part.op !== '^') break;
        const power = Number(part.args![1]!.toString());
        if (
          !(Number.isInteger(power) && Math.abs(power) <= 64) ||
          part.args![0]!.filter((inner) => (inner as unknown as { op?: string }).op === '^').length > 0
        )
          exact = false;
        break;
      }
      case 'FunctionNode':
        if (!FUNCTIONS.includes(part.fn?.name ?? '')) safe = false;
        exact = false;
        break;
      case 'SymbolNode':
        if ((parent as unknown as { type?: string } | null)?.type === 'FunctionNode' && path === 'fn') break;
        if (CONSTANTS.includes(part.name!) || part.name === 'Infinity') exact = false;
        else if (/^[a-z](?:_\w+)?$/i.test(part.name!)) variables.add(part.name!);
        else safe = false;
        break;
      default:
        safe = false;
    }
  });
  return { safe, exact, variables };
}

/** Undefined for words that are no unit. */
function unitOf(words: string): Unit | undefined {
  const { real } = mathjs();
  try {
    const unit = real.unit(1, words.replace(/\bper\b/g, '/'));
    const si = unit.toSI();
    return {
      factor: si.toNumeric(si.formatUnits()) as number,
      dimensions: (unit as unknown as { dimensions: number[] }).dimensions.join(),
    };
  } catch {
    return undefined;
  }
}

function evaluate(text: string): MathValue | undefined {
  const { exact: exactMath, real } = mathjs();
  const number = (exact: Fraction | undefined, value: number): MathValue | undefined =>
    Number.isNaN(value) ? undefined : { kind: 'number', exact, value, percent: false, unit: undefined };
  if (/^[-+]?(?:\d+\.?\d*|\.\d+)$/.test(text))
    return number(exactMath.fraction(text.replace(/^\+/, '').replace(/\.$/, '')), Number(text));
  try {
    // Letters side by side are a product, as on paper.
    const spaced = text.replace(/[a-z]{2,}/gi, (word) =>
      [...FUNCTIONS, ...CONSTANTS, 'Infinity'].includes(word)
        ? word
        : word.length === 2
          ? [...word].join(' ')
          : word,
    );
    const node = real.parse(spaced);
    const { safe, exact, variables } = check(node);
    const huge = /\de[-+]?\d{3}/i.test(text);
    if (!safe) return undefined;
    if (variables.size > 0) {
      const names = [...variables].sort();
      const values = POINTS.map(
        (point) =>
          node.evaluate(
            Object.fromEntries(names.map((name, i) => [name, point * (1 + 0.37 * i)])),
          ) as unknown,
      );
      return values.every((value) => typeof value === 'number')
        ? { kind: 'expression', values, variables: names.join() }
        : undefined;
    }
    const value = node.evaluate() as unknown;
    if (typeof value !== 'number') return undefined;
    return number(
      exact && !huge && Number.isFinite(value) ? (exactMath.parse(spaced).evaluate() as Fraction) : undefined,
      value,
    );
  } catch {
    return undefined;
  }
}

/** @returns undefined for what is no mathematical answer. */
export function parseMath(text: string): MathValue | undefined {
  if (text.length > MAX_LENGTH) return undefined;
  return parsePlain(plain(text));
}

function parsePlain(text: string): MathValue | undefined {
  if (text === '') return undefined;
  const sides = text.split('=');
  if (sides.length > 1) return parsePlain(sides.at(-1)!.trim()); // x = 5, 2 + 3 = 5
  const whole = items(text);
  const inner = whole.length === 1 && /^[([{].*[)\]}]$/.test(text) ? items(text.slice(1, -1)) : whole;
  const set = whole.length === 1 && /^\{.*\}$/.test(text);
  if (inner.length > 1 || set) {
    const values = inner.map(parsePlain);
    const brackets = whole.length > 1 ? '' : text[0]! + text.at(-1)!;
    return values.every((value) => value !== undefined)
      ? { kind: 'list', brackets, items: values }
      : undefined;
  }
  const marked = (
    value: MathValue | undefined,
    mark: { readonly percent: boolean } | { readonly unit: Unit | undefined },
  ) => (value?.kind === 'number' ? { ...value, ...mark } : undefined);
  if (text.endsWith('%')) return marked(evaluate(text.slice(0, -1).trim()), { percent: true });
  const direct = evaluate(text);
  const [, number, words] = /^(.*[\d)])\s*([a-z].*?)\.?$/is.exec(text) ?? [];
  if (number === undefined) return direct;
  const unit = direct?.kind === 'number' ? undefined : unitOf(words!);
  const quantity = unit && marked(evaluate(number), { unit });
  if (direct?.kind === 'expression' && words!.length === 1)
    return { ...direct, ...(quantity ? { quantity } : {}) };
  return quantity ?? direct ?? (/[+*/^]/.test(words!) ? undefined : evaluate(number));
}

const close = (a: number, b: number) =>
  a === b || Math.abs(a - b) <= 1e-9 * Math.max(Math.abs(a), Math.abs(b));

function sameNumber(a: NumberValue, b: NumberValue, scale = 1): boolean {
  if (a.exact && b.exact)
    return mathjs().exact.equal(
      a.exact,
      mathjs().exact.multiply(b.exact, mathjs().exact.fraction(scale)),
    ) as boolean;
  return close(a.value, b.value * scale);
}

export function sameMath(a: MathValue, b: MathValue): boolean {
  if (a.kind === 'number' && b.kind === 'number') {
    if (a.unit && b.unit && (a.unit.dimensions !== b.unit.dimensions || a.unit.factor !== b.unit.factor))
      return (
        a.unit.dimensions === b.unit.dimensions && close(a.value * a.unit.factor, b.value * b.unit.factor)
      );
    return (
      sameNumber(a, b) ||
      (a.percent && !b.percent && sameNumber(b, a, 0.01)) ||
      (b.percent && !a.percent && sameNumber(a, b, 0.01))
    );
  }
  if (a.kind === 'expression' && b.kind === 'number')
    return b.unit !== undefined && a.quantity !== undefined && sameMath(a.quantity, b);
  if (a.kind === 'number' && b.kind === 'expression') return sameMath(b, a);
  if (a.kind === 'expression' && b.kind === 'expression')
    return a.variables === b.variables && a.values.every((value, i) => close(value, b.values[i]!));
  if (a.kind === 'list' && b.kind === 'list') {
    if (a.brackets !== b.brackets || a.items.length !== b.items.length) return false;
    if (a.brackets !== '{}') return a.items.every((item, i) => sameMath(item, b.items[i]!));
    const left = [...b.items];
    return a.items.every((item) => {
      const at = left.findIndex((other) => sameMath(item, other));
      if (at >= 0) left.splice(at, 1);
      return at >= 0;
    });
  }
  return false;
}
