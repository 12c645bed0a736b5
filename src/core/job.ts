/** Runs a native job as a promise that an AbortSignal can end. */
import { setMaxListeners } from 'node:events';

import type { NativeJob, NativeProgress } from './addon/contract.js';

/** What every asynchronous call takes: a way to cancel it and to watch it. */
export interface JobOptions {
  /**
   * Aborting rejects with the signal's reason within about 50 ms; state that outlives the call is left as it
   * was.
   */
  readonly signal?: AbortSignal | undefined;
  /** Latest-value progress in units of the call (tokens, rows, steps). */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

export async function runJob<T>(
  options: JobOptions | undefined,
  start: (onProgress?: NativeProgress) => NativeJob<T>,
): Promise<T> {
  const { signal, onProgress } = options ?? {};
  signal?.throwIfAborted();
  const job = start(onProgress);
  if (!signal) return job.promise;
  const cancel = () => job.cancel();
  // One call may have many jobs in the queue, and each listens.
  setMaxListeners(0, signal);
  signal.addEventListener('abort', cancel, { once: true });
  try {
    return await job.promise;
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', cancel);
  }
}
