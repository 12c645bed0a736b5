/** What filters are made of. */
import { bind, type ParameterNames } from '../calls.js';
import { raise } from '../errors.js';
import { stringOf } from '../printing.js';
import {
  isIntegral,
  isText,
  type Keywords,
  Markup,
  textOf,
  typeName,
  Undefined,
  type Value,
} from '../values.js';
import { refuse } from '../errors.js';

export type Filter = (value: Value, args: readonly Value[], keywords: Keywords) => Value;
export type Entry = [name: string, filter: Filter];

/** A filter whose arguments are bound to parameters. */
export function filter(
  name: string,
  parameters: ParameterNames,
  apply: (value: Value, ...args: readonly Value[]) => Value,
): Entry {
  return [name, (value, args, keywords) => apply(value, ...bind(name, parameters, args, keywords))];
}

/** soft_str(value), which leaves escaped text as it is: refused where that would matter. */
export function softText(value: Value, name: string): string {
  return value instanceof Markup ? refuse(`the filter '${name}' of escaped text`) : stringOf(value);
}

/** A str that a filter does not convert. */
export function strictText(value: Value, name: string): string {
  if (value instanceof Markup) return refuse(`the filter '${name}' of escaped text`);
  if (value instanceof Undefined) return value.fail();
  if (!isText(value)) return raise('TypeError', `the filter '${name}' needs a str, got ${typeName(value)}`);
  return textOf(value);
}

export function toInteger(value: Value): number {
  if (value instanceof Undefined) return value.fail();
  if (!isIntegral(value))
    return raise('TypeError', `'${typeName(value)}' object cannot be interpreted as an integer`);
  return Number(value);
}
