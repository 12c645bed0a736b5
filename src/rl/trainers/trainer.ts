/**
 * The loop that all trainers share. A step is one optimizer update: a subclass adds gradients for it
 * (accumulate), then weights, optimizer and counters change together. Until that moment a failure or an abort
 * leaves everything as it was.
 */
import { existsSync } from 'node:fs';

import {
  anything,
  check,
  checkOptions,
  JOB,
  nonEmptyList,
  object,
  required,
  type Rules,
  SIGNAL,
  text,
} from '../../core/check.js';
import { toCamelCase } from '../../core/names.js';
import { fail } from '../../errors.js';
import type { TrainingEstimate, TrainingShape } from '../../model/trainingEstimate.js';
import { type Model, modelRule } from '../../model/model.js';
import { AdamW } from '../../model/optimizer.js';
import type { Tokenizer } from '../../model/tokenizer/tokenizer.js';
import {
  checkpointPath,
  checkSameConfig,
  fingerprint,
  latestCheckpoint,
  openCheckpoint,
  pruneCheckpoints,
  type TrainerState,
  writeCheckpoint,
} from '../run/checkpoint.js';
import type { CommonConfig } from '../config/config.js';
import { Sampler } from '../rollout/dataset.js';
import { type CompletionRecord, RunLog } from '../run/log.js';
import { checkMemory } from '../run/memory.js';
import { learningRateAt } from '../config/schedule.js';
import { checkStages, optimizerOptions, type Stage } from '../config/stages.js';
import type { Dataset, StepMetrics, TrainOptions, TrainResult } from '../interfaces.js';

/** What every trainer is made from. */
export interface TrainerArguments<Row> {
  /** Trained in place. */
  readonly model: Model;
  /** Rows in an array, or made on demand. */
  readonly trainDataset: Dataset<Row>;
  /** Held-out rows, for evaluate() and every evalSteps steps. */
  readonly evalDataset?: readonly Row[] | undefined;
  /** Default: the model's own. Needed for text only. */
  readonly tokenizer?: Tokenizer | undefined;
}

/** What every trainer is made of; the data set and the config are judged where they are read. */
export const ARGUMENTS: Rules = {
  model: required(modelRule),
  trainDataset: anything,
  evalDataset: nonEmptyList,
  tokenizer: object,
  config: anything,
};
/** TRL's names of arguments. */
const INSTEAD: Readonly<Record<string, string>> = {
  args: 'its name here is config',
  processingClass: 'its name here is tokenizer',
  rewardProcessingClasses: 'a reward function gets text',
  peftConfig: 'load the model with it: Model.fromPretrained(dir, { peftConfig })',
  callbacks: 'do it between two steps of trainer.steps()',
  optimizers: 'the optimizer is AdamW',
  dataCollator: 'rows are read as they are',
};
/** How trainers check their arguments. */
export const ARGUMENT = {
  argument: 'arguments',
  noun: 'argument',
  instead: (name: string): string | undefined =>
    Object.hasOwn(INSTEAD, toCamelCase(name)) ? INSTEAD[toCamelCase(name)] : undefined,
};
const STEPS: Rules = { ...SIGNAL, resumeFrom: text };
const TRAIN: Rules = { ...JOB, ...STEPS };

export interface StepContext {
  readonly stage: Stage;
  readonly state: TrainerState;
  readonly signal: AbortSignal | undefined;
}

/** What one accumulate() did, apart from the gradients. */
export interface StepOutcome {
  readonly metrics: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
  readonly completions?: readonly CompletionRecord[];
  /** Added to the counters of TrainerState. */
  readonly rows: number;
  readonly sampled: number;
  readonly tokens: number;
  /** Called once the update is made; `applied` is false when a gradient was not finite and nothing moved. */
  commit?(update: { readonly applied: boolean; readonly learningRate: number }): void;
}

const FRESH: TrainerState = { step: 0, stage: 0, stageStep: 0, rows: 0, completions: 0, numTokens: 0 };

export abstract class Trainer<Row, Config extends CommonConfig> {
  /** The model given, which trains in place. */
  readonly model: Model;
  /** With defaults filled in. */
  readonly config: Config;
  /**
   * The phases of the run, one after the other; one, unless the method or the option `stages` says otherwise.
   */
  readonly stages: readonly Stage[];
  protected readonly sampler: Sampler<Row>;
  protected readonly evalDataset: readonly Row[] | undefined;
  readonly #tokenizer: Tokenizer | undefined;
  readonly #log: RunLog | undefined;
  readonly #caller = this.constructor.name;
  #state = FRESH;
  #optimizer: AdamW | undefined;
  #ready = false;
  #running = false;
  #checkpoint: { readonly step: number; readonly path: string } | undefined;
  #metrics: StepMetrics | undefined;

