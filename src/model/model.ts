/**
 * A decoder-only transformer on a context. The maths is native (native/model); this class names things and
 * checks input.
 */
import {
  check,
  checkOptions,
  count,
  flag,
  instance,
  JOB,
  natural,
  object,
  reals,
  required,
  rule,
  type Rule,
  type Rules,
  TEMPERATURE,
  text,
} from '../core/check.js';
import { type Context, defaultContext } from '../core/context.js';
import { type JobOptions, runJob } from '../core/job.js';
import { Tensor, tensorRule } from '../core/tensor.js';
import { fail, suggestion } from '../errors.js';
import { addon } from '../core/addon/addon.js';
import type {
  ModelSpec,
  NativeHead,
  NativeModel,
  NativeScores,
  ParameterRole,
  RealArray,
} from '../core/addon/contract.js';
import {
  findAdapterTensors,
  initialiseAdapters,
  type PeftConfig,
  readAdapterConfig,
  type ResolvedPeftConfig,
  resolvePeftConfig,
  saveAdapterDirectory,
  trainsWithAdapter,
  withAdapters,
} from './adapters/adapters.js';
import { type Batch, checkBatch, packBatch, packPrompts, packSamples, type Sample } from './batch.js';
import { jvp, type ParameterVectors, vjp } from './derivatives.js';
import { type Family, familyOf, initialise } from './families/index.js';
import { LOSS_RULES, type TokenLoss } from '../policy/losses.js';
import { estimateTraining, type TrainingEstimate, type TrainingShape } from './trainingEstimate.js';
import { type Completion, type GenerateOptions, generate } from './generation.js';
import {
  type Companions,
  CREATE_OPTIONS,
  loadCheckpoint,
  type LoadOptions,
  type ModelDtype,
  saveCheckpointDirectory,
  type SaveOptions,
  STORED,
  withDtype,
} from './pretrained.js';
import type { StoredDtype } from './safetensors/safetensors.js';
import { type ParameterFilter, filterRule } from './selection.js';
import type { Prompt, Tokenizer } from './tokenizer/tokenizer.js';

/** A parameter of a model, as Model.parameters() lists it. */
export interface ParameterInfo {
  /** The checkpoint's own name and shape. */
  readonly name: string;
  readonly shape: readonly number[];
  /** What it is to the engine, e.g. 'embedding', 'q', 'mlp_up', 'final_norm', 'classifier'. */
  readonly role: ParameterRole;
  /** −1 outside the layers. */
  readonly layer: number;
  /** Numbers in it. */
  readonly size: number;
  /** Where it begins in the flat parameter vector, in elements. */
  readonly offset: number;
  /** Whether accumulateGradients() and optimizers concern it (setTrainable). */
  readonly trainable: boolean;
}

/**
 * 'classifier' = the unembedding matrix (lm_head) alone; 'body' = all but it; a RegExp is matched against
 * parameter names.
 */
export type Trainable = 'all' | 'classifier' | 'body' | RegExp;

const TRAINABLE = rule(
  "'all', 'classifier', 'body' or a RegExp of parameter names",
  (value) => value instanceof RegExp || ['all', 'classifier', 'body'].includes(value as string),
);

/** How Model.fromConfig() makes a model. */
export interface FromConfigOptions {
  readonly context?: Context;
  /** Default: the context's seed. */
  readonly seed?: number;
  /** As LoadOptions'. */
  readonly peftConfig?: PeftConfig;
  readonly dtype?: ModelDtype;
}

/**
 * Figures per scored token, samples' tokens one after the other in the order given; Float64Arrays in a fp64
 * context.
 */
export type Scores = NativeScores;

export interface ScoreOptions extends JobOptions {
  /** Of softmax(z / temperature), whose figures are given. Default 1. */
  readonly temperature?: number;
  /** From features(); only valid while nothing but the classifier has changed since. */
  readonly features?: Tensor;
}

/**
 * What accumulateGradients() minimises; arrays have one entry per scored token. See
 * native/ops/loss/linear_policy_gradient.h.
 */
