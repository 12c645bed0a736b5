/**
 * The one way TypeScript code raises an error that callers can tell apart: TypeError | RangeError | Error
 * with `.code`.
 */
import { createRequire } from 'node:module';

/** What went wrong, as `error.code`. */
export type ErrorCode =
  /** A value or an option (a TypeError). */
  | 'ERR_INVALID_ARG'
  /** Sizes that disagree (a RangeError). */
  | 'ERR_SHAPE'
  /** A type of numbers (a TypeError). */
  | 'ERR_DTYPE'
  /** Memory, or a byte budget (a RangeError). */
  | 'ERR_OUT_OF_MEMORY'
  /** A device, or the addon. */
  | 'ERR_BACKEND_UNAVAILABLE'
  /** A call of CUDA. */
  | 'ERR_CUDA'
  /** Arrays or a trainer in use. */
  | 'ERR_BUSY'
  /** An object after dispose(). */
  | 'ERR_DISPOSED'
  /** What has no meaning, or no implementation, here. */
  | 'ERR_UNSUPPORTED'
  /** Never reaches callers: a cancelled call rejects with its signal's reason. */
  | 'ERR_ABORTED'
  /** A file or directory. */
  | 'ERR_IO'
  /** A training state. */
  | 'ERR_CHECKPOINT'
  /** A reward function. */
  | 'ERR_REWARD'
  /** A server. */
  | 'ERR_REMOTE';

type ErrorType = typeof TypeError | typeof RangeError | typeof Error;
const TYPES: Partial<Record<ErrorCode, ErrorType>> = {
  ERR_INVALID_ARG: TypeError,
  ERR_DTYPE: TypeError,
  ERR_SHAPE: RangeError,
  ERR_OUT_OF_MEMORY: RangeError,
};

/**
 * Every error of this package; the message names the function, what was expected, what came, and the remedy.
 */
export interface CodedError extends Error {
  readonly code: ErrorCode;
}

/** Message form: `<function>: <name> <expected>, got <actual>` plus the remedy. */
export function codedError(code: ErrorCode, message: string, cause?: unknown): CodedError {
  const Type = TYPES[code] ?? Error;
  const error = cause === undefined ? new Type(message) : new Type(message, { cause });
  return Object.assign(error, { code });
}

/** Throws a coded error. */
export function fail(code: ErrorCode, message: string, cause?: unknown): never {
  throw codedError(code, message, cause);
}

export const hasCode = (error: unknown, code: ErrorCode): boolean =>
  (error as CodedError | undefined)?.code === code;

/** ` Did you mean 'numGenerations'?`, or nothing when no known name is near. */
export function suggestion(name: string, known: readonly string[]): string {
  if (known.length === 0) return '';
  // Loaded here: a CommonJS package costs every program that starts more than the mistakes are worth.
  const { closest, distance } = createRequire(import.meta.url)(
    'fastest-levenshtein',
  ) as typeof import('fastest-levenshtein');
  // The beginning of one name alone is meant for that name, however long its rest.
  const begun = name.length >= 3 ? known.filter((one) => one.startsWith(name)) : [];
  if (begun.length === 1) return ` Did you mean '${begun[0]}'?`;
  const nearest = closest(name, known);
  const typos = Math.max(2, Math.floor(name.length / 3));
  return distance(name, nearest) <= typos ? ` Did you mean '${nearest}'?` : '';
}
