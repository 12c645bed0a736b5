/** The contract of the .node file, typed by hand in this one place. */

export type RealArray = Float32Array | Float64Array;
export type NativeArray = Float32Array | Float64Array | Int32Array | Uint16Array | Uint8Array;

/** Row-major numbers with a shape; strides and offset in elements, for views into larger arrays. */
export interface ArrayView<T extends NativeArray = NativeArray> {
  readonly data: T;
  readonly shape: readonly number[];
  readonly strides?: readonly number[];
  readonly offset?: number;
}

// ---- ops --------------------------------------------------------------------------------------------------

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

// ---- jobs -------------------------------------------------------------------------------------------------

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

// ---- the engine -------------------------------------------------------------------------------------------

/**
 * What a parameter is to the engine. Presence decides: a model whose list has 'qkv_bias' has that bias, one
 * without 'classifier' is tied (the embedding is the classifier), one without 'mlp_gate' has a plain MLP.
 */
export type ParameterRole =
  | 'embedding'
  | 'position'
  | 'attention_norm'
  | 'attention_norm_bias'
  | 'q'
  | 'q_bias'
  | 'k'
  | 'k_bias'
  | 'v'
  | 'v_bias'
  | 'qkv'
  | 'qkv_bias'
  | 'q_norm'
  | 'k_norm'
  | 'attention_out'
  | 'attention_out_bias'
  | 'mlp_norm'
  | 'mlp_norm_bias'
  | 'mlp_gate'
  | 'mlp_gate_bias'
  | 'mlp_up'
  | 'mlp_up_bias'
  | 'mlp_down'
  | 'mlp_down_bias'
  | 'final_norm'
  | 'final_norm_bias'
  | 'classifier'
  | 'lora_A'
  | 'lora_B';

export interface ParameterSpec {
  /** The checkpoint's own name, e.g. 'model.layers.0.self_attn.q_proj.weight'. */
  readonly name: string;
  readonly role: ParameterRole;
  /** −1 outside the layers. */
  readonly layer: number;
  /** The checkpoint's own shape: [out, in] for linear weights, [in, out] when `transposedLinears`. */
  readonly shape: readonly number[];
  /** lora_A [r, in] and lora_B [out, r]: index of the linear weight that they adapt. */
  readonly target?: number;
}

/** A decoder-only transformer, described as data (families/*.ts make it from a Hugging Face config). */
export interface ModelSpec {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly mlpSize: number;
  readonly maxPositions: number;
  readonly norm: 'layer' | 'rms';
  readonly normEps: number;
  readonly activation: 'gelu' | 'gelu_new' | 'silu_gate' | 'relu';
  /**
   * Absent: learned positions (role 'position'). invFreq may be shorter than headDim / 2 (partial rotary).
   */
  readonly rotary?: { readonly invFreq: Float64Array; readonly scale: number };
  /** x + attention(norm1 x) + mlp(norm2 x) rather than one after the other (GPT-NeoX). */
  readonly parallelResidual: boolean;
  /**
   * How a fused 'qkv' output lies: 'blocks' = all q, all k, all v (GPT-2); 'heads' = q, k, v head by head
   * (GPT-NeoX).
   */
  readonly fusedQkv?: 'blocks' | 'heads';
  /** Linear weights are stored [in, out] (GPT-2's Conv1D). */
  readonly transposedLinears: boolean;
  readonly attentionScale: number;
  /** Matrix products read weights rounded to bfloat16, kept beside the float32 originals. */
  readonly bfloat16?: boolean;
  /** y += loraScale · B A x, for every adapter. */
  readonly loraScale?: number;
  /** In storage order: the flat parameter vector that (n, P) results use. */
  readonly parameters: readonly ParameterSpec[];
}

/** Packed sequences: all ids one after the other; sequence s owns offsets[s] … offsets[s + 1] − 1. */
export interface PackedSequences {
  readonly ids: Int32Array;
  readonly offsets: Int32Array;
}
/** … and the scored positions: rows[i] is the packed row whose next token targets[i] is. */
export interface PackedSamples extends PackedSequences {
  readonly rows: Int32Array;
  readonly targets: Int32Array;
  /** Scored rows of sequence s: rowOffsets[s] … rowOffsets[s + 1] − 1. */
  readonly rowOffsets: Int32Array;
}

/** A loss that the kernel computes from ratio and advantage (native/ops/loss/losses.h). */
export interface NativeLossRow {
  readonly name: string;
  /** The numbers that it reads. */
  readonly parameters: Readonly<Record<string, { default: number; least: number; most: number }>>;
}

/**
 * The loss of op linear_policy_gradient (native/ops/loss/linear_policy_gradient.h has the equations); one
 * number per scored row in each array. The numbers that it reads are fields as well (src/policy/losses.ts).
 */
export interface NativeLoss {
  /**
   * 'coefficients': L = −Σ coefficients·logp − Σ entropyCoefficients·H. Otherwise the name of a
   * NativeLossRow.
   */
  readonly loss: string;
  /** −∂L/∂logp. Absent: 0. */
  readonly coefficients?: RealArray;
  /** −∂L/∂H, with any loss and whatever a row's weight. Absent: 0. */
  readonly entropyCoefficients?: RealArray;
  readonly advantages?: RealArray;
  /** Of the policy that sampled; ρ = exp(logp − oldLogps). Absent: ρ = 1, on policy. */
  readonly oldLogps?: RealArray;
  /** Of the reference policy, for kl 'k1', 'k2' and 'k3'. */
  readonly refLogps?: RealArray;
  /** Mask and normaliser, e.g. 1/tokens. Absent: 1. */
  readonly weights?: RealArray;
  /**
   * Estimator of the penalty that beta weighs, d = logp − refLogps: d, d²/2, e^(−d) − 1 + d (default), or the
   * sum over the vocabulary.
   */
  readonly kl?: string;
  /**
   * One ρ per token (default), or per sequence: exp of the mean ('sequence', GSPO) or of the sum ('product',
   * RLOO) of its log-ratios.
   */
  readonly importance?: string;
  /** Weight of the KL penalty. Default 0. */
  readonly beta?: number;
  /** Weight of the entropy bonus, times a row's weight. Default 0. */
  readonly entropyCoef?: number;
  /** Multiplies the KL estimator by ρ. Default false. */
  readonly klBiasCorrection?: boolean;
}