export interface GradientOptions extends ScoreOptions, TokenLoss, NativeHead {
  /** For kl 'exact': the reference policy. */
  readonly reference?: Model;
  /** Tokens held at a time; the result does not depend on it beyond rounding. */
  readonly maxTokens?: number;
  /**
   * Keep each layer's input only and compute the rest again on the way back: less memory, one more forward
   * pass, the same bits.
   */
  readonly gradientCheckpointing?: boolean;
}

const CREATE: Rules = { ...CREATE_OPTIONS, seed: natural };
const FORWARD: Rules = { ...JOB, logits: flag, hiddenStates: flag };
const LOGPROBS: Rules = { ...JOB, temperature: TEMPERATURE };
const SCORE: Rules = { ...LOGPROBS, features: tensorRule };
const SAVE_ADAPTER: Rules = { ...JOB, dtype: STORED };

/**
 * A decoder-only transformer on a context: logits z(s) = W φ(s), φ the features after the final norm, W the
 * classifier (lm_head). Families: gpt2, gpt_neox (Pythia), llama, qwen2, qwen3, and 'gpt', made for small
 * experiments. Loaded by fromPretrained(), or fresh by fromConfig(); `using` or dispose() frees it. Its jobs
 * run on its context's queue, so calls need not wait for each other to be in order.
 */
export class Model {
  /** Where it lives and computes. */
  readonly context: Context;
  /** How Hugging Face's config and tensor names of this model_type map to the engine's. */
  readonly family: Family;
  /** The Hugging Face config, keys as in config.json. */
  readonly config: Readonly<Record<string, unknown>>;
  /**
   * The architecture as the engine sees it: sizes (vocabSize V, hiddenSize d, layers, heads, maxPositions …)
   * and the list of parameters.
   */
  readonly spec: ModelSpec;
  /** @internal */
  readonly native: NativeModel;
  /** @internal Tokenizer, generation_config.json and the files that savePretrained() copies. */
  readonly companions: Companions;
  /** Of a model with LoRA adapters, with defaults filled in. */
  readonly peftConfig: ResolvedPeftConfig | undefined;
  #trainable: Uint8Array;

  /** @internal Use fromPretrained() or fromConfig(). */
  constructor(
    context: Context,
    family: Family,
    config: Readonly<Record<string, unknown>>,
    spec: ModelSpec,
    native: NativeModel,
    companions: Companions = { generationConfig: {}, files: new Map() },
    peftConfig?: ResolvedPeftConfig,
  ) {
    this.context = context;
    this.family = family;
    this.config = config;
    this.spec = spec;
    this.native = native;
    this.companions = companions;
    this.peftConfig = peftConfig;
    this.#trainable = new Uint8Array(spec.parameters.length).fill(1);
    if (peftConfig) this.setTrainable('all');
  }

  /**
   * Loads a Hugging Face directory: config.json, safetensors (F32, BF16, F16, F64; computed in float32), and
   * tokenizer.json if there.
   * @throws ERR_IO (missing or truncated file), ERR_UNSUPPORTED (unknown model_type or a quantised
   * checkpoint), ERR_SHAPE, ERR_DTYPE: each names
   *   the file and the tensor.
   */
  static async fromPretrained(directory: string, options: LoadOptions & JobOptions = {}): Promise<Model> {
    const checkpoint = await loadCheckpoint(directory, options);
    const context = options.context ?? defaultContext();
    const peftConfig =
      options.adapter !== undefined
        ? await readAdapterConfig('fromPretrained', options.adapter, checkpoint.family)
        : options.peftConfig && resolvePeftConfig('fromPretrained', checkpoint.family, options.peftConfig);
    const whole = withDtype('fromPretrained', checkpoint.spec, options.dtype, context);
    const spec = peftConfig ? withAdapters('fromPretrained', whole, peftConfig) : whole;
    const native = new addon.Model(context.native, spec);
    try {
      let done = 0;
      for (const [index, tensor] of checkpoint.tensors.entries()) {
        await runJob(options, () => native.loadParameter(index, tensor.path, tensor.offset, tensor.dtype));
        options.onProgress?.(++done, checkpoint.tensors.length);
      }
      const model = new Model(
        context,
        checkpoint.family,
        checkpoint.config,
        spec,
        native,
        checkpoint.companions,
        peftConfig,
      );
      if (options.adapter !== undefined) await model.loadAdapter(options.adapter, options);
      else if (peftConfig) await initialiseAdapters(model, context.seed);
      return model;
    } catch (error) {
      native.dispose();
      throw error;
    }
  }

