/**
 * The one way to refuse an argument.
 *
 * A rule says what a value must be: words for the error message, and a test. A function writes down the rules
 * of its options by name, beside its code, and begins with checkOptions():
 *
 *     const OPTIONS: Rules = { ...JOB, samples: required(count), temperature: TEMPERATURE };
 *     checkOptions('evaluate', options, OPTIONS);
 *     // evaluate: samples must be a positive integer, got 1.5
 *     // evaluate: there is no option 'temprature'. Did you mean 'temperature'?
 *
 * check() is for a single argument. Every message names the function, what was expected and what came.
 */
import { fail, suggestion } from '../errors.js';

/** What a value must be. */
export interface Rule {
  /** Completes `<name> must be …`. */
  readonly expected: string;
  accepts(value: unknown): boolean;
  /** Of an option that must be given. Others may be left out, or be undefined. */
  readonly required?: boolean;
}
/** Rules by the names of options, fields or arguments. */
export type Rules<Name extends string = string> = Readonly<Record<Name, Rule>>;

// ---- making rules -----------------------------------------------------------------------------------------

export const rule = (expected: string, accepts: (value: unknown) => boolean): Rule => ({ expected, accepts });
export const required = (one: Rule): Rule => ({ ...one, required: true });
export const orNull = ({ expected, accepts }: Rule): Rule =>
  rule(`${expected} or null`, (value) => value === null || accepts(value));

const integer = (expected: string, least: number): Rule =>
  rule(expected, (value) => Number.isSafeInteger(value) && (value as number) >= least);
const number = (expected: string, holds: (value: number) => boolean): Rule =>
  rule(expected, (value) => typeof value === 'number' && Number.isFinite(value) && holds(value));

/** An array whose items all pass. */
export const listOf = (expected: string, accepts: (value: unknown) => boolean): Rule =>
  rule(expected, (value) => Array.isArray(value) && value.every(accepts));
export const instance = (expected: string, type: abstract new (...args: never[]) => object): Rule =>
  rule(expected, (value) => value instanceof type);

/** One of some words. */
export function choice(...values: readonly string[]): Rule {
  const quoted = values.map((value) => `'${value}'`);
  const last = quoted.pop()!;
  const expected = quoted.length === 0 ? last : `${quoted.join(', ')} or ${last}`;
  return rule(expected, (value) => values.includes(value as string));
}

// ---- rules ------------------------------------------------------------------------------------------------

/** For what is judged later, in words of its own. */
export const anything: Rule = rule('anything', () => true);

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
/** An array or a typed array. */
export const arrayLike: Rule = rule(
  'an array',
  (value) => Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView)),
);
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

// ---- rules that several functions share ------------------------------------------------------------------

/**
 * What sampling takes, in the ranges of the trainers' options; a distribution that is only read has no greedy
 * limit.
 */
export const TEMPERATURE: Rule = { ...positive };
export const SAMPLING: Rules = {
  temperature: rule('a number ≥ 0 (0 = greedy)', nonNegative.accepts),
  topP: number('a number in (0, 1]', (value) => value > 0 && value <= 1),
  topK: rule('an integer ≥ 0 (0 = all)', natural.accepts),
  minP: number('a number in [0, 1]', (value) => value >= 0 && value <= 1),
};

const isSignal = (value: unknown): boolean =>
  typeof (value as AbortSignal | null)?.addEventListener === 'function' &&
  'aborted' in (value as AbortSignal);

export const SIGNAL = { signal: rule('an AbortSignal', isSignal) } satisfies Rules;

/** What every asynchronous call takes (job.ts). */
export const JOB: Rules = { ...SIGNAL, onProgress: func };

// ---- checking ---------------------------------------------------------------------------------------------

/** @throws ERR_INVALID_ARG unless the rule holds. */
export function check(caller: string, name: string, value: unknown, { expected, accepts }: Rule): void {
  if (!accepts(value)) fail('ERR_INVALID_ARG', `${caller}: ${name} must be ${expected}, got ${shown(value)}`);
}

/** What to do instead of giving a name that has no meaning here, if anything is known. */
export type Instead = (name: string) => string | undefined;

/**
 * @throws ERR_INVALID_ARG for a name that is not known: with what to do instead, or the nearest known name.
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
    const rest = remedy === undefined ? `.${suggestion(name, known)}` : `: ${remedy}`;
    fail('ERR_INVALID_ARG', `${caller}: there is no ${noun} '${name}'${rest}`);
  }
}

/** The words of messages about an object of named values. */
interface Wording {
  /** What the object itself is called. Default 'options'. */
  readonly argument?: string;
  /** What each of its values is called. Default 'option'. */
  readonly noun?: string;
  readonly instead?: Instead;
}

/**
 * Checks options, or another argument that is an object of named values: unknown names first, then every
 * value. A value that is undefined counts as not given.
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
  for (const [name, one] of Object.entries(rules)) {
    const value = (values as Readonly<Record<string, unknown>>)[name];
    if (value !== undefined || one.required) check(caller, name, value, one);
  }
}

// ---- messages ---------------------------------------------------------------------------------------------

const SHOWN_CHARACTERS = 60;
const SHOWN_ITEMS = 4;

/** A value as messages show it: short ones whole, others by their kind. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return shownText(value);
  if (typeof value === 'function') return isClass(value) ? `the class ${value.name}` : 'a function';
  if (typeof value !== 'object' || value === null || value instanceof RegExp) return String(value);
  if (Array.isArray(value)) return shownArray(value);
  const { name } = (value as { constructor?: { name?: string } }).constructor ?? {};
  if (name && name !== 'Object') return `${/^[AEIOU]/.test(name) ? 'an' : 'a'} ${name}`;
  return shownObject(value);
}

function shownText(text: string): string {
  return text.length > SHOWN_CHARACTERS ? `'${text.slice(0, SHOWN_CHARACTERS)}…'` : `'${text}'`;
}

const isClass = (value: object): boolean => /^class\b/.test(Function.prototype.toString.call(value));

function shownArray(items: readonly unknown[]): string {
  const plain = items.every((item) => typeof item === 'number' || typeof item === 'string');
  return plain && items.length <= SHOWN_ITEMS ? JSON.stringify(items) : 'an array';
}

function shownObject(value: object): string {
  const keys = Object.keys(value);
  if (keys.length === 0) return 'an empty object';
  const rest = keys.length > SHOWN_ITEMS ? ', …' : '';
  return `an object { ${keys.slice(0, SHOWN_ITEMS).join(', ')}${rest} }`;
}
