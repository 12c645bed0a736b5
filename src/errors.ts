/** The one way TypeScript code raises an error that callers can tell apart: TypeError | RangeError | Error with `.code`. */
import { createRequire } from 'node:module';

export type ErrorCode =
  | 'ERR_INVALID_ARG' | 'ERR_SHAPE' | 'ERR_DTYPE' | 'ERR_OUT_OF_MEMORY' | 'ERR_BACKEND_UNAVAILABLE' | 'ERR_CUDA' | 'ERR_BUSY'
  | 'ERR_DISPOSED' | 'ERR_UNSUPPORTED' | 'ERR_ABORTED' | 'ERR_IO' | 'ERR_CHECKPOINT' | 'ERR_REWARD' | 'ERR_REMOTE';

export interface CodedError extends Error {
  readonly code: ErrorCode;
}

/** Message form: `<function>: <name> <expected>, got <actual>` plus the remedy. */
export function codedError(code: ErrorCode, message: string, cause?: unknown): CodedError {
  const Type = code === 'ERR_INVALID_ARG' || code === 'ERR_DTYPE' ? TypeError : code === 'ERR_SHAPE' || code === 'ERR_OUT_OF_MEMORY' ? RangeError : Error;
  return Object.assign(new Type(message, cause === undefined ? undefined : { cause }), { code });
}

export function fail(code: ErrorCode, message: string, cause?: unknown): never {
  throw codedError(code, message, cause);
}

export const hasCode = (error: unknown, code: ErrorCode): boolean => (error as CodedError | undefined)?.code === code;

/** ` Did you mean 'numGenerations'?`, or nothing when no known name is near. */
export function suggestion(name: string, known: readonly string[]): string {
  if (known.length === 0) return '';
  // Loaded here: a CommonJS package costs every program that starts more than the mistakes are worth.
  const { closest, distance } = createRequire(import.meta.url)('fastest-levenshtein') as typeof import('fastest-levenshtein');
  const best = closest(name, known);
  return distance(name, best) <= Math.max(2, Math.floor(name.length / 3)) ? ` Did you mean '${best}'?` : '';
}
