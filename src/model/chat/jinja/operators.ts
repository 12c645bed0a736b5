/** Arithmetic and comparison. */
import { raise, refuse } from './errors.js';
import type { BinaryOperator, Comparison } from './nodes.js';
import { percentFormat } from './percentFormat.js';
import { codePoints, hasPairs } from './text.js';
import {
  Dict,
  integer,
  isInt,
  isIntegral,
  isNumeric,
  isText,
  iteratorOf,
  Markup,
  Namespace,
  PyFloat,
  Range,
  Structure,
  textOf,
  toNumber,
  Tuple,
  typeName,
  Undefined,
  type Value,
  View,
} from './values.js';

/** The longest text or list that an operator makes. */
const LARGEST = 64_000_000;
const MOST_BITS = 100_000;

export function binary(operator: BinaryOperator, left: Value, right: Value): Value {
  if (typeof left === 'string' && typeof right === 'string' && operator === '+') return left + right;
  if (left instanceof Undefined) return left.fail();
  const isFormat = operator === '%' && typeof left === 'string';
  if (isFormat) return percentFormat(left, right);
  if (right instanceof Undefined) return right.fail();
  if (isNumeric(left) && isNumeric(right)) return arithmetic(operator, left, right);
  if (left instanceof Markup || right instanceof Markup) return refuse(`'${operator}' with escaped text`);
  if (operator === '+') return joined(left, right);
  if (operator === '*') return repeated(left, right);
  if (left instanceof View && right instanceof View && operator === '-')
    return refuse('a difference of views');
  return unsupported(operator, left, right);
}

function unsupported(operator: string, left: Value, right: Value): never {
  raise(
    'TypeError',
    `unsupported operand type(s) for ${operator}: '${typeName(left)}' and '${typeName(right)}'`,
  );
}

function joined(left: Value, right: Value): Value {
  if (Array.isArray(left) && Array.isArray(right)) return bounded([...left, ...right]);
  if (left instanceof Tuple && right instanceof Tuple) return new Tuple([...left.items, ...right.items]);
  return unsupported('+', left, right);
}

function bounded<Kind extends { readonly length: number }>(value: Kind): Kind {
  if (value.length > LARGEST) refuse(`a value of ${value.length} parts`);
  return value;
}

function repeated(left: Value, right: Value): Value {
  if (isIntegral(left) && !isIntegral(right)) return repeated(right, left);
  if (!isIntegral(right)) return unsupported('*', left, right);
  const count = Math.max(0, Number(right));
  if (typeof left === 'string') {
    if (left.length * count > LARGEST) refuse(`a text of ${left.length * count} characters`);
    return left.repeat(count);
  }
  const isList = Array.isArray(left);
  if (!isList && !(left instanceof Tuple)) return unsupported('*', left, right);
  const items: readonly Value[] = isList ? left : left.items;
  if (items.length * count > LARGEST) refuse(`a list of ${items.length * count} items`);
  const result = Array.from({ length: count }, () => items).flat();
  return isList ? result : new Tuple(result);
}

// ---- numbers ----------------------------------------------------------------------------------------------

type Numeric = number | bigint | boolean | PyFloat;
type Integral = number | bigint | boolean;

function arithmetic(operator: BinaryOperator, left: Numeric, right: Numeric): Value {
  if (left instanceof PyFloat || right instanceof PyFloat)
    return new PyFloat(floatArithmetic(operator, floatOf(left), floatOf(right)));
  if (operator === '/') return divided(left, right);
  const a = Number(left);
  const b = Number(right);
  if (operator === '+' || operator === '-' || operator === '*') {
    const quick = operator === '+' ? a + b : operator === '-' ? a - b : a * b;
    if (Number.isSafeInteger(quick) && Number.isSafeInteger(a) && Number.isSafeInteger(b)) return quick + 0;
  }
  return bigArithmetic(operator, BigInt(left), BigInt(right));
}

/** float(int), which overflows. */
function floatOf(value: Numeric): number {
  const number = toNumber(value);
  if (typeof value === 'bigint' && !Number.isFinite(number))
    raise('OverflowError', 'int too large to convert to float');
  return number;
}

