/** Filters that walk over lists. */
import { getAttribute, getItem } from '../attributes.js';
import { raise, refuse } from '../errors.js';
import { binary, comparison, equal } from '../operators.js';
import { stringOf } from '../printing.js';
import { codePoints } from '../text.js';
import { testNamed } from '../tests.js';
import {
  Dict,
  Generator,
  GroupTuple,
  isText,
  iterate,
  type Keywords,
  keyOf,
  listOf,
  Markup,
  Range,
  textOf,
  truthy,
  Tuple,
  typeName,
  Undefined,
  type Value,
  View,
} from '../values.js';
import { type Entry, type Filter, filter, toInteger } from './filter.js';
import { joinFilter } from './text.js';

type Lookup = (name: string) => Filter | undefined;

// ---- attributes -------------------------------------------------------------------------------------------

function attributeParts(attribute: Value): Value[] {
  if (attribute === null) return [];
  if (!isText(attribute)) return [attribute];
  return textOf(attribute)
    .split('.')
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part));
}

function attributeGetter(attribute: Value, byDefault: Value = null): (item: Value) => Value {
  const parts = attributeParts(attribute);
  return (item) => {
    let value = item;
    for (const part of parts) {
      value = getItem(value, part);
      if (byDefault !== null && value instanceof Undefined) value = byDefault;
    }
    return value;
  };
}

const ignoreCase = (value: Value): Value => (isText(value) ? textOf(value).toLowerCase() : value);

function keyGetter(attribute: Value, caseSensitive: Value, byDefault: Value = null): (item: Value) => Value {
  const get = attributeGetter(attribute, byDefault);
  return truthy(caseSensitive) ? get : (item) => ignoreCase(get(item));
}

function sortedBy(items: readonly Value[], key: (item: Value) => Value, reverse: Value): Value[] {
  const sign = truthy(reverse) ? -1 : 1;
  const keyed = items.map((item) => ({ item, key: key(item) }));
  keyed.sort((a, b) => {
    const order = comparison(a.key, b.key);
    return Number.isNaN(order) ? refuse('sorting NaN') : sign * order;
  });
  return keyed.map(({ item }) => item);
}

function sortFilter(value: Value, reverse: Value, caseSensitive: Value, attribute: Value): Value {
  const names: readonly Value[] = isText(attribute) ? textOf(attribute).split(',') : [attribute];
  const getters = names.map((name) => keyGetter(name, caseSensitive));
  return sortedBy(listOf(value), (item) => getters.map((get) => get(item)), reverse);
}

function dictsort(value: Value, caseSensitive: Value, by: Value, reverse: Value): Value {
  if (by !== 'key' && by !== 'value') raise('ValueError', 'You can only sort by either "key" or "value"');
  if (!(value instanceof Dict)) {
    if (value instanceof Undefined) return value.fail();
    return raise('AttributeError', `'${typeName(value)}' object has no attribute 'items'`);
  }
  // Equal keys of different types have no order of their own, so the order of the dict is needed for values
  // alone.
  const entries = by === 'key' ? [...value.unorderedEntries()] : value.entries();
  const items = entries.map(([key, item]) => new Tuple([key, item]));
  const at = by === 'key' ? 0 : 1;
  const key = ({ items: pair }: Tuple): Value => (truthy(caseSensitive) ? pair[at] : ignoreCase(pair[at]));
  const hasCaseTwins = by === 'key' && new Set(items.map((item) => stringOf(key(item)))).size < items.length;
  if (hasCaseTwins) value.entries();
  return sortedBy(items, (item) => key(item as Tuple), reverse);
}

function groupby(value: Value, attribute: Value, byDefault: Value, caseSensitive: Value): Value {
  const key = keyGetter(attribute, caseSensitive, byDefault);
  const shown = attributeGetter(attribute, byDefault);
  const groups: { key: Value; items: Value[] }[] = [];
  for (const item of sortedBy(listOf(value), key, false)) {
    const itemKey = key(item);
    const last = groups.at(-1);
    if (last !== undefined && equal(last.key, itemKey)) last.items.push(item);
    else groups.push({ key: itemKey, items: [item] });
  }
  return groups.map((group) => {
    const grouper = truthy(caseSensitive) ? group.key : shown(group.items[0]);
    return new GroupTuple([grouper, group.items]);
  });
}

// ---- lazy filters -----------------------------------------------------------------------------------------

