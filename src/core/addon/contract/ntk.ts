/**
 * Kernels: scalar functions of a model and what is computed of their gradients.
 * Part of the contract of the .node file (../contract.ts).
 */
import type { PackedSequences } from './modelSpec.js';

/** Scalar functions over shared forward passes (native/ntk/functions.h). */
export interface NativeFunctions extends PackedSequences {
  /**
   * Function f belongs to sequence[f], ascending; its terms are termOffsets[f] … termOffsets[f + 1] − 1 of
   * rows and targets.
   */
  readonly sequence: Int32Array;
  readonly termOffsets: Int32Array;
  readonly rows: Int32Array;
  readonly targets: Int32Array;
  readonly output: 'logp' | 'logit';
}

export interface NativeGramOptions {
  readonly implementation: 'structured-derivatives' | 'jacobian-contraction' | 'ntk-vector-products';
  readonly split: 'total' | 'components' | 'parameters';
  readonly wanted: Uint8Array;
  readonly maxBytes: number;
}

export interface NativeSketchOptions {
  readonly wanted: Uint8Array;
  readonly maxBytes: number;
  readonly repeats: number;
  readonly size: number;
  readonly left: number;
  readonly seed: number;
  readonly projection: 'rademacher' | 'gaussian';
  readonly confidence: number;
}

export interface NativeGramPlan {
  readonly blocks: number;
  readonly columnBlocks: number;
  /** Working memory of the largest step. */
  readonly bytes: number;
  /** Of matrix products: all, and those of the passes over the model among them. */
  readonly flops: number;
  readonly passFlops: number;
  /** 'structured-derivatives': one per matrix, a fused layer by its first weight. */
  readonly choices: readonly {
    readonly parameter: number;
    readonly form: 'ghost' | 'blocked';
    readonly flops: number;
  }[];
}
