/** How kernels are called: where they run, and how one is cancelled and watched. */
import type { BackendName } from '../core/addon/contract.js';
import type { Context } from '../core/context.js';
import type { JobOptions } from '../core/job.js';

/** Where an asynchronous kernel runs, how it is cancelled and watched. */
export interface KernelOptions extends JobOptions {
  /** Where it runs; default: the shared context on all processors. Its jobs run one after the other. */
  readonly context?: Context;
}

/** How a synchronous kernel runs. Default: the best kernels of this processor, one thread. */
export interface KernelSyncOptions {
  /** Takes backend and threads from a context; the call itself runs on the calling thread at once. */
  readonly context?: Context;
  /**
   * The implementation, e.g. 'reference64' for the oracle in double. Default: the context's, else the best of
   * this processor.
   */
  readonly backend?: BackendName;
  /** Default 1. Results do not depend on it. */
  readonly threads?: number;
}
