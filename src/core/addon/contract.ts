/** The contract of the .node file, typed by hand in this one place, by concern in ./contract. */
import type { NativeArray } from './contract/arrays.js';
import type { NativeOp } from './contract/kernels.js';
import type { NativeModel } from './contract/model.js';
import type { ModelSpec } from './contract/modelSpec.js';
import type { NativeOptimizer } from './contract/optimizer.js';
import type { NativeLossRow, NativePolicyGradient, NativeScores } from './contract/policy.js';
import type {
  BackendName,
  NativeContext,
  NativeContextOptions,
  NativeJob,
  NativeProgress,
  NativeTensor,
} from './contract/runtime.js';

export type * from './contract/arrays.js';
export type * from './contract/explain.js';
export type * from './contract/kernels.js';
export type * from './contract/model.js';
export type * from './contract/modelSpec.js';
export type * from './contract/ntk.js';
export type * from './contract/optimizer.js';
export type * from './contract/policy.js';
export type * from './contract/runtime.js';

export interface NativeAddon {
  /** Of the package it was built from. */
  readonly version: string;
  readonly ops: readonly NativeOp[];
  readonly losses: readonly NativeLossRow[];
  /**
   * What the machine reaches now: float32 FLOP/s in registers, bytes per second when `footprint` bytes are
   * read over and over. Blocks for about `seconds`.
   */
  measureRates(options?: { backend?: BackendName; threads?: number; footprint?: number; seconds?: number }): {
    flops: number;
    bf16Flops: number;
    bytes: number;
  };
  readonly cpu: {
    readonly backends: readonly BackendName[];
    readonly best: BackendName;
    readonly threads: number;
    /** Whether the best kernels do products in bf16 math by the processor's own instruction (AVX512_BF16). */
    readonly bf16Dot: boolean;
    /**
     * Which BLAS takes large plain products (HEADFIRST_BLAS), or why none. Opens the library on the first
     * call.
     */
    blas(): string;
  };
  readonly cuda: {
    /** Whether this build has CUDA kernels, and for which architectures. */
    readonly built: boolean;
    readonly architectures: string;
    /**
     * In the driver's order; `problem` says why the kernels do not run on one. Empty when they run on none.
     */
    readonly devices: readonly {
      readonly name: string;
      readonly computeCapability: string;
      readonly bytes: number;
      readonly problem?: string;
    }[];
    /** Why there is no usable device, or which driver serves them. */
    readonly reason: string;
    /** Which cuBLASLt plain products use, or why none. Looks for the library on the first call. */
    cublas(): string;
  };
  /** Without a context, that of the tensors. */
  policyGradient(
    context: NativeContext | undefined,
    args: NativePolicyGradient,
    onProgress?: NativeProgress,
  ): NativeJob<NativeScores & { gradHidden?: NativeTensor; gradWeight?: NativeTensor }>;
  readonly Context: new (options: NativeContextOptions) => NativeContext;
  readonly Tensor: {
    from(context: NativeContext, data: NativeArray, shape: readonly number[]): NativeTensor;
  };
  readonly Model: new (context: NativeContext, spec: ModelSpec) => NativeModel;
  readonly Optimizer: new (model: NativeModel) => NativeOptimizer;
}
