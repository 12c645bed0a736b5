/** Filters that make numbers. */
import { raise, refuse } from '../errors.js';
import { fixed, parseFloat_, parseInteger } from '../numbers.js';
import { binary, negate, comparison } from '../operators.js';
import {
  Dict,
  Generator,
  integer,
  isInt,
  isIntegral,
  isNumeric,
  isText,
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
} from '../values.js';
import { lengthOf } from '../text.js';
import { type Entry, filter, toInteger } from './filter.js';

/** float(value); undefined for a TypeError or a ValueError. */
export function floatValue(value: Value): number | undefined {
  if (value instanceof Undefined) return value.fail();
  if (isText(value)) return parseFloat_(textOf(value));
  if (!isNumeric(value)) return undefined;
  const number = toNumber(value);
  if (!Number.isFinite(number) && isInt(value)) raise('OverflowError', 'int too large to convert to float');
  return number;
}

function truncated(value: number): number | bigint | undefined {
  return Number.isFinite(value) ? integer(BigInt(Math.trunc(value))) : undefined;
}

function intFilter(value: Value, byDefault: Value, base: Value): Value {
  if (value instanceof Undefined) return value.fail();
  if (isText(value)) {
    const whole = parseInteger(textOf(value), toInteger(base));
    if (whole !== undefined) return whole;
  } else if (value instanceof PyFloat && !Number.isNaN(value.value) && !Number.isFinite(value.value))
    return raise('OverflowError', 'cannot convert float infinity to integer');
  else if (isIntegral(value)) return integer(BigInt(value));
  const float = floatValue(value);
  return float === undefined ? byDefault : (truncated(float) ?? byDefault);
}

function absolute(value: Value): Value {
  if (value instanceof Undefined) return refuse("the filter 'abs' of an undefined value");
  if (!isNumeric(value)) return raise('TypeError', `bad operand type for abs(): '${typeName(value)}'`);
  if (value instanceof PyFloat) return new PyFloat(Math.abs(value.value));
  return comparison(value, 0) < 0 ? negate(value) : integer(BigInt(value));
}

function roundFilter(value: Value, precision: Value, method: Value): Value {
  if (method !== 'common' && method !== 'ceil' && method !== 'floor')
    return raise('ValueError', 'method must be common, ceil or floor');
  if (value instanceof Undefined) return value.fail();
  if (!isNumeric(value)) return raise('TypeError', `type ${typeName(value)} doesn't define __round__ method`);
  const digits = toInteger(precision);
  if (digits < 0) return refuse("a negative precision of the filter 'round'");
  if (method === 'common') {
    if (!(value instanceof PyFloat)) return integer(BigInt(value));
    const isPlain = !Number.isFinite(value.value) || Math.abs(value.value) >= 1e15;
    return isPlain
      ? digits === 0 || !Number.isFinite(value.value)
        ? value
        : refuse('rounding so large a float')
      : new PyFloat(Number(fixed(value.value, digits)));
  }
  const scale = integer(10n ** BigInt(digits));
  const scaled = binary('*', value, scale);
  const whole = scaled instanceof PyFloat ? truncated(Math[method](scaled.value)) : scaled;
  return binary('/', whole ?? raise('OverflowError', 'cannot convert float infinity to integer'), scale);
}

/** len(value) */
export function lengthValue(value: Value): number {
  if (isText(value)) return lengthOf(textOf(value));
  if (Array.isArray(value)) return value.length;
  if (value instanceof Dict) return value.size;
  if (value instanceof Tuple) return value.items.length;
  if (value instanceof Undefined) return 0;
  if (value instanceof Range) return value.length;
  if (value instanceof View) return value.dict.size;
  const length = value instanceof Structure ? value.attributes['length'] : undefined;
  if (length !== undefined && !(value instanceof Generator)) return Number(length());
  return raise('TypeError', `object of type '${typeName(value)}' has no len()`);
}

export const NUMBER_FILTERS: readonly Entry[] = [
  filter(
    'int',
    [
      ['default', 0],
      ['base', 10],
    ],
    intFilter,
  ),
  filter('float', [['default', new PyFloat(0)]], (value, byDefault) => {
    const float = floatValue(value);
    return float === undefined ? byDefault : new PyFloat(float);
  }),
  filter('abs', [], absolute),
  filter(
    'round',
    [
      ['precision', 0],
      ['method', 'common'],
    ],
    roundFilter,
  ),
  filter('length', [], lengthValue),
  filter('count', [], lengthValue),
];
