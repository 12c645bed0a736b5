/**
 * AdamW.
 * Part of the contract of the .node file (../contract.ts).
 */
import type { RealArray } from './arrays.js';
import type { NativeJob } from './runtime.js';

/** Settings of one step of AdamW. Absent: torch's defaults, no weight decay, no clipping. */
export interface NativeAdamStep {
  readonly lr: number;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly eps?: number;
  readonly weightDecay?: number;
  readonly maxGradNorm?: number;
  /** Per parameter; absent: 1. */
  readonly lrScale?: Float64Array;
}

export interface NativeOptimizer {
  /**
   * One AdamW step on the trainable parameters; lrScale[i] multiplies parameter i's learning rate. Non-finite
   * gradients: no change.
   */
  step(options: NativeAdamStep): NativeJob<{ gradNorm: number; applied: boolean }>;
  stepCount: number;
  readState(index: number, which: 'exp_avg' | 'exp_avg_sq'): NativeJob<RealArray>;
  writeState(index: number, which: 'exp_avg' | 'exp_avg_sq', data: RealArray): NativeJob<void>;
  /** From a file, as loadParameter. */
  loadState(
    index: number,
    which: 'exp_avg' | 'exp_avg_sq',
    path: string,
    offset: number,
    dtype: string,
  ): NativeJob<number>;
  dispose(): void;
}
