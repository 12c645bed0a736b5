/**
 * Contexts, jobs and tensors.
 * Part of the contract of the .node file (../contract.ts).
 */
import type { RealArray } from './arrays.js';

/**
 * A column of the op table: plain loops in float32 or float64, CPU kernels by instruction set ('base': any
 * processor), or CUDA.
 */
export type BackendName = 'reference32' | 'reference64' | 'base' | 'avx2' | 'avx512' | 'cuda';

/**
 * How matrix products are done: exactly, or with rounded operands: for the tensor cores (backend 'cuda'), or
 * in 'bf16' for AVX512_BF16 ('avx512', where the processor has it). Other backends ignore it.
 */
export type NativeMath = 'fp32' | 'tf32' | 'bf16';

/**
 * Work queued on a context's thread, in order. `cancel()` makes the promise reject with code ERR_ABORTED at
 * the next checkpoint.
 */
export interface NativeJob<T> {
  readonly promise: Promise<T>;
  cancel(): void;
}

/** Coalesced: the latest value, not every one. */
export type NativeProgress = (done: number, total: number) => void;

export interface NativeContext {
  readonly backend: BackendName;
  readonly threads: number;
  /** Live tensors and their bytes; bytes of the arena now and at its peak since the last call. */
  memory(): { tensors: number; tensorBytes: number; arenaBytes: number; arenaPeakBytes: number };
  dispose(): void;
}

export interface NativeContextOptions {
  readonly backend?: BackendName;
  readonly threads?: number;
  /** Backend 'cuda' only. */
  readonly deviceIndex?: number;
  readonly math?: NativeMath;
}

export interface NativeTensor {
  readonly shape: readonly number[];
  readonly dtype: 'float32' | 'float64';
  readonly disposed: boolean;
  data(): NativeJob<RealArray>;
  dispose(): void;
}
