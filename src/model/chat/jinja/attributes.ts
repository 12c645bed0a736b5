/** Attributes, items and slices, with what jinja2's sandbox hides. */
import { raise, refuse } from './errors.js';
import { bindMethod } from './methods/index.js';
import { repr } from './printing.js';
import { codePoints, hasPairs } from './text.js';
import {
  Dict,
  isIntegral,
  isText,
  Markup,
  Namespace,
  Range,
  Structure,
  textOf,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values.js';

const ACCESS = { attribute: getAttribute, item: getItem };

function absent(object: Value, name: Value): Undefined {
  const shown = typeof name === 'string' ? `attribute '${name}'` : `element ${repr(name)}`;
  return new Undefined(`'${typeName(object)}' object has no ${shown}`);
}

/** `object.name`: an attribute, or an item of that name. */
export function getAttribute(object: Value, name: string): Value {
  if (object instanceof Undefined) return ofUndefined(object, name);
  if (object instanceof Namespace) return ofNamespace(object, name);
  if (object instanceof Structure) return ofStructure(object, name);
  const attribute = bindMethod(object, name, ACCESS);
  if (attribute !== undefined) return attribute;
  const item = object instanceof Dict ? object.get(name) : undefined;
  return item === undefined ? absent(object, name) : item;
}

/** `object[key]`: an item, or an attribute of that name. */
export function getItem(object: Value, key: Value): Value {
  if (object instanceof Undefined) return object.fail();
  const item = itemOf(object, key);
  if (item !== undefined) return item;
  if (!isText(key)) return absent(object, key);
  const name = textOf(key);
  if (object instanceof Namespace) return ofNamespace(object, name);
  if (object instanceof Structure) return ofStructure(object, name);
  const attribute = bindMethod(object, name, ACCESS);
  return attribute === undefined ? absent(object, name) : attribute;
}

function ofUndefined(object: Undefined, name: string): Value {
  const isDunder = name.startsWith('__') && name.endsWith('__');
  if (isDunder) return refuse(`the attribute '${name}' of an undefined value`);
  return object.fail();
}

function ofNamespace({ values }: Namespace, name: string): Value {
  if (name.startsWith('_')) return refuse(`the attribute '${name}' of a namespace`);
  const value = values.get(name);
  return value === undefined ? new Undefined(`'Namespace' object has no attribute '${name}'`) : value;
}

function ofStructure(object: Structure, name: string): Value {
  if (name.startsWith('_')) return refuse(`the attribute '${name}' of ${object.name}`);
  const attribute = object.attributes[name];
  return attribute === undefined ? absent(object, name) : attribute();
}

/** undefined: Python raises a TypeError or a LookupError. */
function itemOf(object: Value, key: Value): Value | undefined {
  if (object instanceof Dict) {
    const isUnhashable = Array.isArray(key) || key instanceof Dict;
    return isUnhashable ? undefined : object.get(key);
  }
  if (!isIntegral(key)) return undefined;
  const index = Number(key);
  if (Array.isArray(object)) return at(object, index);
  if (object instanceof Tuple) return at(object.items, index);
  if (typeof object === 'string') return characterAt(object, index);
  if (object instanceof Markup) return refuse('a character of escaped text');
  if (object instanceof Range) {
    const position = index < 0 ? index + object.length : index;
    return position >= 0 && position < object.length ? object.at(position) : undefined;
  }
  return undefined;
}

function at(items: readonly Value[], index: number): Value | undefined {
  return items[index < 0 ? index + items.length : index];
}

function characterAt(text: string, index: number): string | undefined {
  if (hasPairs(text)) return at(codePoints(text), index) as string | undefined;
  return text[index < 0 ? index + text.length : index];
}

// ---- slices -----------------------------------------------------------------------------------------------

function indexOrNone(value: Value): number | undefined {
  if (value === null) return undefined;
  if (value instanceof Undefined || !isIntegral(value))
    return raise('TypeError', 'slice indices must be integers or None or have an __index__ method');
  return Number(value);
}

/** The positions of a slice in a sequence of `length`. */
function positions(length: number, start: Value, stop: Value, step: Value): number[] {
  const by = indexOrNone(step) ?? 1;
  if (by === 0) raise('ValueError', 'slice step cannot be zero');
  const lowest = by > 0 ? 0 : -1;
  const highest = by > 0 ? length : length - 1;
  const clamp = (index: number | undefined, byDefault: number): number => {
    if (index === undefined) return byDefault;
    const position = index < 0 ? index + length : index;
    return Math.min(Math.max(position, lowest), highest);
  };
  const from = clamp(indexOrNone(start), by > 0 ? lowest : highest);
  const to = clamp(indexOrNone(stop), by > 0 ? highest : lowest);
  const found: number[] = [];
  for (let i = from; by > 0 ? i < to : i > to; i += by) found.push(i);
  return found;
}

export function getSlice(object: Value, start: Value, stop: Value, step: Value): Value {
  if (object instanceof Undefined) return object.fail();
  if (typeof object === 'string') return sliceText(object, start, stop, step);
  if (Array.isArray(object)) return positions(object.length, start, stop, step).map((i) => object[i]);
  if (object instanceof Tuple) {
    const { items } = object;
    return new Tuple(positions(items.length, start, stop, step).map((i) => items[i]));
  }
  if (object instanceof Markup) return refuse('a slice of escaped text');
  if (object instanceof Range) return refuse('a slice of a range');
  if (object instanceof Dict) return raise('TypeError', "unhashable type: 'slice'");
  return raise('TypeError', `'${typeName(object)}' object is not subscriptable`);
}

function sliceText(text: string, start: Value, stop: Value, step: Value): string {
  const isWhole = hasPairs(text);
  if (!isWhole && step === null) {
    const from = indexOrNone(start);
    const to = indexOrNone(stop);
    return text.slice(from, to);
  }
  const characters = isWhole ? codePoints(text) : text;
  return positions(characters.length, start, stop, step)
    .map((i) => characters[i])
    .join('');
}
