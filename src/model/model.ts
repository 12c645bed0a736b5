/**
 * A decoder-only transformer on a context. The maths is native (native/model); the files beside this one
 * check arguments, pack them and call it. This class is what they look like from outside.
 */
import { addon } from '../core/addon/addon.js';
import type { ModelSpec, NativeModel, RealArray } from '../core/addon/contract.js';
import { check, checkOptions, JOB, natural, object, type Rules, text } from '../core/check.js';
import { type Context, defaultContext } from '../core/context.js';
import { type JobOptions, runJob } from '../core/job.js';
import type { Tensor } from '../core/tensor.js';
import { fail } from '../errors.js';
import { saveAdapterDirectory } from './adapters/adapterFiles.js';
import {
  type PeftConfig,
  type ResolvedPeftConfig,
  resolvePeftConfig,
  separatesClassifier,
  withAdapters,
} from './adapters/adapters.js';
import { type Batch, packPrompts, type Sample } from './batch.js';
import { type Companions, tokenizerOf } from './companions.js';
import { jvp, type ParameterVectors, vjp } from './derivatives.js';
import type { Family } from './families/family.js';
import { familyOf } from './families/index.js';
import { type Completion, generate, type GenerateOptions } from './generation.js';
import { accumulateGradients, type GradientOptions } from './gradients.js';
import { copyEmbedding, initialiseAdapters, initialiseWeights } from './initialise.js';
import {
  choose,
  isTied,
  listParameters,
  type ParameterFilter,
  parameterIndex,
  type ParameterInfo,
  type Trainable,
  trainableMask,
} from './parameters.js';
import type { ModelParts } from './parts.js';
import {
  CREATE_OPTIONS,
  loadCheckpoint,
  type LoadOptions,
  type ModelDtype,
  withDtype,
} from './pretrained.js';
import { readAdapter, readWeights } from './reading.js';
import type { StoredDtype } from './safetensors/safetensors.js';
import { saveCheckpointDirectory, type SaveOptions, STORED } from './saving.js';
import {
  features,
  forward,
  type ForwardOptions,
  type ForwardResult,
  type LogprobOptions,
  type Logprobs,
  logprobs,
  score,
  type ScoreOptions,
  type Scores,
} from './scoring.js';
import type { Prompt, Tokenizer } from './tokenizer/tokenizer.js';
import { estimateTraining, type TrainingEstimate, type TrainingShape } from './trainingEstimate.js';

// What the methods take and give belongs to the class for those who import it.
export type { GradientOptions, ScoreOptions, Scores, Trainable };
export { modelRule } from './parts.js';

/** How Model.fromConfig() makes a model. */
export interface FromConfigOptions {
  readonly context?: Context;
  /** Default: the context's seed. */
  readonly seed?: number;
  /** As LoadOptions'. */
  readonly peftConfig?: PeftConfig;
  readonly dtype?: ModelDtype;
}

const CREATE: Rules = { ...CREATE_OPTIONS, seed: natural };
const SAVE_ADAPTER: Rules = { ...JOB, dtype: STORED };
const NO_COMPANIONS: Companions = { generationConfig: {}, files: new Map() };

/**
 * A decoder-only transformer on a context: logits z(s) = W φ(s), φ the features after the final norm, W the
 * classifier (lm_head). Families: gpt2, gpt_neox (Pythia), llama, qwen2, qwen3, and 'gpt', made for small
 * experiments. Loaded by fromPretrained(), or fresh by fromConfig(); `using` or dispose() frees it. Its jobs
 * run on its context's queue, so calls need not wait for each other to be in order.
 */
