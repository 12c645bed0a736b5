/** The attributes that values of Python have: bound methods, most of them. */
import { bind, positionalOnly } from '../calls.js';
import { raise, refuse } from '../errors.js';
import { equal } from '../operators.js';
import {
  Callable,
  Dict,
  GroupTuple,
  isText,
  type Keywords,
  listOf,
  Markup,
  PyFloat,
  Range,
  textOf,
  Tuple,
  typeName,
  Undefined,
  type Value,
  View,
} from '../values.js';
import { type Access, formatText } from './format.js';
import { TEXT_METHODS } from './text.js';

/** What changes a list or a dict, which the sandbox forbids. */
const LIST_CHANGES: ReadonlySet<string> = new Set([
  'append',
  'clear',
  'extend',
  'insert',
  'pop',
  'remove',
  'reverse',
  'sort',
]);
const DICT_CHANGES: ReadonlySet<string> = new Set(['clear', 'pop', 'popitem', 'setdefault', 'update']);
const NUMBER_ATTRIBUTES: ReadonlySet<string> = new Set([
  'as_integer_ratio',
  'bit_count',
  'bit_length',
  'conjugate',
  'denominator',
  'from_bytes',
  'fromhex',
  'hex',
  'imag',
  'is_integer',
  'numerator',
  'real',
  'to_bytes',
]);

function unsafe(object: Value, name: string): Undefined {
  const message = `access to attribute '${name}' of '${typeName(object)}' object is unsafe.`;
  return new Undefined(message, 'SecurityError');
}

/** @returns undefined when Python's object has no such attribute. */
export function bindMethod(object: Value, name: string, access: Access): Value | undefined {
  const isDunder = name.startsWith('__') && name.endsWith('__');
  if (isDunder) return unsafe(object, name);
  if (typeof object === 'string') return ofText(object, name, access);
  if (object instanceof Dict) return ofDict(object, name);
  if (Array.isArray(object) || object instanceof Tuple) return ofSequence(object, name);
  if (object instanceof Markup) return refuse(`the attribute '${name}' of escaped text`);
  const isNumber = typeof object === 'number' || typeof object === 'bigint' || object instanceof PyFloat;
  const hasNumber = isNumber || typeof object === 'boolean';
  if (hasNumber && NUMBER_ATTRIBUTES.has(name)) return refuse(`the attribute '${name}' of a number`);
  if (object instanceof Callable || object instanceof View || object instanceof Range)
    return refuse(`the attribute '${name}' of a ${typeName(object)}`);
  return undefined;
}

function ofText(text: string, name: string, access: Access): Value | undefined {
  const method = TEXT_METHODS.get(name);
  if (method !== undefined) return new Callable(name, (args, keywords) => method(text, args, keywords));
  if (name === 'format')
    return new Callable(name, (args, keywords) => formatText(text, args, keywords, access));
  if (name !== 'format_map') return undefined;
  return new Callable(name, (args, keywords) => {
    positionalOnly(name, args, keywords, 1, 1);
    const [mapping] = args;
    if (!(mapping instanceof Dict)) return refuse('str.format_map of this value');
    const entries = mapping
      .entries()
      .flatMap(([key, value]) => (isText(key) ? [[textOf(key), value] as const] : []));
    return formatText(text, [], new Map(entries), access);
  });
}

type DictMethod = (dict: Dict, args: readonly Value[], keywords: Keywords) => Value;

const DICT_METHODS: ReadonlyMap<string, DictMethod> = new Map<string, DictMethod>([
  [
    'get',
    (dict, args, keywords) => {
      positionalOnly('get', args, keywords, 2, 1);
      const value = dict.get(args[0]);
      return value === undefined ? (args[1] ?? null) : value;
    },
  ],
  ['items', (dict, args, keywords) => view('items', dict, args, keywords)],
  ['keys', (dict, args, keywords) => view('keys', dict, args, keywords)],
  ['values', (dict, args, keywords) => view('values', dict, args, keywords)],
  [
    'copy',
    (dict, args, keywords) => {
      positionalOnly('copy', args, keywords, 0);
      return dict;
    },
  ],
  [
    'fromkeys',
    (_dict, args, keywords) => {
      positionalOnly('fromkeys', args, keywords, 2, 1);
      return Dict.of(listOf(args[0]).map((key) => [key, args[1] ?? null]));
    },
  ],
]);

function view(
  kind: 'keys' | 'values' | 'items',
  dict: Dict,
  args: readonly Value[],
  keywords: Keywords,
): View {
  positionalOnly(kind, args, keywords, 0);
  return new View(kind, dict);
}

function ofDict(dict: Dict, name: string): Value | undefined {
  const method = DICT_METHODS.get(name);
  if (method !== undefined) return new Callable(name, (args, keywords) => method(dict, args, keywords));
  return DICT_CHANGES.has(name) ? unsafe(dict, name) : undefined;
}

function ofSequence(object: readonly Value[] | Tuple, name: string): Value | undefined {
  const isList = Array.isArray(object);
  const items: readonly Value[] = object instanceof Tuple ? object.items : object;
  if (isList && LIST_CHANGES.has(name)) return unsafe(object, name);
  if (isList && name === 'copy')
    return new Callable(name, (args, keywords) => {
      positionalOnly(name, args, keywords, 0);
      return items;
    });
  if (object instanceof GroupTuple && name === 'grouper') return items[0];
  if (object instanceof GroupTuple && name === 'list') return items[1];
  if (name === 'count')
    return new Callable(name, (args, keywords) => {
      positionalOnly(name, args, keywords, 1, 1);
      return items.filter((item) => equal(item, args[0])).length;
    });
  if (name !== 'index') return undefined;
  return new Callable(name, (args, keywords) => {
    const [wanted, start] = bind('index', ['value', ['start', 0]], args, keywords);
    if (start !== 0) return refuse('list.index with a start');
    const found = items.findIndex((item) => equal(item, wanted));
    return found < 0 ? raise('ValueError', 'the value is not in the list') : found;
  });
}
