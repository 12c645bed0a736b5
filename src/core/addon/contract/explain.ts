/**
 * What a step does to a policy.
 * Part of the contract of the .node file (../contract.ts).
 */
import type { PackedSamples, PackedSequences } from './modelSpec.js';
import type { NativeFunctions } from './ntk.js';
import type { NativeAdamStep, NativeOptimizer } from './optimizer.js';

/** Packed prefixes of texts: rows[p] is the packed row of prefix p's last token. */
export interface NativePrefixes extends PackedSequences {
  readonly rows: Int32Array;
}

/** Which step explainStep() explains, and in how much detail. */
export interface NativeExplainOptions {
  readonly batch: PackedSamples;
  /** One per sample of the batch. */
  readonly advantages: Float64Array;
  readonly update: 'gradient' | 'adam' | 'given';
  /** 'gradient': η. */
  readonly learningRate?: number;
  /** 'adam': copied, not stepped; absent: a new one. */
  readonly optimizer?: NativeOptimizer;
  /** 'adam': the step's settings. */
  readonly adam?: NativeAdamStep;
  /** 'given': Δθ, flat, `size` numbers. */
  readonly step?: Float64Array;
  readonly layers: boolean;
  readonly apply: boolean;
  /** Token ids, one per prefix; absent: the likeliest. */
  readonly targets?: Int32Array;
  /** 'gradient': also how much each sample moves each target. */
  readonly influences?: { readonly samples: NativeFunctions; readonly maxBytes: number };
}

/** A number before the step, its first-order change by component and in all, and its measured change. */
export interface NativeChange {
  readonly before: number;
  readonly representation: number;
  readonly gradient: number;
  readonly cross: number;
  readonly predicted: number;
  readonly measured: number;
}

export interface NativeAccuracy {
  readonly relativeError: number;
  readonly r2: number;
  readonly signAgreement: number;
}

export interface NativeProbeExplanation extends NativeAccuracy {
  /** Δ log π, V each. */
  readonly representation: Float64Array;
  readonly gradient: Float64Array;
  readonly cross: Float64Array;
  readonly predicted: Float64Array;
  readonly measured: Float64Array;
  readonly target: number;
  readonly logp: NativeChange;
  readonly maxProb: NativeChange;
  readonly entropy: NativeChange;
  /** Parts of `gradient`: embeddings, every layer, final norm; empty unless asked for. */
  readonly layers: readonly Float64Array[];
}

export interface NativeExplanation extends NativeAccuracy {
  readonly probes: readonly NativeProbeExplanation[];
  readonly maxProb: NativeChange;
  readonly entropy: NativeChange;
  readonly crossDefined: boolean;
  readonly stepNorm: number;
  /** By prefix, one number per sample each. */
  readonly influences?: {
    readonly representation: readonly Float64Array[];
    readonly gradient: readonly Float64Array[];
    readonly cross: readonly Float64Array[];
  };
}
