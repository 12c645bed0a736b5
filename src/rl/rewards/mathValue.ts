/**
 * Mathematical answers as values that can be compared: numbers (exact fractions where possible), numbers with
 * a unit, expressions with variables, lists, tuples, intervals and sets, written in plain text or LaTeX.
 *
 * Two answers are the same when
 *   numbers      are equal: as fractions when both are rational (0.5 = 1/2, but 0.33 ≠ 1/3), else to 1e-9 of their size
 *   per cent     25 % is both 25 and 0.25
 *   units        both known: equal in SI (5 km = 5000 m); one known: the numbers are equal. Words that are no unit
 *                say nothing (18 dollars = 18); a lone letter is a variable unless the other side has a unit
 *   expressions  agree wherever they are evaluated
 *   lists        agree item by item; sets in any order; brackets must match
 */
import {
  evaluate,
  type ExpressionValue,
  mathjs,
  type NumberValue,
  type Unit,
  unitOf,
} from './mathExpression.js';
import { MAX_LENGTH, plainMath } from './mathText.js';

interface ListValue {
  readonly kind: 'list';
  /** The two that enclose it, '{}' for a set; empty without. */
  readonly brackets: string;
  readonly items: readonly MathValue[];
}
export type MathValue = NumberValue | ExpressionValue | ListValue;

/** What stands outside all brackets, cut at commas. */
function splitItems(text: string): string[] {
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

/** @returns undefined for what is no mathematical answer. */
export function parseMath(text: string): MathValue | undefined {
  if (text.length > MAX_LENGTH) return undefined;
  return parsePlain(plainMath(text));
}

function parsePlain(text: string): MathValue | undefined {
  if (text === '') return undefined;
  // x = 5, 2 + 3 = 5: the last side is the answer.
  const sides = text.split('=');
  if (sides.length > 1) return parsePlain(sides.at(-1)!.trim());

  const outside = splitItems(text);
  const isEnclosed = outside.length === 1 && /^[([{].*[)\]}]$/.test(text);
  const isSet = outside.length === 1 && /^\{.*\}$/.test(text);
  const items = isEnclosed ? splitItems(text.slice(1, -1)) : outside;
  if (items.length > 1 || isSet) {
    const brackets = outside.length > 1 ? '' : text[0]! + text.at(-1)!;
    return parseList(brackets, items);
  }
  return parseScalar(text);
}

function parseList(brackets: string, items: readonly string[]): ListValue | undefined {
  const values = items.map(parsePlain);
  return values.every((value) => value !== undefined) ? { kind: 'list', brackets, items: values } : undefined;
}

/** A number, with a unit or per cent where it has one, or an expression. */
function parseScalar(text: string): MathValue | undefined {
  if (text.endsWith('%')) return marked(evaluate(text.slice(0, -1).trim()), { percent: true });
  const direct = evaluate(text);
  const [, number, words] = /^(.*[\d)])\s*([a-z].*?)\.?$/is.exec(text) ?? [];
  if (number === undefined || words === undefined) return direct;
  const unit = direct?.kind === 'number' ? undefined : unitOf(words);
  const quantity = unit && marked(evaluate(number), { unit });
  if (direct?.kind === 'expression' && words.length === 1)
    return { ...direct, ...(quantity ? { quantity } : {}) };
  const hasOperators = /[+*/^]/.test(words);
  return quantity ?? direct ?? (hasOperators ? undefined : evaluate(number));
}

/** A number with what stands behind it; undefined for what is no number. */
function marked(
  value: MathValue | undefined,
  mark: { readonly percent: boolean } | { readonly unit: Unit },
): NumberValue | undefined {
  return value?.kind === 'number' ? { ...value, ...mark } : undefined;
}

const TOLERANCE = 1e-9;
const isClose = (a: number, b: number): boolean =>
  a === b || Math.abs(a - b) <= TOLERANCE * Math.max(Math.abs(a), Math.abs(b));

export function sameMath(a: MathValue, b: MathValue): boolean {
  if (a.kind === 'number' && b.kind === 'number') return sameNumber(a, b);
  if (a.kind === 'expression' && b.kind === 'number') return sameQuantity(a, b);
  if (a.kind === 'number' && b.kind === 'expression') return sameQuantity(b, a);
  if (a.kind === 'expression' && b.kind === 'expression')
    return a.variables === b.variables && a.values.every((value, i) => isClose(value, b.values[i]!));
  if (a.kind === 'list' && b.kind === 'list') return sameList(a, b);
  return false;
}

function sameNumber(a: NumberValue, b: NumberValue): boolean {
  if (a.unit && b.unit) {
    if (a.unit.dimensions !== b.unit.dimensions) return false;
    if (a.unit.factor !== b.unit.factor) return isClose(a.value * a.unit.factor, b.value * b.unit.factor);
  }
  if (equals(a, b)) return true;
  if (a.percent && !b.percent) return equals(b, a, 0.01);
  if (b.percent && !a.percent) return equals(a, b, 0.01);
  return false;
}

/** a = scale · b, as fractions where both are. */
function equals(a: NumberValue, b: NumberValue, scale = 1): boolean {
  if (!a.exact || !b.exact) return isClose(a.value, b.value * scale);
  const { exact } = mathjs();
  return exact.equal(a.exact, exact.multiply(b.exact, exact.fraction(scale))) as boolean;
}

/** `5 m` and a number in metres. */
function sameQuantity({ quantity }: ExpressionValue, number: NumberValue): boolean {
  return number.unit !== undefined && quantity !== undefined && sameNumber(quantity, number);
}

function sameList(a: ListValue, b: ListValue): boolean {
  if (a.brackets !== b.brackets || a.items.length !== b.items.length) return false;
  const isSet = a.brackets === '{}';
  if (!isSet) return a.items.every((item, i) => sameMath(item, b.items[i]!));
  const left = [...b.items];
  return a.items.every((item) => {
    const at = left.findIndex((other) => sameMath(item, other));
    if (at >= 0) left.splice(at, 1);
    return at >= 0;
  });
}