  /**
   * Random weights for a Hugging Face config, or `{ model_type: 'gpt', vocab_size, hidden_size,
   * num_hidden_layers, num_attention_heads, max_position_embeddings }`: pre-LN, learned positions, GELU,
   * untied. The same seed gives the same weights.
   * @throws ERR_UNSUPPORTED (unknown model_type, a value that is not implemented), ERR_INVALID_ARG: each
   * names the key.
   */
  static async fromConfig(
    config: Readonly<Record<string, unknown>>,
    options: FromConfigOptions = {},
  ): Promise<Model> {
    check('fromConfig', 'config', config, object);
    checkOptions('fromConfig', options, CREATE);
    const context = options.context ?? defaultContext();
    const family = familyOf(config);
    const complete = family.complete(config);
    const peftConfig = options.peftConfig && resolvePeftConfig('fromConfig', family, options.peftConfig);
    const whole = withDtype('fromConfig', family.spec(complete), options.dtype, context);
    const spec = peftConfig ? withAdapters('fromConfig', whole, peftConfig) : whole;
    const model = new Model(
      context,
      family,
      complete,
      spec,
      new addon.Model(context.native, spec),
      undefined,
      peftConfig,
    );
    await initialise(model, options.seed ?? context.seed);
    if (peftConfig) await initialiseAdapters(model, options.seed ?? context.seed);
    return model;
  }

  /**
   * The tokenizer.json of the directory that the model was loaded from. @throws ERR_UNSUPPORTED when there
   * was none (hasTokenizer is false).
   */
  get tokenizer(): Tokenizer {
    return (
      this.companions.tokenizer ??
      fail(
        'ERR_UNSUPPORTED',
        'model.tokenizer: this model was loaded without a tokenizer.json; use token ids, or add tokenizer.json to its directory',
      )
    );
  }
  /** False: only token ids can be given, and texts of completions are ''. */
  get hasTokenizer(): boolean {
    return this.companions.tokenizer !== undefined;
  }
  /**
   * generation_config.json as it was read; {} without one. generate() takes its default stop tokens from it.
   */
  get generationConfig(): Readonly<Record<string, unknown>> {
    return this.companions.generationConfig;
  }
  /** Of matrix products. */
  get dtype(): ModelDtype {
    return this.spec.bfloat16 ? 'bfloat16' : 'float32';
  }
  /** True when the classifier is the embedding matrix itself. */
  get tied(): boolean {
    return !this.spec.parameters.some((p) => p.role === 'classifier');
  }

  /**
   * All parameters, or those that match, in the order of the flat vector that Jacobians and optimizers use;
   * an adapter's come last.
   */
  parameters(filter?: RegExp | ((parameter: ParameterInfo) => boolean)): ParameterInfo[] {
    let offset = 0;
    const all = this.spec.parameters.map((p, i): ParameterInfo => {
      const size = p.shape.reduce((a, b) => a * b, 1);
      const info = {
        name: p.name,
        shape: p.shape,
        role: p.role,
        layer: p.layer,
        size,
        offset,
        trainable: this.#trainable[i] === 1,
      };
      offset += size;
      return info;
    });
    if (filter === undefined) return all;
    check('model.parameters', 'filter', filter, filterRule);
    return all.filter(filter instanceof RegExp ? (p) => filter.test(p.name) : filter);
  }

  /**
   * Chooses what accumulateGradients() computes and optimizers move. In a model with adapters the weights
   * beside them stay frozen whatever is chosen: 'all' is the adapters and modulesToSave.
   * @throws ERR_UNSUPPORTED for 'classifier' or 'body' on a tied model: its classifier is also the input
   * embedding. Load with
   *   `untieClassifier: true`, or name the matrix with a RegExp to train both uses.
   */
  setTrainable(which: Trainable): void {
    const mask = this.trainableMask(which);
    this.native.setTrainable(mask);
    this.#trainable = mask;
  }

