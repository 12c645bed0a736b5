/**
 * The ops, one by one.
 * Part of the contract of the .node file (../contract.ts).
 */
import type { ArrayView, NativeArray } from './arrays.js';
import type { BackendName, NativeContext, NativeJob, NativeMath, NativeProgress } from './runtime.js';

/** One argument of an op, as its C++ field list describes it (native/ops/fields.h). */
export interface FieldDescription {
  readonly name: string;
  readonly kind: 'in' | 'out' | 'inout' | 'number' | 'integer' | 'flag' | 'choice';
  readonly default?: number | boolean | string;
  readonly choices?: readonly string[];
  /**
   * Tensors only: dimension names ("N C"), element type ('real' = float32, or float64 with a float64
   * backend).
   */
  readonly dims?: string;
  readonly dtype?: 'real' | 'int32' | 'uint8' | 'float64';
  readonly optional?: boolean;
  readonly strided?: boolean;
  /** May also be given as bfloat16 (a Uint16Array). */
  readonly bfloat16?: boolean;
}

export type KernelValue = NativeArray | ArrayView | number | boolean | string | null | undefined;

export type KernelArgs = Readonly<Record<string, KernelValue>>;

export type KernelResult = Record<string, ArrayView>;

export interface NativeOp {
  /** The row of the op table, e.g. 'norm'. */
  readonly op: string;
  /** This entry point, e.g. 'norm_backward'. */
  readonly name: string;
  readonly fields: readonly FieldDescription[];
  readonly backends: readonly BackendName[];
  runSync(
    args: KernelArgs,
    options?: { backend?: BackendName; threads?: number; math?: NativeMath },
  ): KernelResult;
  /** Runs the call and returns the scratch bytes that it used. */
  workspaceBytes(args: KernelArgs, options?: { backend?: BackendName; threads?: number }): number;
  run(context: NativeContext, args: KernelArgs, onProgress?: NativeProgress): NativeJob<KernelResult>;
  /**
   * Backend 'cuda': device seconds of each of `count` calls (20; fewer, but at least 3, if they would take
   * more than maxSeconds) after some that warm up, and their scratch memory; all operands but indices are on
   * the device.
   */
  deviceTimes(
    args: KernelArgs,
    options: { backend: 'cuda'; math?: NativeMath; count?: number; maxSeconds?: number },
  ): { readonly seconds: Float64Array; readonly workspaceBytes: number };
  /** runSync on the best CPU backend and one thread, of a call packed by kernels/pack.ts. */
  runPacked(frame: Float64Array, ...arrays: NativeArray[]): void;
  cost(args: KernelArgs): { flops: number; bytes: number };
}
