/**
 * The engine.
 * Part of the contract of the .node file (../contract.ts).
 */
import type { RealArray } from './arrays.js';
import type { NativeExplainOptions, NativeExplanation, NativePrefixes } from './explain.js';
import type { PackedSamples, PackedSequences } from './modelSpec.js';
import type { NativeFunctions, NativeGramOptions, NativeGramPlan, NativeSketchOptions } from './ntk.js';
import type {
  NativeCompletions,
  NativeFootprint,
  NativeGenerateOptions,
  NativeHead,
  NativeLoss,
  NativeScores,
} from './policy.js';
import type { NativeJob, NativeProgress, NativeTensor } from './runtime.js';

export interface NativeModel {
  /** Scalars in all parameters. */
  readonly size: number;
  readParameter(index: number): NativeJob<RealArray>;
  /** A linear weight with its adapter added, W + loraScale · B A; any other parameter as it is. */
  readMerged(index: number): NativeJob<RealArray>;
  writeParameter(index: number, data: RealArray): NativeJob<void>;
  /**
   * Memory-maps `path` and converts `shape`'s worth of `dtype` numbers at byte `offset` into the parameter.
   * Gives how many of them are NaN or infinite.
   */
  loadParameter(
    index: number,
    path: string,
    offset: number,
    dtype: 'F32' | 'BF16' | 'F16' | 'F64',
  ): NativeJob<number>;
  /** Normal(0, std) from (seed, stream = index); std 0 fills with `mean`. */
  initParameter(index: number, std: number, mean: number, seed: number): NativeJob<void>;
  /** A copy with its own weights and no gradients. */
  clone(): NativeJob<NativeModel>;
  setTrainable(mask: Uint8Array): void;
  /** Gradient accumulated since zeroGradients(); zeros when there is none yet. */
  readGradient(index: number): NativeJob<RealArray>;
  zeroGradients(): NativeJob<void>;
  /** One tensor per sequence: [T, V] and [T, C]. */
  forward(
    batch: PackedSequences,
    want: { logits: boolean; hiddenStates: boolean },
    onProgress?: NativeProgress,
  ): NativeJob<{ logits?: NativeTensor[]; hiddenStates?: NativeTensor[] }>;
  /**
   * Features of scored rows, (rows, hiddenSize): what accumulate() takes as `features` while only the
   * classifier trains.
   */
  features(batch: PackedSamples, onProgress?: NativeProgress): NativeJob<NativeTensor>;
  score(
    batch: PackedSamples,
    options: { temperature: number; features?: NativeTensor },
    onProgress?: NativeProgress,
  ): NativeJob<NativeScores>;
  /**
   * Adds the gradients of the trainable parameters. Splits the batch into blocks of at most maxTokens (whole
   * sequences).
   */
  accumulate(
    batch: PackedSamples,
    options: NativeLoss &
      NativeHead & {
        temperature: number;
        features?: NativeTensor;
        reference?: NativeModel;
        maxTokens?: number;
        gradientCheckpointing?: boolean;
      },
    onProgress?: NativeProgress,
  ): NativeJob<NativeScores>;
  generate(
    prompts: PackedSequences,
    options: NativeGenerateOptions,
    onProgress?: NativeProgress,
  ): NativeJob<NativeCompletions>;
  /**
   * Bytes of the weights, and of the arena that accumulate(), score() and generate() take at their peaks
   * (native/policy/memory.h).
   */
  footprint(options: NativeFootprint): {
    weights: number;
    accumulate: number;
    score: number;
    generate: number;
  };
  planGram(
    first: NativeFunctions,
    second: NativeFunctions | null,
    options: NativeGramOptions,
  ): NativeGramPlan;
  /**
   * One matrix (F1 · F2 numbers) per entry of the split: [total] | [representation, gradient, cross] |
   * [...parameters, classifier use, cross].
   */
  gram(
    first: NativeFunctions,
    second: NativeFunctions | null,
    options: NativeGramOptions,
    onProgress?: NativeProgress,
  ): NativeJob<Float64Array[]>;
  /** Both (F1, F2). `size` numbers per repeat, the left factor having `left` rows. */
  sketch(
    first: NativeFunctions,
    second: NativeFunctions | null,
    options: NativeSketchOptions,
    onProgress?: NativeProgress,
  ): NativeJob<{ estimate: Float64Array; halfWidth: Float64Array }>;
  perSampleGradients(
    functions: NativeFunctions,
    options: { wanted: Uint8Array; maxBytes: number },
    onProgress?: NativeProgress,
  ): NativeJob<NativeTensor>;
  vectorProduct(
    first: NativeFunctions,
    second: NativeFunctions,
    v: Float64Array,
    options: { wanted: Uint8Array; maxBytes: number },
    onProgress?: NativeProgress,
  ): NativeJob<Float64Array>;
  /** f(θ) and, along a flat tangent of `size` numbers, J t (zeros without one). */
  linearModel(
    functions: NativeFunctions,
    tangent: RealArray | null,
    options: { maxBytes: number },
    onProgress?: NativeProgress,
  ): NativeJob<{ values: Float64Array; derivatives: Float64Array }>;
  jvp(
    batch: PackedSequences,
    tangent: RealArray,
    onProgress?: NativeProgress,
  ): NativeJob<{ logits: NativeTensor[]; hiddenStates: NativeTensor[] }>;
  /** One tensor (k, …shape) per wanted parameter, in the model's order. cotangents[s] is (k, T, V). */
  vjp(
    batch: PackedSequences,
    cotangents: readonly NativeTensor[],
    options: { wanted: Uint8Array },
    onProgress?: NativeProgress,
  ): NativeJob<NativeTensor[]>;
  /** Of the next-token distribution at the last position of every prefix (native/analysis/explain.h). */
  explainStep(
    prefixes: NativePrefixes,
    options: NativeExplainOptions,
    onProgress?: NativeProgress,
  ): NativeJob<NativeExplanation>;
  dispose(): void;
}
