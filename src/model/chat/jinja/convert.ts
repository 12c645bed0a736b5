/** Values of JavaScript as values of Python. */
import { refuse } from './errors.js';
import { Dict, PyFloat, type Value } from './values.js';

/** JavaScript puts such keys of an object first, whatever was written. */
const INDEX = /^(?:0|[1-9]\d*)$/;

/** What JavaScript writes without a fraction is an int. -0 can only have been a float. */
function toNumber(value: number): Value {
  if (Number.isSafeInteger(value)) return Object.is(value, -0) ? new PyFloat(value) : value;
  if (Number.isInteger(value))
    return refuse(`the integer ${value} beyond 2^53, whose last digits are lost (give a bigint)`);
  return new PyFloat(value);
}

/** Of plain data: what JSON has, Maps, and bigints. `undefined` is left out of objects, as JSON does. */
export function toPython(value: unknown, seen: readonly unknown[] = []): Value {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'number') return toNumber(value);
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (typeof value !== 'object') return refuse(`a ${typeof value} among the variables of a template`);
  if (value instanceof PyFloat) return value;
  if (seen.includes(value)) return refuse('a variable that holds itself');
  const path = [...seen, value];
  if (Array.isArray(value)) return value.map((item) => toPython(item, path));
  if (value instanceof Map)
    return Dict.of([...value].map(([key, item]) => [toPython(key, path), toPython(item, path)]));
  const dict = new Dict();
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  for (const [key, item] of entries) dict.set(key, toPython(item, path));
  const isReordered = entries.length > 1 && entries.some(([key]) => INDEX.test(key));
  if (isReordered)
    dict.unordered =
      "the order of an object's keys where some are integers (JavaScript moves those to the front; give a Map)";
  return dict;
}