  /** @internal One entry per parameter. @throws as setTrainable. */
  trainableMask(which: Trainable): Uint8Array {
    check('model.setTrainable', 'which', which, TRAINABLE);
    if (this.tied && (which === 'classifier' || which === 'body'))
      fail(
        'ERR_UNSUPPORTED',
        `model.setTrainable: '${which}' has no meaning on this tied model, whose classifier is also the input embedding; load it with untieClassifier: true (--untie on the command line), or pass a RegExp to move both uses`,
      );
    const mask = new Uint8Array(
      this.spec.parameters.map((p) =>
        (which === 'all' ||
          (which === 'classifier'
            ? p.role === 'classifier'
            : which === 'body'
              ? p.role !== 'classifier'
              : which.test(p.name))) &&
        (!this.peftConfig || trainsWithAdapter(p, this.peftConfig))
          ? 1
          : 0,
      ),
    );
    if (!mask.includes(1) && this.peftConfig)
      fail(
        'ERR_INVALID_ARG',
        `model.setTrainable: '${String(which)}' leaves nothing to train: beside adapters only modulesToSave (${this.peftConfig.modulesToSave?.join(', ') ?? 'none'}) train; name the module there when loading the model`,
      );
    if (!mask.includes(1))
      fail(
        'ERR_INVALID_ARG',
        `model.setTrainable: no parameter matches ${String(which)}; names look like '${this.spec.parameters[0]!.name}'`,
      );
    return mask;
  }

  /** A copy with weights of its own; shares context and tokenizer. Everything is trainable in it. */
  async clone(options?: JobOptions): Promise<Model> {
    checkOptions('model.clone', options, JOB);
    return new Model(
      this.context,
      this.family,
      this.config,
      this.spec,
      await runJob(options, () => this.native.clone()),
      this.companions,
      this.peftConfig,
    );
  }