  constructor(
    { model, trainDataset, evalDataset, tokenizer }: TrainerArguments<Row>,
    config: Config,
    stages: (sampler: Sampler<Row>) => readonly Stage[],
  ) {
    this.model = model;
    this.config = config;
    this.sampler = new Sampler(trainDataset, {
      seed: config.seed,
      shuffle: config.shuffleDataset,
      name: `${this.#caller}: trainDataset`,
    });
    this.evalDataset = evalDataset;
    this.#tokenizer = tokenizer ?? model.maybeTokenizer;
    this.stages = stages(this.sampler);
    checkStages(this.stages, model, this.#caller);
    if (config.evalSteps !== undefined && !evalDataset)
      fail('ERR_INVALID_ARG', `${this.#caller}: evalSteps needs an evalDataset`);
    this.#log =
      config.outputDir === undefined
        ? undefined
        : new RunLog(config.outputDir, this.#caller, config.reportTo);
  }

  /** Adds the gradients of one update; changes nothing else before `commit`. */
  protected abstract accumulate(context: StepContext): Promise<StepOutcome>;
  /** Sizes of the largest update. */
  protected abstract shape(): Omit<TrainingShape, 'trainable' | 'maxTokens' | 'gradientCheckpointing'>;
  /**
   * Metrics of the evalDataset, keys beginning with 'eval_'. Changes nothing. @throws ERR_INVALID_ARG without
   * one.
   */
  abstract evaluate(options?: {
    readonly signal?: AbortSignal | undefined;
  }): Promise<Record<string, number | null>>;
  /** evaluate()'s, checked. */
  protected evaluationOptions(options: Pick<TrainOptions, 'signal'>): Pick<TrainOptions, 'signal'> {
    checkOptions(`${this.#caller}.evaluate`, options, SIGNAL);
    return options;
  }
  /** Before the first step and before a checkpoint is loaded: the model is as it was given. */
  protected async setUp(): Promise<void> {}
  /** What a checkpoint must keep of a batch that has updates left to make. */
  protected pending(): unknown {
    return null;
  }
  protected restorePending(_pending: unknown): void {}
  protected get reference(): Model | undefined {
    return undefined;
  }

  /** Optimizer steps made, in all stages. */
  get step(): number {
    return this.#state.step;
  }
  /** Optimizer steps of the whole run; a stage that ends early (switchRatio) leaves some of them out. */
  get totalSteps(): number {
    return this.stages.reduce((sum, stage) => sum + stage.steps, 0);
  }
  /** @throws ERR_UNSUPPORTED without one. */
  protected get tokenizer(): Tokenizer {
    return (
      this.#tokenizer ??
      fail(
        'ERR_UNSUPPORTED',
        `${this.#caller}: text needs a tokenizer, and this model has none; pass one as tokenizer, add tokenizer.json to the model's directory, or use token ids`,
      )
    );
  }
  protected get hasTokenizer(): boolean {
    return this.#tokenizer !== undefined;
  }

  /**
   * What the run will hold in memory in the stage that needs most, when every sequence is as long as options
   * and rows allow; bytes.
   */
  estimateMemory(): TrainingEstimate {
    const { maxTokensInMemory, gradientCheckpointing } = this.config;
    const shape = {
      ...this.shape(),
      gradientCheckpointing,
      ...(maxTokensInMemory ? { maxTokens: maxTokensInMemory } : {}),
    };
    return this.stages
      .map(({ trainable }) => this.model.estimateTraining({ ...shape, trainable }))
      .reduce((a, b) => (b.bytes > a.bytes ? b : a));
  }

  /**
   * Trains to the end. @throws what a step threw (ERR_REWARD, ERR_IO, the signal's reason …), after writing a
   * checkpoint.
   */
  async train(options: TrainOptions = {}): Promise<TrainResult> {
    checkOptions(`${this.#caller}.train`, options, TRAIN);
    const { signal, resumeFrom, onProgress } = options;
    for await (const metrics of this.steps({ signal, resumeFrom }))
      onProgress?.({ step: metrics.step, totalSteps: this.totalSteps, stage: metrics.stage, metrics });
    return { steps: this.step, metrics: this.#metrics, checkpoint: this.#checkpoint?.path };
  }

  /** Yields each step's metrics. Leaving the loop early is fine: a later call goes on from there. */
  async *steps(
    options: Pick<TrainOptions, 'signal' | 'resumeFrom'> = {},
  ): AsyncGenerator<StepMetrics, void, undefined> {
    checkOptions(`${this.#caller}.steps`, options, STEPS);
    const { signal, resumeFrom } = options;
    if (this.#running)
      fail(
        'ERR_BUSY',
        `${this.#caller}.steps: this trainer is training already; wait for it or make a second trainer with a model of its own`,
      );
    this.#running = true;
    try {
      if (!this.#ready || resumeFrom !== undefined) await this.#begin(resumeFrom);
      try {
        while (this.#state.stage < this.stages.length) {
          signal?.throwIfAborted();
          yield await this.#step(signal);
        }
      } catch (error) {
        // The error matters more than a checkpoint that cannot be written either.
        await this.#saveDue(true).catch(() => undefined);
        throw error;
      }
      await this.#saveDue(true);
      this.#disposeOptimizer();
    } finally {
      this.#running = false;
    }
  }

  /**
   * Writes a checkpoint of the last whole step. Default directory: outputDir/checkpoint-<step>. Returns its
   * path.
   */
  async saveCheckpoint(directory?: string): Promise<string> {
    const { outputDir, saveTotalLimit } = this.config;
    if (directory !== undefined) check(`${this.#caller}.saveCheckpoint`, 'directory', directory, text);
    const path =
      directory ??
      (outputDir === undefined
        ? fail('ERR_INVALID_ARG', `${this.#caller}.saveCheckpoint: give a directory, or set outputDir`)
        : checkpointPath(outputDir, this.step));
    const { reference } = this;
    await writeCheckpoint(path, this.model, this.#optimizer, {
      state: this.#state,
      config: this.#comparable(),
      pending: this.pending(),
      reference: reference ? await fingerprint(reference) : null,
    });
    if (directory === undefined) {
      this.#checkpoint = { step: this.step, path };
      if (saveTotalLimit !== undefined) await pruneCheckpoints(outputDir!, saveTotalLimit, path);
    }
    return path;
  }

  /** Frees the optimizer's state; the model stays. */
  dispose(): void {
    this.#optimizer?.dispose();
    this.#optimizer = undefined;
    this.#ready = false;
  }
  [Symbol.dispose](): void {
    this.dispose();
  }

  async #begin(resumeFrom: string | undefined): Promise<void> {
    const { outputDir, overwriteOutputDir } = this.config;
    if (!this.#ready) {
      checkMemory(this.#caller, this.estimateMemory());
      await this.setUp();
    }
    if (resumeFrom === 'latest' && outputDir === undefined)
      fail('ERR_INVALID_ARG', `${this.#caller}: resumeFrom 'latest' needs an outputDir`);
    const directory = resumeFrom === 'latest' ? await latestCheckpoint(outputDir!) : resumeFrom;
    if (directory !== undefined) {
      await this.#resume(directory);
      await this.#log?.resume(this.step);
    } else if (resumeFrom === 'latest') {
      fail(
        'ERR_CHECKPOINT',
        `${this.#caller}: resumeFrom 'latest': ${outputDir!} has no checkpoint to go on from; leave resumeFrom out to begin${existsSync(outputDir!) ? ', with overwriteOutputDir if files of a run lie there' : ''}`,
      );
    } else {
      await this.#log?.start(overwriteOutputDir);
    }
    this.#ready = true;
  }

  async #resume(directory: string): Promise<void> {
    const saved = await openCheckpoint(directory, this.config.outputDir, this.model);
    checkSameConfig(directory, saved.config, this.#comparable());
    const reference = this.reference ? await fingerprint(this.reference) : null;
    if (saved.reference !== reference)
      fail(
        'ERR_CHECKPOINT',
        `resume: ${directory} was trained against another reference model; give the trainer the model the run began with (or refModel), not the checkpoint's`,
      );
    // The end of a run whose last stage is longer now: that stage goes on.
    const ended = saved.state.stage === this.stages.length;
    const state =
      ended && this.stages.at(-1)!.steps > saved.state.stageStep
        ? { ...saved.state, stage: saved.state.stage - 1 }
        : saved.state;
    const stage = this.stages[state.stage];
    if (ended && stage && !saved.hasOptimizer)
      fail(
        'ERR_CHECKPOINT',
        `resume: ${directory} is the end of its run and keeps no optimizer; start a new run from its weights to train further, or resume from an earlier checkpoint`,
      );
    this.#disposeOptimizer();
    await saved.restore(this.model, saved.hasOptimizer && stage ? this.#openStage(stage) : undefined);
    this.#state = state;
    this.restorePending(saved.pending);
    this.#checkpoint = { step: this.step, path: directory };
  }

  #openStage(stage: Stage): AdamW {
    this.model.setTrainable(stage.trainable);
    return (this.#optimizer = new AdamW(this.model, optimizerOptions(stage, this.model, this.config)));
  }
  #disposeOptimizer(): void {
    this.#optimizer?.dispose();
    this.#optimizer = undefined;
  }

  async #step(signal: AbortSignal | undefined): Promise<StepMetrics> {
    const started = performance.now();
    const state = this.#state;
    const stage = this.stages[state.stage]!;
    const optimizer = this.#optimizer ?? this.#openStage(stage);
    let outcome: StepOutcome;
    try {
      outcome = await this.accumulate({ stage, state, signal });
      signal?.throwIfAborted();
    } catch (error) {
      await this.model.zeroGradients();
      throw error;
    }
    const learningRate = learningRateAt(stage, state.stageStep);
    // No signal from here on: the update is made, and counted, as a whole.
    const { gradNorm, applied } = await optimizer.step({
      learningRate,
      maxGradNorm: this.config.maxGradNorm,
    });
    if (!applied) await this.model.zeroGradients();
    outcome.commit?.({ applied, learningRate });
    const finished = state.stageStep + 1 >= stage.steps || stage.endsWhen?.(outcome.metrics) === true;
    // The run's last checkpoint keeps the optimizer, so that a greater maxSteps can go on from there.
    const last = state.stage + 1 === this.stages.length;
    this.#state = {
      step: state.step + 1,
      stage: state.stage + (finished ? 1 : 0),
      stageStep: finished && !last ? 0 : state.stageStep + 1,
      rows: state.rows + outcome.rows,
      completions: state.completions + outcome.sampled,
      numTokens: state.numTokens + outcome.tokens,
    };
    if (finished && !last) this.#disposeOptimizer();

    // The step stands and is logged even when its evaluation fails.
    let failure: { readonly error: unknown } | undefined;
    const evaluation = !this.#evaluationIsDue()
      ? {}
      : await this.evaluate({ signal }).catch((error: unknown) => {
          failure = { error };
          return {};
        });
    const numbers: Record<string, number | null> = {
      ...outcome.metrics,
      grad_norm: gradNorm,
      learning_rate: learningRate,
      num_tokens: this.#state.numTokens,
      ...(this.sampler.size === undefined ? {} : { epoch: this.#state.rows / this.sampler.size }),
      step_time: (performance.now() - started) / 1000,
      ...evaluation,
    };
    for (const [key, value] of Object.entries(numbers))
      if (value !== null && !Number.isFinite(value)) numbers[key] = null;
    const notes = applied
      ? outcome.notes
      : [
          ...outcome.notes,
          'The gradient was not finite, so this step changed nothing. Lower the learning rate, or look for a reward or KL term that explodes.',
        ];
    const row: StepMetrics = { step: this.step, stage: stage.name, ...numbers, notes };
    this.#metrics = row;
    if (outcome.completions) await this.#log?.completions(this.step, outcome.completions);
    if (
      this.#isDue(this.config.loggingSteps) ||
      Object.keys(evaluation).length > 0 ||
      this.step === this.totalSteps
    )
      await this.#log?.metrics(row);
    if (failure) throw failure.error;
    await this.#saveDue(false);
    return row;
  }

  #isDue(every: number | undefined): boolean {
    return every !== undefined && this.step % every === 0;
  }
  /** Without evalSteps once, at the end: what is held out is never held out for nothing. */
  #evaluationIsDue(): boolean {
    const { evalSteps } = this.config;
    return evalSteps === undefined
      ? this.evalDataset !== undefined && this.#state.stage === this.stages.length
      : this.#isDue(evalSteps);
  }
  async #saveDue(always: boolean): Promise<void> {
    if (
      this.config.outputDir === undefined ||
      !this.#ready ||
      this.step === 0 ||
      this.#checkpoint?.step === this.step
    )
      return;
    if (always || this.#isDue(this.config.saveSteps)) await this.saveCheckpoint();
  }

  /**
   * What a checkpoint is compared with: options as they are, stages without their lengths (and the rule that
   * shortens one, which is an option).
   */
  #comparable(): Record<string, unknown> {
    const stages = this.stages.map(({ steps: _, endsWhen: _rule, trainable, ...stage }) => ({
      ...stage,
      trainable: String(trainable),
    }));
    return { ...this.config, dtype: this.model.dtype, trainable: String(this.config.trainable), stages };
  }
}
