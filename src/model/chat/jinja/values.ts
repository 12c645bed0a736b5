/**
 * The values of Python that a template handles.
 *
 * None is null, a bool a boolean, a str a string, a list an array. An int is a number, or a bigint beyond
 * 2^53; a float is a PyFloat, so that 1 and 1.0 stay apart.
 */
import { raise, refuse } from './errors.js';

export type Value = unknown;
export type Keywords = ReadonlyMap<string, Value>;

export class PyFloat {
  constructor(readonly value: number) {}
}

export class Tuple {
  constructor(readonly items: readonly Value[]) {}
}

/** What groupby gives: (grouper, list), with these names as attributes. */
export class GroupTuple extends Tuple {}

/** A str that must not be escaped again; only the filters that deal with HTML make them. */
export class Markup {
  constructor(readonly text: string) {}
}

/** Stands for what is not there: prints nothing, is false and empty, and fails in all other uses. */
export class Undefined {
  constructor(
    readonly message: string,
    readonly type: 'UndefinedError' | 'SecurityError' = 'UndefinedError',
  ) {}
  fail(): never {
    raise(this.type, this.message);
  }
}

/** What can be called: a global, a bound method, a macro. */
export class Callable {
  constructor(
    readonly name: string,
    readonly call: (args: readonly Value[], keywords: Keywords) => Value,
  ) {}
}

/** namespace(): the one object that a template can change. */
export class Namespace {
  constructor(readonly values: Map<string, Value>) {}
}

/** An object whose attributes alone matter (loop, cycler, joiner). */
export class Structure {
  constructor(
    readonly name: string,
    readonly attributes: Readonly<Record<string, () => Value>>,
  ) {}
}

/** What can be walked over once, and lazily: a generator, or an iterator. */
export class Generator {
  constructor(readonly iterator: Iterator<Value>) {}
}

export class Range {
  readonly length: number;
  constructor(
    readonly start: number,
    readonly stop: number,
    readonly step: number,
  ) {
    this.length = Math.max(0, Math.ceil((stop - start) / step));
  }
  at(index: number): number {
    return this.start + index * this.step;
  }
}

/** dict.keys(), values() and items(). */
export class View {
  constructor(
    readonly kind: 'keys' | 'values' | 'items',
    readonly dict: Dict,
  ) {}
  list(): Value[] {
    if (this.kind === 'keys') return this.dict.keys();
    if (this.kind === 'values') return this.dict.entries().map(([, value]) => value);
    return this.dict.entries().map(([key, value]) => new Tuple([key, value]));
  }
}

type Key = string | number | bigint | null;

/** Equal keys of Python (1, 1.0 and True) are the same key. */
export function keyOf(value: Value): Key {
  if (typeof value === 'string' || typeof value === 'number' || value === null) return value;
  if (typeof value === 'boolean') return Number(value);
  if (typeof value === 'bigint') return value;
  if (value instanceof Markup) return value.text;
  if (value instanceof PyFloat && !Number.isNaN(value.value)) {
    const { value: number } = value;
    return Number.isInteger(number) && !Number.isSafeInteger(number) ? BigInt(number) : number + 0;
  }
  if (Array.isArray(value)) return raise('TypeError', "unhashable type: 'list'");
  if (value instanceof Dict) return raise('TypeError', "unhashable type: 'dict'");
  return refuse(`a key of type ${typeName(value)}`);
}

/** An ordered mapping. */
export class Dict {
  private readonly map = new Map<Key, readonly [Value, Value]>();
  /**
   * Why the order of the keys is not known, where it is not: JavaScript moves keys that are integers to the
   * front of an object. What depends on the order is refused.
   */
  unordered: string | undefined;

  static of(entries: Iterable<readonly [Value, Value]>): Dict {
    const dict = new Dict();
    for (const [key, value] of entries) dict.set(key, value);
    return dict;
  }
  get size(): number {
    return this.map.size;
  }
  set(key: Value, value: Value): void {
    const hash = keyOf(key);
    const known = this.map.get(hash);
    this.map.set(hash, [known === undefined ? key : known[0], value]);
  }
  get(key: Value): Value | undefined {
    return this.map.get(keyOf(key))?.[1];
  }
  has(key: Value): boolean {
    return this.map.has(keyOf(key));
  }
  /** In their order. */
  entries(): (readonly [Value, Value])[] {
    if (this.unordered !== undefined) refuse(this.unordered);
    return [...this.map.values()];
  }
  keys(): Value[] {
    return this.entries().map(([key]) => key);
  }
  /** In any order. */
  unorderedEntries(): IterableIterator<readonly [Value, Value]> {
    return this.map.values();
  }
}