/** What accumulate() takes beside the loss. */
export interface NativeHead {
  /**
   * A head of one output beside the classifier: dL/dφ_n += headGradients[n] · headWeight, for every scored
   * row n.
   */
  readonly headGradients?: RealArray;
  readonly headWeight?: RealArray;
  /** Report the most likely token of every row. */
  readonly argmax?: boolean;
}

/** Op linear_policy_gradient on matrices: tensors of the context, or typed arrays that are copied into it. */
export interface NativePolicyGradient extends NativeLoss {
  readonly hidden: NativeTensor | ArrayView;
  readonly weight: NativeTensor | ArrayView;
  readonly bias?: RealArray;
  readonly targets: Int32Array;
  readonly offsets?: Int32Array;
  readonly refHidden?: NativeTensor | ArrayView;
  readonly refWeight?: NativeTensor | ArrayView;
  readonly refBias?: RealArray;
  readonly temperature: number;
  readonly gradHidden: boolean;
  readonly gradWeight: boolean;
}

/** Per scored row. In a fp64 context these are Float64Arrays, typed as what they are everywhere else. */
export interface NativeScores {
  /** log π of the row's own token, nats. */
  logps: Float32Array;
  /** Of the whole distribution, nats. */
  entropy: Float32Array;
  /** Of the most likely token. */
  maxProb: Float32Array;
  /** The most likely token, where asked for. */
  argmax?: Int32Array;
  /** The KL estimate, where there is a reference. */
  kl?: Float32Array;
  /** ρ. */
  ratio?: Float32Array;
  /** The row's share of L. */
  losses?: Float32Array;
  /** −1 clipped low, +1 high, 0 not. */
  clipped?: Int32Array;
}

export interface NativeGenerateOptions {
  readonly maxNewTokens: number;
  readonly numReturnSequences: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly seed: number;
  /** The random stream of completion j of prompt i is firstStream + i · numReturnSequences + j. */
  readonly firstStream: number;
  readonly stop: Int32Array;
  /** Completions decoded at a time; bounds the key/value cache. */
  readonly maxBatch: number;
}
/**
 * Sizes of one update: samples of at most sequenceLength tokens, scoredLength of them scored; prompts 0:
 * nothing is sampled.
 */
export interface NativeFootprint {
  readonly sequences: number;
  readonly sequenceLength: number;
  readonly scoredLength: number;
  readonly maxTokens?: number;
  readonly gradientCheckpointing: boolean;
  readonly exactKl: boolean;
  /** One entry per parameter: whether it trains. */
  readonly trainable: Uint8Array;
  readonly prompts: number;
  readonly promptLength: number;
  readonly numReturnSequences: number;
  readonly maxNewTokens: number;
}
export interface NativeCompletions {
  ids: Int32Array;
  logps: Float32Array;
  /** Completion c owns offsets[c] … offsets[c + 1] − 1 of ids and logps. */
  offsets: Int32Array;
  /** 1 = ended with a stop token, 0 = reached maxNewTokens or the context's end. */
  stopped: Uint8Array;
}

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

export interface NativeModel {
  /** Scalars in all parameters. */
  readonly size: number;
  readParameter(index: number): NativeJob<RealArray>;
  /** A linear weight with its adapter added, W + loraScale · B A; any other parameter as it is. */
  readMerged(index: number): NativeJob<RealArray>;
  writeParameter(index: number, data: RealArray): NativeJob<void>;
  /**
   * Memory-maps `path` and converts `shape`'s worth of `dtype` numbers at byte `offset` into the parameter.
   */
  loadParameter(
    index: number,
    path: string,
    offset: number,
    dtype: 'F32' | 'BF16' | 'F16' | 'F64',
  ): NativeJob<void>;
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
  vjp(
    batch: PackedSequences,
    cotangents: readonly NativeTensor[],
    options: { wanted: Uint8Array },
    onProgress?: NativeProgress,
  ): NativeJob<NativeTensor>;
  /**
   * At the last position of each prefix: z, ΔW φ, and W Δφ when only the parameters with groups[p] = g move;
   * (n, V), (n, V), (n, G, V).
   */
  rowTangents(
    sequences: PackedSequences,
    rows: Int32Array,
    tangent: RealArray | null,
    groups: Int32Array,
    onProgress?: NativeProgress,
  ): NativeJob<{ logits: NativeTensor; direct: NativeTensor; indirect: NativeTensor }>;
  dispose(): void;
}

export interface NativeOptimizer {
  /**
   * One AdamW step on the trainable parameters; lrScale[i] multiplies parameter i's learning rate. Non-finite
   * gradients: no change.
   */
  step(options: {
    lr: number;
    beta1: number;
    beta2: number;
    eps: number;
    weightDecay: number;
    maxGradNorm: number;
    lrScale?: Float64Array;
  }): NativeJob<{ gradNorm: number; applied: boolean }>;
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
  ): NativeJob<void>;
  dispose(): void;
}

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