function divided(left: Integral, right: Integral): PyFloat {
  if (BigInt(right) === 0n) raise('ZeroDivisionError', 'division by zero');
  const isExact = Number.isSafeInteger(Number(left)) && Number.isSafeInteger(Number(right));
  if (!isExact) refuse('a quotient of integers beyond 2^53');
  return new PyFloat(Number(left) / Number(right));
}

function bigArithmetic(operator: BinaryOperator, a: bigint, b: bigint): Value {
  switch (operator) {
    case '+':
      return integer(a + b);
    case '-':
      return integer(a - b);
    case '*':
      return integer(a * b);
    case '**':
      return power(a, b);
    case '//':
      return integer(floorDivide(a, b));
    default:
      return integer(a - floorDivide(a, b) * b);
  }
}

function floorDivide(a: bigint, b: bigint): bigint {
  if (b === 0n) raise('ZeroDivisionError', 'integer division or modulo by zero');
  const quotient = a / b;
  return quotient * b !== a && a < 0n !== b < 0n ? quotient - 1n : quotient;
}

function power(a: bigint, b: bigint): Value {
  if (b < 0n) return new PyFloat(floatArithmetic('**', Number(a), Number(b)));
  if (a.toString(2).length * Number(b) > MOST_BITS) refuse('a power of so many digits');
  return integer(a ** b);
}

function floatArithmetic(operator: BinaryOperator, a: number, b: number): number {
  switch (operator) {
    case '+':
      return a + b;
    case '-':
      return a - b;
    case '*':
      return a * b;
    case '**':
      return floatPower(a, b);
    default:
      if (b === 0) raise('ZeroDivisionError', 'float division by zero');
      if (operator === '/') return a / b;
      return operator === '//' ? floatFloor(a, b) : floatRemainder(a, b);
  }
}

function floatPower(a: number, b: number): number {
  if (a === 0 && b < 0) raise('ZeroDivisionError', '0.0 cannot be raised to a negative power');
  if (a < 0 && Number.isFinite(b) && !Number.isInteger(b)) refuse('a complex number');
  if (a === 1 || (a === -1 && !Number.isFinite(b) && !Number.isNaN(b))) return 1;
  // Mathematical libraries differ in the last digit of a power; small whole ones are exact.
  const isExact = Number.isInteger(a) && Number.isInteger(b) && b >= 0 && Number.isSafeInteger(a ** b);
  if (!isExact) refuse('a power of floats');
  return a ** b;
}

function floatRemainder(a: number, b: number): number {
  const remainder = a % b;
  if (remainder === 0) return b < 0 ? -0 : 0;
  return remainder < 0 !== b < 0 ? remainder + b : remainder;
}