// ---- kinds ------------------------------------------------------------------------------------------------

export const isInt = (value: Value): value is number | bigint =>
  typeof value === 'number' || typeof value === 'bigint';

/** An int or a bool, which is an int in Python. */
export const isIntegral = (value: Value): value is number | bigint | boolean =>
  isInt(value) || typeof value === 'boolean';

export const isNumeric = (value: Value): value is number | bigint | boolean | PyFloat =>
  isIntegral(value) || value instanceof PyFloat;

export const isText = (value: Value): value is string | Markup =>
  typeof value === 'string' || value instanceof Markup;

/** The characters of a str or of a Markup, which is one. */
export const textOf = (value: string | Markup): string => (typeof value === 'string' ? value : value.text);

/** As a number of JavaScript, for arithmetic in floats. */
export function toNumber(value: number | bigint | boolean | PyFloat): number {
  return value instanceof PyFloat ? value.value : Number(value);
}

/** The one form of an int: a number where that is exact. */
export function integer(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

export function typeName(value: Value): string {
  if (value === null) return 'NoneType';
  if (typeof value === 'boolean') return 'bool';
  if (isInt(value)) return 'int';
  if (typeof value === 'string') return 'str';
  if (Array.isArray(value)) return 'list';
  if (value instanceof PyFloat) return 'float';
  if (value instanceof Tuple) return 'tuple';
  if (value instanceof Dict) return 'dict';
  if (value instanceof Markup) return 'Markup';
  if (value instanceof Undefined) return 'Undefined';
  if (value instanceof Range) return 'range';
  if (value instanceof View) return `dict_${value.kind}`;
  if (value instanceof Generator) return 'generator';
  if (value instanceof Namespace) return 'Namespace';
  if (value instanceof Callable) return 'function';
  if (value instanceof Structure) return value.name;
  return 'object';
}

export function truthy(value: Value): boolean {
  if (typeof value === 'boolean') return value;
  if (typeof value === 'string') return value !== '';
  if (typeof value === 'number') return value !== 0;
  if (value === null || value instanceof Undefined) return false;
  if (Array.isArray(value)) return value.length > 0;
  if (value instanceof Dict) return value.size > 0;
  if (value instanceof Tuple) return value.items.length > 0;
  if (value instanceof PyFloat) return value.value !== 0;
  if (value instanceof Markup) return value.text !== '';
  if (value instanceof Range) return value.length > 0;
  if (value instanceof View) return value.dict.size > 0;
  if (typeof value === 'bigint') return value !== 0n;
  if (value instanceof Structure && value.attributes['length'] !== undefined)
    return truthy(value.attributes['length']());
  return true;
}

const listIterator = (items: readonly Value[]): Iterator<Value> => items[Symbol.iterator]();

function* numbersOf(range: Range): Generator_ {
  for (let i = 0; i < range.length; ++i) yield range.at(i);
}
type Generator_ = globalThis.Generator<Value>;

/** iter(value); undefined where Python raises TypeError. */
export function iteratorOf(value: Value): Iterator<Value> | undefined {
  if (Array.isArray(value)) return listIterator(value);
  if (typeof value === 'string') return value[Symbol.iterator]();
  if (value instanceof Tuple) return listIterator(value.items);
  if (value instanceof Dict) return listIterator(value.keys());
  if (value instanceof View) return listIterator(value.list());
  if (value instanceof Generator) return value.iterator;
  if (value instanceof Range) return numbersOf(value);
  if (value instanceof Undefined) return listIterator([]);
  if (value instanceof Markup) return refuse('iterating over escaped text');
  if (value instanceof Structure && value.name === 'LoopContext') return refuse('iterating over loop');
  return undefined;
}

export const iterate = (value: Value): Iterator<Value> =>
  iteratorOf(value) ?? raise('TypeError', `'${typeName(value)}' object is not iterable`);

/** list(value). The result may be the value itself: lists of a template never change. */
export function listOf(value: Value): readonly Value[] {
  if (Array.isArray(value)) return value;
  if (value instanceof Tuple) return value.items;
  const iterator = iterate(value);
  const items: Value[] = [];
  for (let next = iterator.next(); !next.done; next = iterator.next()) items.push(next.value);
  return items;
}
