/** Texts of numbers: reading them, and writing them with a width and a precision. */
import { raise, refuse } from './errors.js';
import { SPACE } from './text.js';
import {
  integer,
  isIntegral,
  isNumeric,
  type PyFloat,
  toNumber,
  typeName,
  Undefined,
  type Value,
} from './values.js';

const MARGIN = new RegExp(`^[${SPACE}]+|[${SPACE}]+$`, 'g');
const FLOAT_TEXT =
  /^[+-]?(?:(?:\d+(?:_\d+)*)?\.?(?:\d+(?:_\d+)*)?(?:e[+-]?\d+(?:_\d+)*)?|inf|infinity|nan)$/i;
const DIGITS: ReadonlyMap<number, RegExp> = new Map([
  [2, /^(?:0b_?)?[01]+(?:_[01]+)*$/i],
  [8, /^(?:0o_?)?[0-7]+(?:_[0-7]+)*$/i],
  [10, /^\d+(?:_\d+)*$/],
  [16, /^(?:0x_?)?[\da-f]+(?:_[\da-f]+)*$/i],
]);
const PREFIXES: ReadonlyMap<number, string> = new Map([
  [2, '0b'],
  [8, '0o'],
  [10, ''],
  [16, '0x'],
]);

function trimmed(text: string): string {
  const inside = text.replace(MARGIN, '');
  if (/[^\x20-\x7e]/.test(inside) && /\p{Nd}/u.test(inside)) refuse('a number in digits other than 0 to 9');
  return inside;
}

/** int(text, base); undefined for a ValueError. */
export function parseInteger(text: string, base = 10): number | bigint | undefined {
  const pattern = DIGITS.get(base) ?? refuse(`the base ${base}`);
  const inside = trimmed(text);
  const sign = /^[+-]/.exec(inside)?.[0] ?? '';
  const digits = inside.slice(sign.length);
  if (!pattern.test(digits)) return undefined;
  const plain = digits.toLowerCase().replaceAll('_', '').replace(PREFIXES.get(base)!, '');
  const value = BigInt(PREFIXES.get(base)! + plain);
  return integer(sign === '-' ? -value : value);
}

/** float(text); undefined for a ValueError. */
export function parseFloat_(text: string): number | undefined {
  const inside = trimmed(text).toLowerCase();
  if (!FLOAT_TEXT.test(inside) || !/[\da-z]/.test(inside) || /^[+-]?\.?e/.test(inside)) return undefined;
  if (inside.includes('inf')) return inside.startsWith('-') ? -Infinity : Infinity;
  return inside.includes('nan') ? Number.NaN : Number(inside.replaceAll('_', ''));
}

/** With `places` digits behind the point; what lies exactly in the middle goes to the even digit. */
export function fixed(value: number, places: number): string {
  if (!Number.isFinite(value)) refuse('a fixed number of digits of an infinite value');
  const isBeyond = Math.abs(value) >= 1e21 || places > 60;
  if (isBeyond) refuse('so many digits of a float');
  const sign = value < 0 || Object.is(value, -0) ? '-' : '';
  const exact = Math.abs(value).toFixed(100);
  const cut = exact.length - 100 + places;
  const rest = exact.slice(cut).replace('.', '');
  const isTie = /^50*$/.test(rest);
  if (!isTie) return sign + Math.abs(value).toFixed(places);
  const kept = exact.slice(0, places === 0 ? exact.length - 101 : cut);
  const isEven = Number(kept.at(-1)) % 2 === 0;
  return sign + (isEven ? kept : incremented(kept));
}

/** The next number with the same digits behind the point. */
function incremented(text: string): string {
  const point = text.indexOf('.');
  const next = String(BigInt(text.replace('.', '')) + 1n);
  if (point < 0) return next;
  const places = text.length - point - 1;
  const padded = next.padStart(places + 1, '0');
  return `${padded.slice(0, -places)}.${padded.slice(-places)}`;
}

/** How a value is written: the format specification of Python. */
export interface Specification {
  readonly fill: string;
  readonly align: string;
  readonly sign: string;
  readonly zero: boolean;
  readonly width: number;
  readonly comma: string;
  readonly precision: number | undefined;
  readonly type: string;
}

export function padded(text: string, width: number, align: string, fill = ' '): string {
  const length = Array.from(text).length;
  if (length >= width) return text;
  const missing = width - length;
  if (align === '>') return fill.repeat(missing) + text;
  if (align === '<') return text + fill.repeat(missing);
  const left = Math.floor(missing / 2);
  return fill.repeat(left) + text + fill.repeat(missing - left);
}

/** @throws PythonError when the value is no number, or not of the kind that the type wants. */
export function formatNumber(value: Value, specification: Specification): string {
  const { sign, zero, width, comma, fill, align } = specification;
  if (value instanceof Undefined) return value.fail();
  if (!isNumeric(value))
    return raise('ValueError', `Unknown format code for object of type '${typeName(value)}'`);
  const magnitude = magnitudeText(value, specification);
  const isNegative = magnitude.startsWith('-');
  const grouped = comma === '' ? magnitude.replace('-', '') : groupDigits(magnitude.replace('-', ''), comma);
  const mark = isNegative ? '-' : sign === '+' || sign === ' ' ? sign : '';
  if (zero && align === '') {
    if (comma !== '') refuse('zeros and separators together in a format');
    return mark + grouped.padStart(width - mark.length, '0');
  }
  if (align === '=') return refuse("'=' in a format");
  return padded(mark + grouped, width, align === '' ? '>' : align, fill);
}

function groupDigits(text: string, separator: string): string {
  const [whole, rest] = text.split('.') as [string, string?];
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, separator);
  return rest === undefined ? grouped : `${grouped}.${rest}`;
}

function magnitudeText(
  value: number | bigint | boolean | PyFloat,
  { type, precision }: Specification,
): string {
  if (type === 'f' || type === 'F') return fixed(toNumber(value), precision ?? 6);
  if (type === '%') return refuse("'%' in a format");
  if (isIntegral(value)) {
    if (precision !== undefined)
      return raise('ValueError', 'Precision not allowed in integer format specifier');
    const number = BigInt(value);
    if (type === '' || type === 'd') return String(number);
    if (type === 'x') return number.toString(16);
    if (type === 'X') return number.toString(16).toUpperCase();
    if (type === 'o') return number.toString(8);
    if (type === 'b') return number.toString(2);
  }
  return refuse(`the format '${type}' of a ${typeName(value)}`);
}
