/**
 * The one way TypeScript code raises an error that callers can tell apart: TypeError | RangeError | Error
 * with `.code`.
 */
import { createRequire } from 'node:module';

/**
 * What went wrong, as `error.code`:
 * ERR_INVALID_ARG (TypeError) a value or an option · ERR_DTYPE (TypeError) a type of numbers · ERR_SHAPE
 * (RangeError) sizes that disagree · ERR_OUT_OF_MEMORY (RangeError) memory or a byte budget · ERR_BUSY arrays
 * or a trainer in use · ERR_DISPOSED an object after dispose() · ERR_UNSUPPORTED what has no meaning or no
 * implementation here · ERR_BACKEND_UNAVAILABLE a device or the addon · ERR_CUDA a call of CUDA · ERR_IO a
 * file or directory · ERR_CHECKPOINT a training state · ERR_REWARD a reward function · ERR_REMOTE a server ·
 * ERR_ABORTED never reaches callers: a cancelled call rejects with its signal's reason.
 */
export type ErrorCode =
  | 'ERR_INVALID_ARG'
  | 'ERR_SHAPE'
  | 'ERR_DTYPE'
  | 'ERR_OUT_OF_MEMORY'
  | 'ERR_BACKEND_UNAVAILABLE'
  | 'ERR_CUDA'
  | 'ERR_BUSY'
  | 'ERR_DISPOSED'
  | 'ERR_UNSUPPORTED'
  | 'ERR_ABORTED'
  | 'ERR_IO'
  | 'ERR_CHECKPOINT'
  | 'ERR_REWARD'
  | 'ERR_REMOTE';

/**
 * Every error of this package; the message names the function, what was expected, what came, and the remedy.
 */
export interface CodedError extends Error {
  readonly code: ErrorCode;
}

/** Message form: `<function>: <name> <expected>, got <actual>` plus the remedy. */
export function codedError(code: ErrorCode, message: string, cause?: unknown): CodedError {
  const Type =
    code === 'ERR_INVALID_ARG' || code === 'ERR_DTYPE'
      ? TypeError
      : code === 'ERR_SHAPE' || code === 'ERR_OUT_OF_MEMORY'
        ? RangeError
        : Error;
  return Object.assign(new Type(message, cause === undefined ? undefined : { cause }), { code });
}

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
  const best = begun.length === 1 ? begun[0]! : closest(name, known);
  return begun.length === 1 || distance(name, best) <= Math.max(2, Math.floor(name.length / 3))
    ? ` Did you mean '${best}'?`
    : '';
}
