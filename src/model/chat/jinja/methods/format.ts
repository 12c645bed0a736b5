/** str.format: fields by position and by name, conversions, and the usual format specifications. */
import { raise, refuse } from '../errors.js';
import { formatNumber, padded, type Specification } from '../numbers.js';
import { repr, stringOf } from '../printing.js';
import { codePoints, lengthOf } from '../text.js';
import { isNumeric, isText, type Keywords, textOf, typeName, Undefined, type Value } from '../values.js';

const FIELD = /\{\{|\}\}|\{([^{}]*)\}|[{}]/g;
const PARTS = /^([^!:.[]*)((?:\.[^.[!:]+|\[[^\]]+\])*)(?:!([^:]*))?(?::([\s\S]*))?$/;
const SPECIFICATION = /^(?:([\s\S]?)([<>=^]))?([-+ ]?)(#?)(0?)(\d*)([,_]?)(?:\.(\d+))?([a-zA-Z%]?)$/u;

/** How a field reaches into its value, as the sandbox allows it. */
export interface Access {
  readonly attribute: (object: Value, name: string) => Value;
  readonly item: (object: Value, key: Value) => Value;
}

export function formatText(
  template: string,
  args: readonly Value[],
  keywords: Keywords,
  access: Access,
): string {
  let automatic = 0;
  let isManual = false;
  return template.replace(FIELD, (all: string, field: string | undefined) => {
    if (all === '{{') return '{';
    if (all === '}}') return '}';
    if (field === undefined) {
      return template.includes('{') && /\{[^{}]*\{/.test(template)
        ? refuse('a field inside of a format specification')
        : raise('ValueError', `Single '${all}' encountered in format string`);
    }
    const [, first, path, conversion, specification] = PARTS.exec(field) ?? refuse(`the field {${field}}`);
    const isNumber = /^\d+$/.test(first!);
    if ((first === '' && isManual) || (isNumber && automatic > 0))
      raise('ValueError', 'cannot switch between automatic and manual field numbering');
    isManual ||= isNumber;
    const index = first === '' ? automatic++ : Number(first);
    const value = first === '' || isNumber ? positional(args, index) : named(keywords, first!);
    return written(follow(value, path!, access), conversion, specification ?? '');
  });
}

function positional(args: readonly Value[], index: number): Value {
  if (index >= args.length) raise('IndexError', 'Replacement index out of range for positional args tuple');
  return args[index];
}

function named(keywords: Keywords, name: string): Value {
  const value = keywords.get(name);
  return value === undefined ? raise('KeyError', name) : value;
}

function follow(value: Value, path: string, access: Access): Value {
  let result = value;
  for (const [, attribute, key] of path.matchAll(/\.([^.[]+)|\[([^\]]+)\]/g)) {
    if (attribute !== undefined) result = access.attribute(result, attribute);
    else result = access.item(result, /^\d+$/.test(key!) ? Number(key) : key!);
  }
  return result;
}

function written(value: Value, conversion: string | undefined, specification: string): string {
  if (conversion === 'r') return formatted(repr(value), specification);
  if (conversion === 's') return formatted(stringOf(value), specification);
  if (conversion !== undefined) return refuse(`the conversion !${conversion}`);
  return formatted(value, specification);
}

/** format(value, specification) */
function formatted(value: Value, specification: string): string {
  if (specification === '') return stringOf(value);
  const match = SPECIFICATION.exec(specification);
  if (match === null) return raise('ValueError', `Invalid format specifier '${specification}'`);
  const [, fill = ' ', align = '', sign, hash, zero, width, comma, precision, type] = match;
  if (hash !== '') refuse("'#' in a format");
  const parsed: Specification = {
    fill: fill === '' ? ' ' : fill,
    align,
    sign: sign!,
    zero: zero !== '',
    width: Number(width),
    comma: comma!,
    precision: precision === undefined ? undefined : Number(precision),
    type: type!,
  };
  if (isText(value)) return formattedText(textOf(value), parsed);
  if (isNumeric(value) && typeof value !== 'boolean') return formatNumber(value, parsed);
  if (value instanceof Undefined || value === null || typeof value !== 'boolean')
    return raise('TypeError', `unsupported format string passed to ${typeName(value)}.__format__`);
  return refuse('a format of a boolean');
}

function formattedText(
  text: string,
  { type, sign, comma, zero, precision, width, align, fill }: Specification,
): string {
  if (type !== '' && type !== 's')
    raise('ValueError', `Unknown format code '${type}' for object of type 'str'`);
  if (sign !== '' || comma !== '' || align === '=')
    raise('ValueError', 'not allowed in string format specifier');
  if (zero) refuse('zeros in a format of text');
  const isCut = precision !== undefined && lengthOf(text) > precision;
  const shown = isCut ? codePoints(text).slice(0, precision).join('') : text;
  return padded(shown, width, align === '' ? '<' : align, fill);
}