function floatFloor(a: number, b: number): number {
  const quotient = (a - floatRemainder(a, b)) / b;
  if (quotient === 0) return a / b < 0 || Object.is(a / b, -0) ? -0 : 0;
  const floor = Math.floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

export function negate(value: Value): Value {
  if (value instanceof Undefined) return value.fail();
  if (value instanceof PyFloat) return new PyFloat(-value.value);
  if (isIntegral(value)) return integer(-BigInt(value));
  return raise('TypeError', `bad operand type for unary -: '${typeName(value)}'`);
}

export function positive(value: Value): Value {
  if (value instanceof Undefined) return value.fail();
  if (value instanceof PyFloat || isInt(value)) return value;
  if (isIntegral(value)) return Number(value);
  return raise('TypeError', `bad operand type for unary +: '${typeName(value)}'`);
}

// ---- comparison -------------------------------------------------------------------------------------------

export function compare(operator: Comparison, left: Value, right: Value): boolean {
  switch (operator) {
    case '==':
      return equal(left, right);
    case '!=':
      return !equal(left, right);
    case 'in':
      return contains(right, left);
    case 'not in':
      return !contains(right, left);
    default:
      return ordered(operator, left, right);
  }
}

export function equal(left: Value, right: Value): boolean {
  if (typeof left === 'string' && typeof right === 'string') return left === right;
  if (isNumeric(left) && isNumeric(right)) return order(left, right) === 0;
  if (isText(left) && isText(right)) return textOf(left) === textOf(right);
  if (Array.isArray(left) && Array.isArray(right)) return equalItems(left, right);
  if (left instanceof Tuple && right instanceof Tuple) return equalItems(left.items, right.items);
  if (left instanceof Dict && right instanceof Dict) return equalDicts(left, right);
  if (left instanceof Undefined) return right instanceof Undefined;
  if (left instanceof Range && right instanceof Range) return refuse('a comparison of ranges');
  if (left instanceof View && right instanceof View) return left === right || refuse('a comparison of views');
  return left === right;
}

function equalItems(left: readonly Value[], right: readonly Value[]): boolean {
  return left.length === right.length && left.every((item, i) => item === right[i] || equal(item, right[i]));
}

function equalDicts(left: Dict, right: Dict): boolean {
  if (left.size !== right.size) return false;
  for (const [key, value] of left.unorderedEntries()) {
    if (!right.has(key) || !equal(value, right.get(key))) return false;
  }
  return true;
}

/** Negative, zero or positive; NaN when there is no order. */
function order(left: Numeric, right: Numeric): number {
  const a = left instanceof PyFloat ? left.value : left;
  const b = right instanceof PyFloat ? right.value : right;
  // JavaScript compares integers and floats by their exact values, as Python does.
  if (a < b) return -1;
  if (a > b) return 1;
  return Number.isNaN(a) || Number.isNaN(b) ? Number.NaN : 0;
}

/** By code points. */
function compareText(left: string, right: string): number {
  if (left === right) return 0;
  if (!hasPairs(left) && !hasPairs(right)) return left < right ? -1 : 1;
  const a = codePoints(left);
  const b = codePoints(right);
  const at = a.findIndex((character, i) => character !== b[i]);
  if (at < 0) return -1;
  if (at >= b.length) return 1;
  return a[at]!.codePointAt(0)! - b[at]!.codePointAt(0)!;
}

function ordered(operator: Comparison, left: Value, right: Value): boolean {
  const sign = comparison(left, right, operator);
  if (operator === '<') return sign < 0;
  if (operator === '>') return sign > 0;
  return operator === '<=' ? sign <= 0 : sign >= 0;
}

/** For sorting as well. @throws PythonError, a TypeError, where Python has no order. */
export function comparison(left: Value, right: Value, operator = '<'): number {
  if (isNumeric(left) && isNumeric(right)) return order(left, right);
  if (isText(left) && isText(right)) return compareText(textOf(left), textOf(right));
  if (Array.isArray(left) && Array.isArray(right)) return compareItems(left, right, operator);
  if (left instanceof Tuple && right instanceof Tuple) return compareItems(left.items, right.items, operator);
  if (left instanceof Undefined) return left.fail();
  if (right instanceof Undefined) return right.fail();
  if (left instanceof View && right instanceof View) return refuse('an order of views');
  return raise(
    'TypeError',
    `'${operator}' not supported between instances of '${typeName(left)}' and '${typeName(right)}'`,
  );
}

function compareItems(left: readonly Value[], right: readonly Value[], operator: string): number {
  const length = Math.min(left.length, right.length);
  for (let i = 0; i < length; ++i) {
    const isSame = left[i] === right[i] || equal(left[i], right[i]);
    if (!isSame) return comparison(left[i], right[i], operator);
  }
  return left.length - right.length;
}

function contains(container: Value, item: Value): boolean {
  if (isText(container)) {
    if (item instanceof Undefined || !isText(item))
      raise('TypeError', `'in <string>' requires string as left operand, not ${typeName(item)}`);
    return textOf(container).includes(textOf(item));
  }
  if (container instanceof Dict) return container.has(item);
  if (container instanceof View && container.kind === 'keys') return container.dict.has(item);
  if (container instanceof Namespace || container instanceof Structure)
    return raise('TypeError', `argument of type '${typeName(container)}' is not iterable`);
  const iterator =
    iteratorOf(container) ?? raise('TypeError', `argument of type '${typeName(container)}' is not iterable`);
  for (let next = iterator.next(); !next.done; next = iterator.next()) {
    if (next.value === item || equal(next.value, item)) return true;
  }
  return false;
}