export class Model implements ModelParts {
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
    companions: Companions = NO_COMPANIONS,
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
   *   the file and the tensor. Weights that are NaN or infinite are refused too, unless allowNonFinite.
   */
  static async fromPretrained(directory: string, options: LoadOptions & JobOptions = {}): Promise<Model> {
    const caller = 'fromPretrained';
    const checkpoint = await loadCheckpoint(directory, options);
    const { family, config, companions, peftConfig } = checkpoint;
    const context = options.context ?? defaultContext();
    const whole = withDtype(caller, checkpoint.spec, options.dtype, context);
    const spec = peftConfig ? withAdapters(caller, { family, spec: whole }, peftConfig) : whole;
    const native = new addon.Model(context.native, spec);
    try {
      await readWeights(native, checkpoint, options);
      const model = new Model(context, family, config, spec, native, companions, peftConfig);
      if (options.adapter !== undefined) await readAdapter(caller, model, options.adapter, options);
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
    const caller = 'fromConfig';
    check(caller, 'config', config, object);
    checkOptions(caller, options, CREATE);
    const context = options.context ?? defaultContext();
    const seed = options.seed ?? context.seed;
    const family = familyOf(config);
    const given = family.complete(config);
    const peftConfig = options.peftConfig && resolvePeftConfig(caller, family, options.peftConfig);
    const givenSpec = family.spec(given);
    const untie =
      isTied(givenSpec) &&
      peftConfig !== undefined &&
      separatesClassifier({ family, spec: givenSpec }, peftConfig);
    const complete = untie ? { ...given, tie_word_embeddings: false } : given;
    const whole = withDtype(caller, family.spec(complete), options.dtype, context);
    const spec = peftConfig ? withAdapters(caller, { family, spec: whole }, peftConfig) : whole;
    const native = new addon.Model(context.native, spec);
    const model = new Model(context, family, complete, spec, native, NO_COMPANIONS, peftConfig);
    await initialiseWeights(model, seed);
    if (untie) await copyEmbedding(model);
    if (peftConfig) await initialiseAdapters(model, seed);
    return model;
  }

  /**
   * The tokenizer.json of the directory that the model was loaded from. @throws ERR_UNSUPPORTED when there
   * was none (hasTokenizer is false).
   */
  get tokenizer(): Tokenizer {
    return tokenizerOf(this.companions);
  }
  /** @internal The tokenizer, or undefined where `tokenizer` would throw. */
  get maybeTokenizer(): Tokenizer | undefined {
    return this.companions.tokenizer;
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
  /** Type of the numbers that matrix products multiply. */
  get dtype(): ModelDtype {
    return this.spec.bfloat16 ? 'bfloat16' : 'float32';
  }
  /** True when the classifier is the embedding matrix itself. */
  get tied(): boolean {
    return isTied(this.spec);
  }

  /**
   * All parameters, or those that match, in the order of the flat vector that Jacobians and optimizers use;
   * an adapter's come last.
   */
  parameters(filter?: ParameterFilter): ParameterInfo[] {
    return choose(listParameters(this.spec, this.#trainable), filter);
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
    return trainableMask(this.spec, which, this.peftConfig);
  }

  /** A copy with weights of its own; shares context and tokenizer. Everything is trainable in it. */
  async clone(options?: JobOptions): Promise<Model> {
    checkOptions('model.clone', options, JOB);
    const { context, family, config, spec, companions, peftConfig } = this;
    const native = await runJob(options, () => this.native.clone());
    return new Model(context, family, config, spec, native, companions, peftConfig);
  }

  /**
   * A copy of its weights, row-major in the checkpoint's own shape; Float64Array in a fp64 context. @throws
   * ERR_INVALID_ARG (no such name).
   */
  async getParameter(name: string): Promise<RealArray> {
    const index = parameterIndex('model.getParameter', this.spec, name);
    return runJob(undefined, () => this.native.readParameter(index));
  }
  /**
   * Replaces its weights. @throws ERR_INVALID_ARG (no such name), ERR_SHAPE when `data` has another length.
   */
  async setParameter(name: string, data: RealArray): Promise<void> {
    const index = parameterIndex('model.setParameter', this.spec, name);
    return runJob(undefined, () => this.native.writeParameter(index, data));
  }
  /** dL/dθ accumulated since zeroGradients(); zeros for a parameter that had none. */
  async getGradient(name: string): Promise<RealArray> {
    const index = parameterIndex('model.getGradient', this.spec, name);
    return runJob(undefined, () => this.native.readGradient(index));
  }
  /** Forgets what accumulateGradients() added; an optimizer's step does so by itself. */
  zeroGradients(): Promise<void> {
    return runJob(undefined, () => this.native.zeroGradients());
  }

  /**
   * Logits z [T, V] and features φ after the final norm [T, d], one tensor per sequence; ragged batches are
   * fine. Default: logits only.
   */
  forward(batch: Batch, options: ForwardOptions = {}): Promise<ForwardResult> {
    return forward(this, batch, options);
  }

  /**
   * Per token, fused (logits are never stored): entry t − 1 scores token t given what precedes it, t = 1 … T
   * − 1. Entropy in nats.
   */
  logprobs(batch: Batch, options: LogprobOptions = {}): Promise<Logprobs> {
    return logprobs(this, batch, options);
  }

  /**
   * Log-probability, entropy (nats) and largest probability at the scored tokens of samples, sample after
   * sample in one array each: logprobs() without the tokens that do not count, and without logits. @throws
   * ERR_INVALID_ARG naming the sample.
   */
  score(samples: readonly Sample[], options: ScoreOptions = {}, caller = 'model.score'): Promise<Scores> {
    return score(this, samples, options, caller);
  }

  /**
   * φ(s) at the state before every scored token, [rows, d], samples one after the other: reusable while only
   * the classifier trains.
   */
  features(samples: readonly Sample[], options?: JobOptions): Promise<Tensor> {
    return features(this, samples, options);
  }

  /**
   * One fused forward and backward pass: adds dL/dθ of the trainable parameters to their gradients and
   * returns the per-token figures of the same pass. L is a sum: put 1/N into `weights` or `coefficients`. A
   * cancelled call leaves gradients undefined (call zeroGradients) and weights untouched.
   */
  accumulateGradients(samples: readonly Sample[], options: GradientOptions): Promise<Scores> {
    return accumulateGradients(this, samples, options);
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
        'model.loadAdapter: this model has no adapter; ' +
          `load it with fromPretrained(…, { adapter: '${directory}' })`,
      );
    await readAdapter('loadAdapter', this, directory, options);
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
}