  /**
   * A copy of its weights, row-major in the checkpoint's own shape; Float64Array in a fp64 context. @throws
   * ERR_INVALID_ARG (no such name).
   */
  getParameter(name: string): Promise<RealArray> {
    return runJob(undefined, () => this.native.readParameter(this.#index('model.getParameter', name)));
  }
  /**
   * Replaces its weights. @throws ERR_INVALID_ARG (no such name), ERR_SHAPE when `data` has another length.
   */
  setParameter(name: string, data: RealArray): Promise<void> {
    return runJob(undefined, () => this.native.writeParameter(this.#index('model.setParameter', name), data));
  }
  /** dL/dθ accumulated since zeroGradients(); zeros for a parameter that had none. */
  getGradient(name: string): Promise<RealArray> {
    return runJob(undefined, () => this.native.readGradient(this.#index('model.getGradient', name)));
  }
  /** Forgets what accumulateGradients() added; an optimizer's step does so by itself. */
  zeroGradients(): Promise<void> {
    return runJob(undefined, () => this.native.zeroGradients());
  }

  /**
   * Logits z [T, V] and features φ after the final norm [T, d], one tensor per sequence; ragged batches are
   * fine. Default: logits only.
   */
  async forward(
    batch: Batch,
    options: JobOptions & { readonly logits?: boolean; readonly hiddenStates?: boolean } = {},
  ): Promise<{ logits?: Tensor[]; hiddenStates?: Tensor[] }> {
    checkOptions('model.forward', options, FORWARD);
    const packed = packBatch('model.forward', this, batch);
    const { logits = !options.hiddenStates, hiddenStates = false } = options;
    const result = await runJob(options, (onProgress) =>
      this.native.forward(packed, { logits, hiddenStates }, onProgress),
    );
    const wrap = (tensors: typeof result.logits) => tensors?.map((tensor) => new Tensor(tensor));
    return {
      ...(logits ? { logits: wrap(result.logits)! } : {}),
      ...(hiddenStates ? { hiddenStates: wrap(result.hiddenStates)! } : {}),
    };
  }

  /**
   * Per token, fused (logits are never stored): entry t − 1 scores token t given what precedes it, t = 1 … T
   * − 1. Entropy in nats.
   */
  async logprobs(
    batch: Batch,
    options: JobOptions & { readonly temperature?: number } = {},
  ): Promise<{ logps: Float32Array[]; entropy: Float32Array[]; maxProb: Float32Array[] }> {
    checkOptions('model.logprobs', options, LOGPROBS);
    checkBatch('model.logprobs', batch);
    const samples = batch.inputIds.map((inputIds) => ({ inputIds, scoreFrom: 1 }));
    const scores = await this.score(samples, options, 'model.logprobs');
    let row = 0;
    const ranges = samples.map(({ inputIds }) => [row, (row += Math.max(inputIds.length - 1, 0))] as const);
    const split = (all: Float32Array) => ranges.map(([begin, end]) => all.slice(begin, end));
    return { logps: split(scores.logps), entropy: split(scores.entropy), maxProb: split(scores.maxProb) };
  }

  /**
   * Log-probability, entropy (nats) and largest probability at the scored tokens of samples, sample after
   * sample in one array each: logprobs() without the tokens that do not count, and without logits. @throws
   * ERR_INVALID_ARG naming the sample.
   */
  async score(
    samples: readonly Sample[],
    options: ScoreOptions = {},
    caller = 'model.score',
  ): Promise<Scores> {
    checkOptions(caller, options, SCORE);
    const packed = packSamples(caller, this, samples);
    return runJob(options, (onProgress) =>
      this.native.score(
        packed,
        {
          temperature: options.temperature ?? 1,
          ...(options.features ? { features: options.features.native } : {}),
        },
        onProgress,
      ),
    );
  }

  /**
   * φ(s) at the state before every scored token, [rows, d], samples one after the other: reusable while only
   * the classifier trains.
   */
  async features(samples: readonly Sample[], options?: JobOptions): Promise<Tensor> {
    checkOptions('model.features', options, JOB);
    const packed = packSamples('model.features', this, samples);
    return new Tensor(await runJob(options, (onProgress) => this.native.features(packed, onProgress)));
  }

  /**
   * One fused forward and backward pass: adds dL/dθ of the trainable parameters to their gradients and
   * returns the per-token figures of the same pass. L is a sum: put 1/N into `weights` or `coefficients`. A
   * cancelled call leaves gradients undefined (call zeroGradients) and weights untouched.
   */
  async accumulateGradients(samples: readonly Sample[], options: GradientOptions): Promise<Scores> {
    const caller = 'model.accumulateGradients';
    checkOptions(caller, options, GRADIENT);
    const {
      signal,
      onProgress,
      features,
      reference,
      temperature = 1,
      maxTokens,
      gradientCheckpointing = false,
      ...loss
    } = options;
    const packed = packSamples(caller, this, samples);
    checkLoss(caller, options);
    for (const [name, value] of Object.entries(loss))
      if (
        name !== 'headWeight' &&
        ArrayBuffer.isView(value) &&
        (value as Float32Array).length !== packed.rows.length
      )
        fail(
          'ERR_SHAPE',
          `${caller}: ${name} must have one entry per scored token (${packed.rows.length}), got ${(value as Float32Array).length}`,
        );
    return runJob({ signal, onProgress }, (progress) =>
      this.native.accumulate(
        packed,
        {
          ...loss,
          temperature,
          gradientCheckpointing,
          ...(features ? { features: features.native } : {}),
          ...(reference ? { reference: reference.native } : {}),
          ...(maxTokens ? { maxTokens } : {}),
        },
        progress,
      ),
    );
  }

  /**
   * What training with updates of this shape will hold in memory, before it begins, in bytes. Runs nothing.
   * @throws ERR_INVALID_ARG.
   */
  estimateTraining(shape: TrainingShape): TrainingEstimate {
    return estimateTraining(this, shape);
  }

  /**
   * Forward mode: tangents of logits [T, V] and features [T, d], per sequence, when the named parameters move
   * along `tangents` (absent = 0).
   */
  jvp(
    batch: Batch,
    tangents: ParameterVectors,
    options?: JobOptions,
  ): Promise<{ logits: Tensor[]; hiddenStates: Tensor[] }> {
    return jvp(this, batch, tangents, options);
  }

  /**
   * Reverse mode, k cotangents on one forward pass: cotangents[s] is (k, T, V); the result has (k, …shape)
   * per parameter, summed over sequences.
   */
  vjp(
    batch: Batch,
    cotangents: readonly Tensor[],
    options?: JobOptions & { readonly params?: ParameterFilter },
  ): Promise<Record<string, Tensor>> {
    return vjp(this, batch, cotangents, options);
  }

  /**
   * Samples with a key/value cache, entirely in native code. `temperature: 0` is greedy (ties: lowest id). A
   * completion's random numbers depend on (seed, its index, position) only, not on the batch.
   */
  async generate(prompts: readonly Prompt[], options: GenerateOptions): Promise<Completion[]> {
    return generate(this, packPrompts('model.generate', this, prompts), options);
  }

  /**
   * Writes adapter_config.json and adapter_model.safetensors, which peft loads onto the base model. @throws
   * ERR_UNSUPPORTED without adapters.
   */
  saveAdapter(directory: string, options: { readonly dtype?: StoredDtype } & JobOptions = {}): Promise<void> {
    check('model.saveAdapter', 'directory', directory, text);
    checkOptions('model.saveAdapter', options, SAVE_ADAPTER);
    return saveAdapterDirectory(this, directory, options);
  }
  /**
   * Reads the numbers of an adapter with this model's configuration. @throws as fromPretrained; then nothing
   * has changed.
   */
  async loadAdapter(directory: string, options?: JobOptions): Promise<void> {
    check('model.loadAdapter', 'directory', directory, text);
    if (!this.peftConfig)
      fail(
        'ERR_UNSUPPORTED',
        `model.loadAdapter: this model has no adapter; load it with fromPretrained(…, { adapter: '${directory}' })`,
      );
    for (const { index, entry } of await findAdapterTensors('loadAdapter', directory, this))
      await runJob(options, () =>
        this.native.loadParameter(index, entry.path, entry.offset, entry.dtype as 'F32'),
      );
  }

  /**
   * Writes a directory that other readers of this family load, with adapters merged into the weights. Atomic:
   * an existing directory is replaced only when all is written.
   */
  savePretrained(directory: string, options: SaveOptions & JobOptions = {}): Promise<void> {
    return saveCheckpointDirectory(this, directory, options);
  }

  /**
   * Frees weights and gradients; jobs under way keep them until they are done. Later calls fail with
   * ERR_DISPOSED.
   */
  dispose(): void {
    this.native.dispose();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal */
  get maybeTokenizer(): Tokenizer | undefined {
    return this.companions.tokenizer;
  }

  #index(caller: string, name: string): number {
    check(caller, 'name', name, text);
    const index = this.spec.parameters.findIndex((p) => p.name === name);
    if (index < 0)
      fail(
        'ERR_INVALID_ARG',
        `${caller}: there is no parameter '${name}'.${suggestion(
          name,
          this.spec.parameters.map((p) => p.name),
        )}`,
      );
    return index;
  }
}

/** Of arguments that are models. */
export const modelRule: Rule = instance('a Model', Model);
const GRADIENT: Rules = {
  ...SCORE,
  ...LOSS_RULES,
  loss: required(LOSS_RULES.loss),
  coefficients: reals,
  entropyCoefficients: reals,
  advantages: reals,
  oldLogps: reals,
  refLogps: reals,
  weights: reals,
  headGradients: reals,
  headWeight: reals,
  argmax: flag,
  reference: modelRule,
  maxTokens: count,
  gradientCheckpointing: flag,
};

/** What each loss cannot do without. */
function checkLoss(
  caller: string,
  {
    loss,
    coefficients,
    entropyCoefficients,
    headGradients,
    advantages,
    beta = 0,
    kl = 'k3',
    reference,
    refLogps,
  }: GradientOptions,
): void {
  const need = (name: string, why: string) =>
    fail('ERR_INVALID_ARG', `${caller}: ${name} must be given ${why}, got undefined`);
  if (loss === 'coefficients' && !coefficients && !entropyCoefficients && !headGradients)
    need('coefficients', "for loss 'coefficients'");
  if (loss === 'coefficients') return;
  if (!advantages) need('advantages', `for loss '${loss}'`);
  if (beta > 0 && kl === 'exact' && !reference) need('reference', "for kl 'exact'");
  if (beta > 0 && kl !== 'exact' && !refLogps) need('refLogps', `for kl '${kl}'`);
}
