/** `'%s and %d' % values` */
import { raise, refuse } from './errors.js';
import { fixed, formatNumber, padded } from './numbers.js';
import { repr, stringOf } from './printing.js';
import { codePoints, lengthOf } from './text.js';
import {
  Dict,
  integer,
  isIntegral,
  isText,
  PyFloat,
  Range,
  textOf,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values.js';

const CONVERSION = /%(?:\(([^()]*)\))?([-+ 0#]*)(\*|\d*)(?:\.(\*|\d*))?[hlL]?([\s\S]?)/gu;

export function percentFormat(template: string, values: Value): string {
  const isTuple = values instanceof Tuple;
  const queue = isTuple ? [...values.items] : [values];
  let usesNames = false;
  const next = (): Value => {
    if (queue.length === 0) raise('TypeError', 'not enough arguments for format string');
    return queue.shift();
  };
  const text = template.replace(CONVERSION, (all, name, flags, width, precision, type) => {
    if (type === '%' && all === '%%') return '%';
    if (type === '') return raise('ValueError', 'incomplete format');
    if (width === '*' || precision === '*') return refuse("'*' in a format");
    if (name !== undefined) {
      if (!(values instanceof Dict)) raise('TypeError', 'format requires a mapping');
      usesNames = true;
    }
    const value = name === undefined ? next() : namedValue(values as Dict, name);
    const places = precision === undefined ? undefined : Number(precision);
    return converted(value, { flags, width: Number(width), places, type });
  });
  // Whatever has items counts as a mapping, and may be left over.
  const hasItems = values instanceof Range || values instanceof Undefined || Array.isArray(values);
  const isMapping = values instanceof Dict || hasItems;
  const mayRemain = usesNames || (!isTuple && isMapping);
  if (queue.length > 0 && !mayRemain)
    raise('TypeError', 'not all arguments converted during string formatting');
  return text;
}

function namedValue(values: Dict, name: string): Value {
  const value = values.get(name);
  return value === undefined ? raise('KeyError', name) : value;
}

interface Conversion {
  readonly flags: string;
  readonly width: number;
  readonly places: number | undefined;
  readonly type: string;
}

function converted(value: Value, { flags, width, places, type }: Conversion): string {
  const align = flags.includes('-') ? '<' : '>';
  if (type === 's' || type === 'r') {
    const text = type === 's' ? stringOf(value) : repr(value);
    const isCut = places !== undefined && lengthOf(text) > places;
    return padded(isCut ? codePoints(text).slice(0, places).join('') : text, width, align);
  }
  if (type === 'c') {
    if (isText(value) && lengthOf(textOf(value)) === 1) return padded(textOf(value), width, align);
    return refuse("'%c' of a number");
  }
  if (flags.includes('#')) return refuse("'#' in a format");
  const isInteger = 'diuxXo'.includes(type);
  if (!isInteger && type !== 'f' && type !== 'F') return refuse(`'%${type}'`);
  if (value instanceof Undefined) return value.fail();
  const number = isInteger ? truncated(value, type) : value;
  if (isInteger && places !== undefined) return refuse('a precision of integers in a format');
  if (!isIntegral(number) && !(number instanceof PyFloat))
    return raise('TypeError', `must be real number, not ${typeName(value)}`);
  if (number instanceof PyFloat && !Number.isFinite(number.value))
    return refuse('an infinite value in a format');
  return formatNumber(number, {
    fill: ' ',
    align: flags.includes('-') ? '<' : flags.includes('0') ? '' : '>',
    sign: flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '',
    zero: flags.includes('0') && !flags.includes('-'),
    width,
    comma: '',
    precision: isInteger ? undefined : (places ?? 6),
    type: type === 'i' || type === 'u' ? 'd' : type,
  });
}

function truncated(value: Value, type: string): Value {
  if (!(value instanceof PyFloat)) {
    if (!isIntegral(value))
      raise('TypeError', `%${type} format: a real number is required, not ${typeName(value)}`);
    return value;
  }
  const isDecimal = type === 'd' || type === 'i' || type === 'u';
  if (!isDecimal) raise('TypeError', `%${type} format: an integer is required, not float`);
  const text = fixed(Math.trunc(value.value), 0);
  return integer(BigInt(text));
}
