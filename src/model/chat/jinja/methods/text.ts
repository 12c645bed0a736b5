/** The methods of str. */
import { bind, positionalOnly } from '../calls.js';
import { raise, refuse } from '../errors.js';
import { padded } from '../numbers.js';
import {
  codePoints,
  hasPairs,
  isSpace,
  lengthOf,
  pointIndex,
  splitLines,
  stripLeft,
  stripRight,
} from '../text.js';
import {
  isIntegral,
  isText,
  type Keywords,
  listOf,
  textOf,
  truthy,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from '../values.js';
import { capitalize, CLASSES, swapcase, title } from './cases.js';
import { splitLeft, splitRight } from './splitting.js';

export type Method = (text: string, args: readonly Value[], keywords: Keywords) => Value;

function asText(value: Value, caller: string): string {
  if (value instanceof Undefined || !isText(value))
    return raise('TypeError', `${caller}() argument must be str, not ${typeName(value)}`);
  return textOf(value);
}

function asInteger(value: Value): number {
  if (!isIntegral(value))
    return raise('TypeError', `'${typeName(value)}' object cannot be interpreted as an integer`);
  return Number(value);
}

// ---- cutting off ------------------------------------------------------------------------------------------

function stripper(name: string, left: boolean, right: boolean): Method {
  return (text, args, keywords) => {
    positionalOnly(name, args, keywords, 1);
    const [characters = null] = args;
    if (characters === null) {
      const rest = left ? stripLeft(text) : text;
      return right ? stripRight(rest) : rest;
    }
    return stripCharacters(text, asText(characters, name), left, right);
  };
}

export function stripCharacters(text: string, characters: string, left = true, right = true): string {
  const unwanted = new Set(codePoints(characters));
  const all = hasPairs(text) ? codePoints(text) : text;
  let begin = 0;
  let end = all.length;
  while (left && begin < end && unwanted.has(all[begin]!)) ++begin;
  while (right && end > begin && unwanted.has(all[end - 1]!)) --end;
  return typeof all === 'string' ? all.slice(begin, end) : all.slice(begin, end).join('');
}

// ---- searching --------------------------------------------------------------------------------------------

/** The part of a text that a search looks at, and where it begins in code points. */
function window(
  text: string,
  from: Value = null,
  to: Value = null,
): { readonly part: string; readonly offset: number } | undefined {
  if (from === null && to === null) return { part: text, offset: 0 };
  const characters = codePoints(text);
  const { length } = characters;
  const place = (value: Value, byDefault: number): number => {
    if (value === null) return byDefault;
    const index = asInteger(value);
    return index < 0 ? Math.max(0, index + length) : index;
  };
  const begin = place(from, 0);
  const end = Math.min(place(to, length), length);
  if (begin > length || begin > end) return undefined;
  return { part: characters.slice(begin, end).join(''), offset: begin };
}

function finder(name: string, last: boolean, mustExist: boolean): Method {
  return (text, args, keywords) => {
    positionalOnly(name, args, keywords, 3, 1);
    const wanted = asText(args[0], name);
    const area = window(text, args[1], args[2]);
    const unit = area === undefined ? -1 : last ? area.part.lastIndexOf(wanted) : area.part.indexOf(wanted);
    if (unit < 0) return mustExist ? raise('ValueError', 'substring not found') : -1;
    return area!.offset + pointIndex(area!.part, unit);
  };
}

function edge(name: string, test: (text: string, wanted: string) => boolean): Method {
  return (text, args, keywords) => {
    positionalOnly(name, args, keywords, 3, 1);
    const [wanted] = args;
    const options = wanted instanceof Tuple ? wanted.items : [wanted];
    const area = window(text, args[1], args[2]);
    const texts = options.map((one) => asText(one, name));
    return area !== undefined && texts.some((one) => test(area.part, one));
  };
}

function count(text: string, args: readonly Value[], keywords: Keywords): Value {
  positionalOnly('count', args, keywords, 3, 1);
  const wanted = asText(args[0], 'count');
  const area = window(text, args[1], args[2]);
  if (area === undefined) return 0;
  return wanted === '' ? lengthOf(area.part) + 1 : area.part.split(wanted).length - 1;
}

export function replaceText(text: string, old: string, by: string, most: number): string {
  if (most < 0 && old !== '') return text.split(old).join(by);
  const pieces = old === '' ? ['', ...codePoints(text), ''] : text.split(old);
  const replaced = most < 0 ? pieces.length - 1 : Math.min(most, pieces.length - 1);
  const head = pieces.slice(0, replaced + 1).join(by);
  const tail = pieces.slice(replaced + 1);
  return tail.length === 0 ? head : head + old + tail.join(old);
}

function partition(name: string, last: boolean): Method {
  return (text, args, keywords) => {
    positionalOnly(name, args, keywords, 1, 1);
    const separator = asText(args[0], name);
    if (separator === '') raise('ValueError', 'empty separator');
    const at = last ? text.lastIndexOf(separator) : text.indexOf(separator);
    if (at < 0) return new Tuple(last ? ['', '', text] : [text, '', '']);
    return new Tuple([text.slice(0, at), separator, text.slice(at + separator.length)]);
  };
}

// ---- widths -----------------------------------------------------------------------------------------------

function justify(name: string, align: '<' | '>'): Method {
  return (text, args, keywords) => {
    positionalOnly(name, args, keywords, 2, 1);
    const fill = args[1] === undefined ? ' ' : asText(args[1], name);
    if (lengthOf(fill) !== 1) raise('TypeError', 'The fill character must be exactly one character long');
    return padded(text, asInteger(args[0]), align, fill);
  };
}

/** str.center, which puts the odd blank on the left only where the width is odd. */
export function center(text: string, width: number, fill = ' '): string {
  const missing = width - lengthOf(text);
  if (missing <= 0) return text;
  const left = Math.floor(missing / 2) + (missing & width & 1);
  return fill.repeat(left) + text + fill.repeat(missing - left);
}

function zfill(text: string, args: readonly Value[], keywords: Keywords): Value {
  positionalOnly('zfill', args, keywords, 1, 1);
  const sign = /^[+-]/.exec(text)?.[0] ?? '';
  const missing = asInteger(args[0]) - lengthOf(text);
  return missing <= 0 ? text : sign + '0'.repeat(missing) + text.slice(sign.length);
}

// ---- the table --------------------------------------------------------------------------------------------

function plain(name: string, apply: (text: string) => Value): Method {
  return (text, args, keywords) => {
    positionalOnly(name, args, keywords, 0);
    return apply(text);
  };
}

function splitter(
  name: string,
  split: (text: string, separator: string | undefined, most: number) => string[],
): Method {
  return (text, args, keywords) => {
    const [separator, most] = bind(
      name,
      [
        ['sep', null],
        ['maxsplit', -1],
      ],
      args,
      keywords,
    );
    const by = separator === null ? undefined : asText(separator, name);
    if (by === '') raise('ValueError', 'empty separator');
    return split(text, by, asInteger(most));
  };
}

/** str.expandtabs, and what else has no use in templates, is refused by name. */
const REFUSED = ['casefold', 'encode', 'expandtabs', 'isidentifier', 'istitle', 'maketrans', 'translate'];
const refused: [string, Method][] = REFUSED.map((name) => [name, () => refuse(`str.${name}`)]);
const classes: [string, Method][] = Object.entries(CLASSES).map(([name, test]) => [name, plain(name, test)]);

export const TEXT_METHODS: ReadonlyMap<string, Method> = new Map<string, Method>([
  ...refused,
  ...classes,
  ['strip', stripper('strip', true, true)],
  ['lstrip', stripper('lstrip', true, false)],
  ['rstrip', stripper('rstrip', false, true)],
  ['upper', plain('upper', (text) => text.toUpperCase())],
  ['lower', plain('lower', (text) => text.toLowerCase())],
  ['capitalize', plain('capitalize', capitalize)],
  ['title', plain('title', title)],
  ['swapcase', plain('swapcase', swapcase)],
  ['isspace', plain('isspace', isSpace)],
  ['find', finder('find', false, false)],
  ['rfind', finder('rfind', true, false)],
  ['index', finder('index', false, true)],
  ['rindex', finder('rindex', true, true)],
  ['startswith', edge('startswith', (text, wanted) => text.startsWith(wanted))],
  ['endswith', edge('endswith', (text, wanted) => text.endsWith(wanted))],
  ['count', count],
  ['partition', partition('partition', false)],
  ['rpartition', partition('rpartition', true)],
  ['ljust', justify('ljust', '<')],
  ['rjust', justify('rjust', '>')],
  ['zfill', zfill],
  ['split', splitter('split', splitLeft)],
  ['rsplit', splitter('rsplit', splitRight)],
  [
    'center',
    (text, args, keywords) => {
      positionalOnly('center', args, keywords, 2, 1);
      const fill = args[1] === undefined ? ' ' : asText(args[1], 'center');
      if (lengthOf(fill) !== 1) raise('TypeError', 'The fill character must be exactly one character long');
      return center(text, asInteger(args[0]), fill);
    },
  ],
  [
    'splitlines',
    (text, args, keywords) => {
      const [keepEnds] = bind('splitlines', [['keepends', false]], args, keywords);
      return splitLines(text, truthy(keepEnds));
    },
  ],
  [
    'replace',
    (text, args, keywords) => {
      positionalOnly('replace', args, keywords, 3, 2);
      const most = args[2] === undefined ? -1 : asInteger(args[2]);
      return replaceText(text, asText(args[0], 'replace'), asText(args[1], 'replace'), most);
    },
  ],
  [
    'removeprefix',
    (text, args, keywords) => {
      positionalOnly('removeprefix', args, keywords, 1, 1);
      const prefix = asText(args[0], 'removeprefix');
      return text.startsWith(prefix) ? text.slice(prefix.length) : text;
    },
  ],
  [
    'removesuffix',
    (text, args, keywords) => {
      positionalOnly('removesuffix', args, keywords, 1, 1);
      const suffix = asText(args[0], 'removesuffix');
      return text.endsWith(suffix) ? text.slice(0, text.length - suffix.length) : text;
    },
  ],
  [
    'join',
    (text, args, keywords) => {
      positionalOnly('join', args, keywords, 1, 1);
      return listOf(args[0])
        .map((item) => asText(item, 'join'))
        .join(text);
    },
  ],
]);
