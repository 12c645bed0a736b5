/**
 * The one way to refuse an argument: rules by name, beside the function that reads them. Errors name the
 * function, what was expected and what came.
 */
import { fail, suggestion } from '../errors.js';

export interface Rule {
  /** Completes `<name> must be …`. */
  readonly expected: string;
  accepts(value: unknown): boolean;
  readonly required?: boolean;
}
export type Rules<Name extends string = string> = Readonly<Record<Name, Rule>>;

export const rule = (expected: string, accepts: (value: unknown) => boolean): Rule => ({ expected, accepts });
export const required = (one: Rule): Rule => ({ ...one, required: true });
export const orNull = ({ expected, accepts }: Rule): Rule =>
  rule(`${expected} or null`, (value) => value === null || accepts(value));

/** For what is judged later, in words of its own. */
export const anything: Rule = rule('anything', () => true);

const integer = (expected: string, least: number): Rule =>
  rule(expected, (value) => Number.isSafeInteger(value) && (value as number) >= least);
const number = (expected: string, holds: (value: number) => boolean): Rule =>
  rule(expected, (value) => typeof value === 'number' && Number.isFinite(value) && holds(value));

export const count: Rule = integer('a positive integer', 1);
export const natural: Rule = integer('an integer ≥ 0', 0);
export const finite: Rule = number('a finite number', () => true);
export const positive: Rule = number('a positive number', (value) => value > 0);
export const nonNegative: Rule = number('a number ≥ 0', (value) => value >= 0);
export const flag: Rule = rule('true or false', (value) => typeof value === 'boolean');
export const text: Rule = rule('a non-empty string', (value) => typeof value === 'string' && value !== '');
export const string: Rule = rule('a string', (value) => typeof value === 'string');
export const func: Rule = rule('a function', (value) => typeof value === 'function');
export const list: Rule = rule('an array', Array.isArray);
export const arrayLike: Rule = rule(
  'an array',
  (value) => Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView)),
);
export const listOf = (expected: string, accepts: (value: unknown) => boolean): Rule =>
  rule(expected, (value) => Array.isArray(value) && value.every(accepts));
export const nonEmptyList: Rule = rule(
  'an array that is not empty',
  (value) => Array.isArray(value) && value.length > 0,
);
export const reals: Rule = rule(
  'a Float32Array or Float64Array',
  (value) => value instanceof Float32Array || value instanceof Float64Array,
);
const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value);
export const object: Rule = rule('an object', isObject);
export const url: Rule = rule(
  'an address that begins with http:// or https://',
  (value) => typeof value === 'string' && /^https?:\/\//.test(value),
);

export const choice = (...values: readonly string[]): Rule =>
  rule(
    values.length === 1
      ? `'${values[0]}'`
      : `${values
          .slice(0, -1)
          .map((value) => `'${value}'`)
          .join(', ')} or '${values.at(-1)}'`,
    (value) => values.includes(value as string),
  );
export const instance = (expected: string, type: abstract new (...args: never[]) => object): Rule =>
  rule(expected, (value) => value instanceof type);

/**
 * What sampling takes, in the ranges of the trainers' options; a distribution that is only read has no greedy
 * limit.
 */
export const TEMPERATURE: Rule = positive;
export const SAMPLING: Rules = {
  temperature: rule('a number ≥ 0 (0 = greedy)', nonNegative.accepts),
  topP: number('a number in (0, 1]', (value) => value > 0 && value <= 1),
  topK: rule('an integer ≥ 0 (0 = all)', natural.accepts),
  minP: number('a number in [0, 1]', (value) => value >= 0 && value <= 1),
};

export const SIGNAL = {
  signal: rule(
    'an AbortSignal',
    (value) =>
      typeof (value as AbortSignal | null)?.addEventListener === 'function' &&
      'aborted' in (value as AbortSignal),
  ),
} satisfies Rules;
export const JOB: Rules = { ...SIGNAL, onProgress: func };

/** A value as messages show it. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 60 ? `${value.slice(0, 60)}…` : value}'`;
  if (typeof value === 'function')
    return /^class\b/.test(Function.prototype.toString.call(value))
      ? `the class ${value.name}`
      : 'a function';
  if (typeof value !== 'object' || value === null || value instanceof RegExp) return String(value);
  if (Array.isArray(value))
    return value.length <= 4 && value.every((item) => typeof item === 'number' || typeof item === 'string')
      ? JSON.stringify(value)
      : 'an array';
  const { name } = (value as { constructor?: { name?: string } }).constructor ?? {};
  if (name && name !== 'Object') return `${/^[AEIOU]/.test(name) ? 'an' : 'a'} ${name}`;
  const keys = Object.keys(value);
  return keys.length === 0
    ? 'an empty object'
    : `an object { ${keys.slice(0, 4).join(', ')}${keys.length > 4 ? ', …' : ''} }`;
}

/** @throws ERR_INVALID_ARG unless the rule holds. */
export function check(caller: string, name: string, value: unknown, { expected, accepts }: Rule): void {
  if (!accepts(value)) fail('ERR_INVALID_ARG', `${caller}: ${name} must be ${expected}, got ${shown(value)}`);
}

/** What to do instead of giving a name that has no meaning here, if anything is known. */
export type Instead = (name: string) => string | undefined;

/**
 * @throws ERR_INVALID_ARG for a name that is not among `known`, with what to do instead or the nearest that
 * is.
 */
export function checkNames(
  caller: string,
  names: readonly string[],
  known: readonly string[],
  noun = 'option',
  instead?: Instead,
): void {
  for (const name of names) {
    if (known.includes(name)) continue;
    const remedy = instead?.(name);
    fail(
      'ERR_INVALID_ARG',
      `${caller}: there is no ${noun} '${name}'${remedy === undefined ? `.${suggestion(name, known)}` : `: ${remedy}`}`,
    );
  }
}

interface Wording {
  /** Of the object itself. */
  readonly argument?: string;
  /** Of what it holds. */
  readonly noun?: string;
  readonly instead?: Instead;
}

/**
 * Options, or another argument that is an object of named values: unknown names first, then every value.
 * undefined = not given.
 */
export function checkOptions(
  caller: string,
  options: unknown,
  rules: Rules,
  { argument = 'options', noun = 'option', instead }: Wording = {},
): void {
  const values = options === undefined ? {} : options;
  check(caller, argument, values, object);
  checkNames(caller, Object.keys(values as object), Object.keys(rules), noun, instead);
  for (const [name, each] of Object.entries(rules)) {
    const value = (values as Readonly<Record<string, unknown>>)[name];
    if (value !== undefined || each.required) check(caller, name, value, each);
  }
}