type Items = globalThis.Generator<Value>;

function lazily(value: Value, make: () => (item: Value) => Value | undefined): Generator {
  function* items(): Items {
    if (!truthy(value)) return;
    const apply = make();
    const iterator = iterate(value);
    for (let next = iterator.next(); !next.done; next = iterator.next()) {
      const result = apply(next.value);
      if (result !== undefined) yield result;
    }
  }
  return new Generator(items());
}

function mapFunction(lookup: Lookup, args: readonly Value[], keywords: Keywords): (item: Value) => Value {
  if (args.length === 0 && keywords.has('attribute')) {
    const unknown = [...keywords.keys()].find((name) => name !== 'attribute' && name !== 'default');
    if (unknown !== undefined) raise('TypeError', `Unexpected keyword argument '${unknown}'`);
    return attributeGetter(keywords.get('attribute'), keywords.get('default') ?? null);
  }
  if (args.length === 0) raise('TypeError', 'map requires a filter argument');
  const [name, ...rest] = args;
  const apply = isText(name) ? lookup(textOf(name)) : undefined;
  if (apply === undefined) return () => raise('TemplateError', `No filter named ${stringOf(name)}.`);
  return (item) => apply(item, rest, keywords);
}

function selecting(wanted: boolean, byAttribute: boolean): Filter {
  return (value, args, keywords) =>
    lazily(value, () => {
      if (byAttribute && args.length === 0) raise('TypeError', 'Missing parameter for attribute name');
      const get = byAttribute ? attributeGetter(args[0]) : (item: Value) => item;
      const [name, ...rest] = byAttribute ? args.slice(1) : args;
      const holds = (item: Value): boolean =>
        name === undefined ? truthy(item) : testNamed(name)(item, rest, keywords);
      return (item) => (holds(get(item)) === wanted ? item : undefined);
    });
}

function unique(value: Value, caseSensitive: Value, attribute: Value): Generator {
  const key = keyGetter(attribute, caseSensitive);
  function* items(): Items {
    const seen = new Set<unknown>();
    const iterator = iterate(value);
    for (let next = iterator.next(); !next.done; next = iterator.next()) {
      const hash = keyOf(key(next.value));
      if (seen.has(hash)) continue;
      seen.add(hash);
      yield next.value;
    }
  }
  return new Generator(items());
}

function batch(value: Value, size: Value, fill: Value): Generator {
  const width = toInteger(size);
  function* items(): Items {
    let current: Value[] = [];
    const iterator = iterate(value);
    for (let next = iterator.next(); !next.done; next = iterator.next()) {
      if (current.length === width) {
        yield current;
        current = [];
      }
      current.push(next.value);
    }
    if (current.length === 0) return;
    const missing = fill === null ? 0 : Math.max(0, width - current.length);
    yield [...current, ...new Array<Value>(missing).fill(fill)];
  }
  return new Generator(items());
}

function slices(value: Value, number: Value, fill: Value): Generator {
  function* items(): Items {
    const all = listOf(value);
    const count = toInteger(number);
    if (count === 0) raise('ZeroDivisionError', 'integer division or modulo by zero');
    const width = Math.floor(all.length / count);
    const longer = all.length - width * count;
    let begin = 0;
    for (let i = 0; i < count; ++i) {
      const end = begin + width + Number(i < longer);
      const isFilled = fill !== null && i >= longer;
      yield isFilled ? [...all.slice(begin, end), fill] : all.slice(begin, end);
      begin = end;
    }
  }
  return new Generator(items());
}

// ---- single results ---------------------------------------------------------------------------------------

function first(value: Value): Value {
  const next = iterate(value).next();
  return next.done ? new Undefined('No first item, sequence was empty.') : next.value;
}

function last(value: Value): Value {
  const isReversible =
    isText(value) ||
    Array.isArray(value) ||
    value instanceof Tuple ||
    value instanceof Dict ||
    value instanceof Range ||
    value instanceof View;
  if (!isReversible)
    return value instanceof Undefined
      ? refuse("the filter 'last' of an undefined value")
      : raise('TypeError', `'${typeName(value)}' object is not reversible`);
  const items = listOf(value);
  return items.length === 0 ? new Undefined('No last item, sequence was empty.') : items.at(-1);
}

