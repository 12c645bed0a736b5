/**
 * kernels.<op> and kernels.<op>Sync: every op of the table on typed arrays, by the op's own name
 * (`kernels.token_gram`, `kernels.token_gramSync`). Made from the addon's op table, so an op added natively
 * is here without a line.
 */
import { addon } from '../core/addon/addon.js';
import type { KernelArgs, KernelResult, NativeOp } from '../core/addon/contract.js';
import { checkNames, checkOptions, choice, count, JOB, type Rules } from '../core/check.js';
import { contextRule, defaultContext } from '../core/context.js';
import { runJob } from '../core/job.js';
import type { Kernels } from './generated.js';
import type { KernelOptions, KernelSyncOptions } from './kernelOptions.js';
import { packedCall } from './pack.js';

const ASYNC: Rules = { ...JOB, context: contextRule };
const SYNC: Rules = {
  context: contextRule,
  backend: choice('reference32', 'reference64', 'base', 'avx2', 'avx512', 'cuda'),
  threads: count,
};

type Call = (args: KernelArgs, options?: KernelOptions) => Promise<KernelResult>;
type SyncCall = (args: KernelArgs, options?: KernelSyncOptions) => KernelResult;

/** Unknown names are refused here; values are judged by native code, which knows sizes and types. */
function checkArguments(op: NativeOp, args: KernelArgs): void {
  const fields = op.fields.map((field) => field.name);
  checkNames(op.name, Object.keys(args ?? {}), fields, 'argument');
}

/** kernels.<op>: a job of a context. */
const asynchronous =
  (op: NativeOp): Call =>
  async (args, options) => {
    checkOptions(`kernels.${op.name}`, options, ASYNC);
    checkArguments(op, args);
    const context = options?.context ?? defaultContext();
    return runJob(options, (onProgress) => op.run(context.native, args, onProgress));
  };

/**
 * kernels.<op>Sync: on the calling thread; without options by the quick way, where the arguments allow it.
 */
function synchronous(op: NativeOp): SyncCall {
  const packed = packedCall(op);
  return (args, options) => {
    if (options === undefined && args !== null && typeof args === 'object') {
      const result = packed(args);
      if (result !== undefined) return result;
    }
    checkOptions(`kernels.${op.name}Sync`, options, SYNC);
    checkArguments(op, args);
    const { context, backend = context?.backend, threads = context?.threads } = options ?? {};
    return op.runSync(args, {
      ...(backend !== undefined ? { backend } : {}),
      ...(threads !== undefined ? { threads } : {}),
    });
  };
}

function makeKernels(): Kernels {
  const table: Record<string, Call | SyncCall> = {};
  for (const op of addon.ops) {
    table[op.name] = asynchronous(op);
    table[`${op.name}Sync`] = synchronous(op);
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
export const kernels: Kernels = makeKernels();
