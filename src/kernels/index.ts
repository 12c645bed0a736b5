/**
 * kernels.<op> and kernels.<op>Sync: every op of the table on typed arrays, by the op's own name
 * (`kernels.token_gram`, `kernels.token_gramSync`). Made from the addon's op table, so an op added natively
 * is here without a line.
 */
import { checkNames, checkOptions, choice, count, JOB, type Rules } from '../core/check.js';
import { type Context, contextRule, defaultContext } from '../core/context.js';
import { type JobOptions, runJob } from '../core/job.js';
import { addon } from '../core/addon/addon.js';
import type { BackendName, KernelArgs, KernelResult } from '../core/addon/contract.js';
import { packedCall } from './pack.js';
import type { Kernels } from './generated.js';

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

const ASYNC: Rules = { ...JOB, context: contextRule };
const SYNC: Rules = {
  context: contextRule,
  backend: choice('reference32', 'reference64', 'base', 'avx2', 'avx512', 'cuda'),
  threads: count,
};

type Call = (args: KernelArgs, options?: KernelOptions) => Promise<KernelResult>;
type SyncCall = (args: KernelArgs, options?: KernelSyncOptions) => KernelResult;

function make(): Kernels {
  const table: Record<string, Call | SyncCall> = {};
  for (const op of addon.ops) {
    const fields = op.fields.map((field) => field.name);
    // The rest of the arguments native code judges.
    const checkArguments = (args: KernelArgs) =>
      checkNames(op.name, Object.keys(args ?? {}), fields, 'argument');
    table[op.name] = async (args: KernelArgs, options?: KernelOptions) => {
      checkOptions(`kernels.${op.name}`, options, ASYNC);
      checkArguments(args);
      const context = options?.context ?? defaultContext();
      return runJob(options, (onProgress) => op.run(context.native, args, onProgress));
    };
    const packed = packedCall(op);
    table[`${op.name}Sync`] = (args: KernelArgs, options?: KernelSyncOptions) => {
      if (options === undefined && args !== null && typeof args === 'object') {
        const result = packed(args);
        if (result !== undefined) return result;
      }
      checkOptions(`kernels.${op.name}Sync`, options, SYNC);
      checkArguments(args);
      const { context, backend = context?.backend, threads = context?.threads } = options ?? {};
      return op.runSync(args, {
        ...(backend !== undefined ? { backend } : {}),
        ...(threads !== undefined ? { threads } : {}),
      });
    };
  }
  return Object.freeze(table) as unknown as Kernels;
}

/**
 * Ops on typed arrays. A tensor argument is `{ data, shape }` (row-major; `strides` and `offset` in elements
 * are optional), or a bare typed array for one of rank 1. Outputs whose size follows from the inputs may be
 * left out: they are allocated; optional outputs are asked for with `true`.
 *
 * `kernels.<op>` runs on a context's own thread and uses the arrays in place: until its promise settles
 * nobody may write what it reads or touch what it writes (ERR_BUSY), nor transfer those buffers to another
 * thread. `kernels.<op>Sync` runs on the calling thread.
 * @throws ERR_INVALID_ARG, ERR_SHAPE, ERR_DTYPE, ERR_BUSY, ERR_OUT_OF_MEMORY; asynchronous, the reason of an
 * aborted `signal`
 */
export const kernels: Kernels = make();