function extreme(sign: 1 | -1): (value: Value, caseSensitive: Value, attribute: Value) => Value {
  return (value, caseSensitive, attribute) => {
    const key = keyGetter(attribute, caseSensitive);
    const items = listOf(value);
    if (items.length === 0) return new Undefined('No aggregated item, sequence was empty.');
    let best = items[0];
    let bestKey = key(best);
    for (const item of items.slice(1)) {
      const itemKey = key(item);
      const order = comparison(itemKey, bestKey);
      if (sign * order < 0) {
        best = item;
        bestKey = itemKey;
      }
    }
    return best;
  };
}

function sum(value: Value, attribute: Value, start: Value): Value {
  if (isText(start)) raise('TypeError', "sum() can't sum strings [use ''.join(seq) instead]");
  const get = attributeGetter(attribute);
  return listOf(value).reduce((total: Value, item) => binary('+', total, get(item)), start);
}

function reverse(value: Value): Value {
  if (typeof value === 'string') return codePoints(value).reverse().join('');
  if (value instanceof Markup) return refuse("the filter 'reverse' of escaped text");
  return new Generator([...listOf(value)].reverse()[Symbol.iterator]());
}

function* pairs(value: Value): Items {
  if (value instanceof Undefined) return;
  if (!(value instanceof Dict)) raise('TypeError', 'Can only get item pairs from a mapping.');
  for (const [key, item] of value.entries()) yield new Tuple([key, item]);
}

function attr(value: Value, name: Value): Value {
  if (!isText(name)) return raise('TypeError', 'attribute name must be string');
  if (value instanceof Undefined) return refuse("the filter 'attr' of an undefined value");
  const attribute = getAttribute(value, textOf(name));
  // Items of a dict are no attributes.
  const isItem = value instanceof Dict && value.has(name) && attribute === value.get(name);
  return isItem ? new Undefined(`'dict' object has no attribute '${textOf(name)}'`) : attribute;
}

/** @param lookup of filters by name, for `map`. */
export const listFilters = (lookup: Lookup): readonly Entry[] => [
  filter(
    'default',
    [
      ['default_value', ''],
      ['boolean', false],
    ],
    defaultFilter,
  ),
  filter(
    'd',
    [
      ['default_value', ''],
      ['boolean', false],
    ],
    defaultFilter,
  ),
  filter('first', [], first),
  filter('last', [], last),
  filter('list', [], (value) => [...listOf(value)]),
  filter('items', [], (value) => new Generator(pairs(value))),
  filter('reverse', [], reverse),
  filter(
    'join',
    [
      ['d', ''],
      ['attribute', null],
    ],
    (value, separator, attribute) => {
      const get = attributeGetter(attribute);
      return joinFilter(attribute === null ? value : listOf(value).map(get), separator);
    },
  ),
  filter(
    'sort',
    [
      ['reverse', false],
      ['case_sensitive', false],
      ['attribute', null],
    ],
    sortFilter,
  ),
  filter(
    'dictsort',
    [
      ['case_sensitive', false],
      ['by', 'key'],
      ['reverse', false],
    ],
    dictsort,
  ),
  filter('groupby', ['attribute', ['default', null], ['case_sensitive', false]], groupby),
  filter(
    'unique',
    [
      ['case_sensitive', false],
      ['attribute', null],
    ],
    unique,
  ),
  filter(
    'min',
    [
      ['case_sensitive', false],
      ['attribute', null],
    ],
    extreme(1),
  ),
  filter(
    'max',
    [
      ['case_sensitive', false],
      ['attribute', null],
    ],
    extreme(-1),
  ),
  filter(
    'sum',
    [
      ['attribute', null],
      ['start', 0],
    ],
    sum,
  ),
  filter('batch', ['linecount', ['fill_with', null]], batch),
  filter('slice', ['slices', ['fill_with', null]], slices),
  filter('attr', ['name'], attr),
  ['map', (value, args, keywords) => lazily(value, () => mapFunction(lookup, args, keywords))],
  ['select', selecting(true, false)],
  ['reject', selecting(false, false)],
  ['selectattr', selecting(true, true)],
  ['rejectattr', selecting(false, true)],
  ['random', () => refuse("the filter 'random'")],
];

function defaultFilter(value: Value, byDefault: Value, boolean: Value): Value {
  const isAbsent = value instanceof Undefined || (truthy(boolean) && !truthy(value));
  return isAbsent ? byDefault : value;
}
