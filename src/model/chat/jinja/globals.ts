/** What a template can name without being given it. */
import { bind, positionalOnly } from './calls.js';
import { raise, refuse } from './errors.js';
import { stringOf } from './printing.js';
import { strftime } from './strftime.js';
import {
  Callable,
  Dict,
  isIntegral,
  isText,
  type Keywords,
  listOf,
  Namespace,
  Range,
  Structure,
  textOf,
  typeName,
  Undefined,
  type Value,
} from './values.js';

/** The sandbox's own limit. */
const LONGEST_RANGE = 100_000;

function rangeOf(args: readonly Value[], keywords: Keywords): Range {
  positionalOnly('range', args, keywords, 3, 1);
  const numbers = args.map((value) => {
    if (value instanceof Undefined) return refuse('a range of an undefined value');
    if (!isIntegral(value))
      return raise('TypeError', `'${typeName(value)}' object cannot be interpreted as an integer`);
    return Number(value);
  });
  const [start, stop, step = 1] =
    numbers.length === 1 ? [0, numbers[0]!] : (numbers as [number, number, number?]);
  if (step === 0) raise('ValueError', 'range() arg 3 must not be zero');
  const range = new Range(start, stop, step);
  if (range.length > LONGEST_RANGE)
    raise(
      'OverflowError',
      `Range too big. The sandbox blocks ranges larger than MAX_RANGE (${LONGEST_RANGE}).`,
    );
  return range;
}

function dictOf(args: readonly Value[], keywords: Keywords): Dict {
  positionalOnly('dict', args, new Map(), 1);
  const [source] = args;
  const pairs =
    source instanceof Dict ? source.entries() : source === undefined ? [] : listOf(source).map(pairOf);
  return Dict.of([...pairs, ...keywords]);
}

function pairOf(item: Value): readonly [Value, Value] {
  const parts = listOf(item);
  if (parts.length !== 2)
    raise('ValueError', `dictionary update sequence element has length ${parts.length}; 2 is required`);
  return [parts[0], parts[1]];
}

function namespaceOf(args: readonly Value[], keywords: Keywords): Namespace {
  const values = new Map<string, Value>();
  for (const [key, value] of dictOf(args, keywords).entries()) {
    const name = isText(key) ? textOf(key) : refuse('an attribute that is no str');
    if (name.startsWith('_'))
      raise(
        'SecurityError',
        `Chat templates cannot store underscore-prefixed attributes on a namespace, but got '${name}'.`,
      );
    values.set(name, value);
  }
  return new Namespace(values);
}

function cyclerOf(items: readonly Value[], keywords: Keywords): Structure {
  positionalOnly('cycler', items, keywords, Number.POSITIVE_INFINITY);
  if (items.length === 0) raise('TypeError', 'at least one item has to be provided');
  let position = 0;
  const next = new Callable('next', () => {
    const item = items[position];
    position = (position + 1) % items.length;
    return item;
  });
  const reset = new Callable('reset', () => {
    position = 0;
    return null;
  });
  return new Structure('Cycler', { next: () => next, reset: () => reset, current: () => items[position] });
}

function joinerOf(args: readonly Value[], keywords: Keywords): Structure {
  const [separator] = bind('joiner', [['sep', ', ']], args, keywords);
  let isUsed = false;
  const call = new Callable('joiner', () => {
    const text = isUsed ? separator : '';
    isUsed = true;
    return text;
  });
  return new Structure('Joiner', { __call__: () => call });
}

const raiseException = new Callable('raise_exception', (args, keywords) => {
  const [message] = bind('raise_exception', ['message'], args, keywords);
  return raise('TemplateError', stringOf(message));
});

const strftimeNow = new Callable('strftime_now', (args, keywords) => {
  const [format] = bind('strftime_now', ['format'], args, keywords);
  if (!isText(format))
    return raise('TypeError', `strftime() argument 1 must be str, not ${typeName(format)}`);
  return strftime(new Date(), textOf(format));
});

const dict = new Structure('TemplateDict', {
  __call__: () => new Callable('dict', dictOf),
  fromkeys: () =>
    new Callable('fromkeys', ([keys, value = null]) => Dict.of(listOf(keys).map((key) => [key, value]))),
});

export const GLOBALS: ReadonlyMap<string, Value> = new Map<string, Value>([
  ['range', new Callable('range', rangeOf)],
  ['dict', dict],
  ['namespace', new Callable('namespace', namespaceOf)],
  ['cycler', new Callable('cycler', cyclerOf)],
  ['joiner', new Callable('joiner', joinerOf)],
  ['lipsum', new Callable('lipsum', () => refuse('lipsum()'))],
  ['raise_exception', raiseException],
  ['strftime_now', strftimeNow],
]);
