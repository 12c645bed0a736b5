/** str() and repr(). */
import { raise, refuse } from './errors.js';
import {
  Callable,
  Dict,
  Markup,
  Namespace,
  PyFloat,
  Range,
  Structure,
  Tuple,
  typeName,
  Undefined,
  type Value,
  View,
} from './values.js';

const UNPRINTABLE = /[^\x20-\x7e]/u;
const INVISIBLE = /[\p{C}\p{Zl}\p{Zp}\p{Zs}]/u;
const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };
/** Python refuses to print longer ones. */
const MOST_DIGITS = 4300;

export function stringOf(value: Value): string {
  if (typeof value === 'string') return value;
  if (value instanceof Markup) return value.text;
  if (value instanceof Undefined) return '';
  return repr(value);
}

export function repr(value: Value): string {
  if (typeof value === 'string') return quoted(value);
  if (typeof value === 'number') return String(value);
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (value instanceof PyFloat) return floatText(value.value);
  if (Array.isArray(value)) return `[${value.map(repr).join(', ')}]`;
  if (value instanceof Dict)
    return `{${value
      .entries()
      .map(([key, item]) => `${repr(key)}: ${repr(item)}`)
      .join(', ')}}`;
  if (value instanceof Tuple) return tupleText(value.items);
  if (typeof value === 'bigint') return bigText(value);
  return rareText(value);
}

function tupleText(items: readonly Value[]): string {
  return items.length === 1 ? `(${repr(items[0])},)` : `(${items.map(repr).join(', ')})`;
}

function bigText(value: bigint): string {
  const text = String(value);
  if (text.length > MOST_DIGITS)
    raise('ValueError', `Exceeds the limit (${MOST_DIGITS} digits) for integer string conversion`);
  return text;
}

function rareText(value: Value): string {
  if (value instanceof Markup) return `Markup(${quoted(value.text)})`;
  if (value instanceof Undefined) return 'Undefined';
  if (value instanceof Range) {
    const step = value.step === 1 ? '' : `, ${value.step}`;
    return `range(${value.start}, ${value.stop}${step})`;
  }
  if (value instanceof View) return `dict_${value.kind}(${repr(value.list())})`;
  if (value instanceof Namespace) return `<Namespace ${repr(Dict.of(value.values))}>`;
  const length = value instanceof Structure && value.name === 'LoopContext' ? value.attributes : undefined;
  if (length !== undefined) return `<LoopContext ${repr(length['index']!())}/${repr(length['length']!())}>`;
  if (value instanceof Callable) return refuse(`the text of the function ${value.name}`);
  return refuse(`the text of a value of type ${typeName(value)}`);
}

function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const isPlain = !UNPRINTABLE.test(text) && !text.includes('\\') && !text.includes(quote);
  if (isPlain) return quote + text + quote;
  let result = quote;
  for (const character of text) {
    const written = ESCAPES[character];
    if (written !== undefined) result += written;
    else if (character === quote) result += `\\${quote}`;
    else if (character !== ' ' && INVISIBLE.test(character)) result += hexadecimal(character);
    else result += character;
  }
  return result + quote;
}

function hexadecimal(character: string): string {
  const code = character.codePointAt(0)!;
  const digits = code.toString(16);
  if (code <= 0xff) return `\\x${digits.padStart(2, '0')}`;
  return code <= 0xffff ? `\\u${digits.padStart(4, '0')}` : `\\U${digits.padStart(8, '0')}`;
}

/** repr() of a float: the shortest digits, with an exponent from 1e16 and below 1e-4. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (value === 0) return Object.is(value, -0) ? '-0.0' : '0.0';
  const [digits, power] = value.toExponential().split('e') as [string, string];
  const exponent = Number(power);
  if (exponent >= 16 || exponent < -4) {
    const sign = exponent < 0 ? '-' : '+';
    return `${digits}e${sign}${String(Math.abs(exponent)).padStart(2, '0')}`;
  }
  const text = String(value);
  return text.includes('.') ? text : `${text}.0`;
}
