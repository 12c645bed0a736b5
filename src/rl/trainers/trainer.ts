/**
 * The staged loop that all trainers are. A stage says what trains and for how long; a step is one optimizer
 * update, which a method (a subclass) makes from a TrainingState and which gives the next one. Until a step
 * has returned a failure or an abort leaves model, optimizer and state as they were.
 */
import { existsSync } from 'node:fs';

import { check, checkOptions, JOB, type Rules, SIGNAL, text } from '../../core/check.js';
import { fail } from '../../errors.js';
import type { Model } from '../../model/model.js';
import { AdamW } from '../../model/optimizer.js';
import type { Tokenizer } from '../../model/tokenizer/tokenizer.js';
import type { TrainingEstimate, TrainingShape } from '../../model/trainingEstimate.js';
import type { CommonConfig } from '../config/config.js';
import { checkStages, optimizerOptions, type Stage } from '../config/stages.js';
import type { StepMetrics, TrainOptions, TrainResult } from '../interfaces.js';
import { Sampler } from '../rollout/dataset.js';
import type { ApplyContext, StepResult } from '../run/apply.js';
import {
  checkpointPath,
  comparableConfig,
  fingerprint,
  latestCheckpoint,
  pruneCheckpoints,
  writeCheckpoint,
} from '../run/checkpoint.js';
import { RunLog } from '../run/log.js';
import { checkMemory } from '../run/memory.js';
import { openResumption } from '../run/resume.js';
import { type MethodState, startOf, type TrainingState } from '../run/state.js';
import { stepRow } from '../run/stepRow.js';
import type { TrainerArguments } from './arguments.js';

const STEPS: Rules = { ...SIGNAL, resumeFrom: text };
const TRAIN: Rules = { ...JOB, ...STEPS };

/** What the loop gives a method for one step. */
export type StepContext = ApplyContext;

/** Sizes of a method's largest update; the loop adds what it knows of every method. */
export type MethodShape = Omit<TrainingShape, 'trainable' | 'maxTokens' | 'gradientCheckpointing'>;

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
  /** For messages. */
  protected readonly caller = this.constructor.name;
  readonly #tokenizer: Tokenizer | undefined;
  readonly #log: RunLog | undefined;
  #state: TrainingState;
  /** Of the stage under way. */
  #optimizer: AdamW | undefined;
  /** Set up, and the run's directory begun or resumed. */
  #ready = false;
  #running = false;
  /** The last checkpoint written or resumed from. */
  #checkpoint: { readonly step: number; readonly path: string } | undefined;
  /** Of the last step. */
  #metrics: StepMetrics | undefined;

  constructor(
    { model, trainDataset, evalDataset, tokenizer }: TrainerArguments<Row>,
    config: Config,
    stages: (sampler: Sampler<Row>) => readonly Stage[],
    methodState: MethodState,
  ) {
    const { caller } = this;
    const { seed, shuffleDataset: shuffle, outputDir, reportTo } = config;
    this.model = model;
    this.config = config;
    this.sampler = new Sampler(trainDataset, { seed, shuffle, name: `${caller}: trainDataset` });
    this.evalDataset = evalDataset;
    this.#tokenizer = tokenizer ?? model.maybeTokenizer;
    this.#state = startOf(methodState);
    this.stages = stages(this.sampler);
    checkStages(this.stages, model, caller);
    if (config.evalSteps !== undefined && !evalDataset)
      fail('ERR_INVALID_ARG', `${caller}: evalSteps needs an evalDataset`);
    this.#log = outputDir === undefined ? undefined : new RunLog(outputDir, caller, reportTo);
  }

  /** One update and the state after it. What it throws before the update is made undoes the step. */
  protected abstract advance(state: TrainingState, context: StepContext): Promise<StepResult>;
  protected abstract shape(): MethodShape;
  /**
   * Metrics of the evalDataset, keys beginning with 'eval_'. Changes nothing. @throws ERR_INVALID_ARG without
   * one.
   */
  abstract evaluate(options?: {
    readonly signal?: AbortSignal | undefined;
  }): Promise<Record<string, number | null>>;
  /** evaluate()'s, checked. */
  protected evaluationOptions(options: Pick<TrainOptions, 'signal'>): Pick<TrainOptions, 'signal'> {
    checkOptions(`${this.caller}.evaluate`, options, SIGNAL);
    return options;
  }
  /** Before the first step and before a checkpoint is loaded: the model is as it was given. */
  protected async setUp(): Promise<void> {}
  /** Frees what was kept for the further updates of a batch: it has none, or its step failed. */
  protected releaseBatch(): void {}
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
  protected get knownTokenizer(): Tokenizer | undefined {
    return this.#tokenizer;
  }

  protected get tokenizer(): Tokenizer {
    return (
      this.#tokenizer ??
      fail(
        'ERR_UNSUPPORTED',
        `${this.caller}: text needs a tokenizer, and this model has none; ` +
          "pass one as tokenizer, add tokenizer.json to the model's directory, or use token ids",
      )
    );
  }
  protected get maybeTokenizer(): Tokenizer | undefined {
    return this.#tokenizer;
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
    const estimates = this.stages.map(({ trainable }) =>
      this.model.estimateTraining({ ...shape, trainable }),
    );
    return estimates.reduce((most, estimate) => (estimate.bytes > most.bytes ? estimate : most));
  }

  /**
   * Trains to the end. @throws what a step threw (ERR_REWARD, ERR_IO, the signal's reason …), after writing a
   * checkpoint.
   */
  async train(options: TrainOptions = {}): Promise<TrainResult> {
    checkOptions(`${this.caller}.train`, options, TRAIN);
    const { signal, resumeFrom, onProgress } = options;
    const { totalSteps } = this;
    for await (const metrics of this.steps({ signal, resumeFrom }))
      onProgress?.({ step: metrics.step, totalSteps, stage: metrics.stage, metrics });
    return { steps: this.step, metrics: this.#metrics, checkpoint: this.#checkpoint?.path };
  }

  /** Yields each step's metrics. Leaving the loop early is fine: a later call goes on from there. */
  async *steps(
    options: Pick<TrainOptions, 'signal' | 'resumeFrom'> = {},
  ): AsyncGenerator<StepMetrics, void, undefined> {
    checkOptions(`${this.caller}.steps`, options, STEPS);
    const { signal, resumeFrom } = options;
    if (this.#running)
      fail(
        'ERR_BUSY',
        `${this.caller}.steps: this trainer is training already; ` +
          'wait for it or make a second trainer with a model of its own',
      );
    this.#running = true;
    try {
      if (!this.#ready || resumeFrom !== undefined) await this.#begin(resumeFrom);
      try {
        while (!this.#hasEnded) {
          signal?.throwIfAborted();
          yield await this.#step(signal);
        }
      } catch (error) {
        // The error matters more than a checkpoint that cannot be written either.
        await this.#saveIfNew().catch(() => undefined);
        throw error;
      }
      await this.#saveIfNew();
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
    const caller = `${this.caller}.saveCheckpoint`;
    if (directory !== undefined) check(caller, 'directory', directory, text);
    if (directory === undefined && outputDir === undefined)
      fail('ERR_INVALID_ARG', `${caller}: give a directory, or set outputDir`);
    const path = directory ?? checkpointPath(outputDir!, this.step);
    await writeCheckpoint(path, this.model, this.#optimizer, {
      state: this.#state,
      config: this.#comparable(),
      reference: this.reference ? await fingerprint(this.reference) : null,
    });
    if (directory === undefined) {
      this.#checkpoint = { step: this.step, path };
      if (saveTotalLimit !== undefined) await pruneCheckpoints(outputDir!, saveTotalLimit, path);
    }
    return path;
  }

  /** Frees the optimizer's state; the model stays. */
  dispose(): void {
    this.#disposeOptimizer();
    this.#ready = false;
  }
  [Symbol.dispose](): void {
    this.dispose();
  }

  async #begin(resumeFrom: string | undefined): Promise<void> {
    const { outputDir, overwriteOutputDir } = this.config;
    if (!this.#ready) {
      checkMemory(this.caller, this.estimateMemory());
      await this.setUp();
    }
    if (resumeFrom === 'latest' && outputDir === undefined)
      fail('ERR_INVALID_ARG', `${this.caller}: resumeFrom 'latest' needs an outputDir`);
    const directory = resumeFrom === 'latest' ? await latestCheckpoint(outputDir!) : resumeFrom;
    if (directory !== undefined) {
      await this.#resume(directory);
      await this.#log?.resume(this.step);
    } else if (resumeFrom === 'latest') {
      const hint = existsSync(outputDir!) ? ', with overwriteOutputDir if files of a run lie there' : '';
      fail(
        'ERR_CHECKPOINT',
        `${this.caller}: resumeFrom 'latest': ${outputDir!} has no checkpoint to go on from; ` +
          `leave resumeFrom out to begin${hint}`,
      );
    } else {
      await this.#log?.start(overwriteOutputDir);
    }
    this.#ready = true;
  }

  async #resume(directory: string): Promise<void> {
    const { saved, state, openStage } = await openResumption(directory, {
      model: this.model,
      reference: this.reference,
      outputDir: this.config.outputDir,
      comparable: this.#comparable(),
      stages: this.stages,
    });
    this.#disposeOptimizer();
    await saved.restore(this.model, openStage && this.#openStage(openStage));
    this.releaseBatch();
    this.#state = state;
    this.#checkpoint = { step: this.step, path: directory };
  }

  #openStage(stage: Stage): AdamW {
    this.model.setTrainable(stage.trainable);
    this.#optimizer = new AdamW(this.model, optimizerOptions(stage, this.model, this.config));
    return this.#optimizer;
  }
  #disposeOptimizer(): void {
    this.#optimizer?.dispose();
    this.#optimizer = undefined;
  }

  /** One step, logged. The step stands and is logged even when its evaluation fails. */
  async #step(signal: AbortSignal | undefined): Promise<StepMetrics> {
    const started = performance.now();
    const stage = this.stages[this.#state.stage]!;
    const result = await this.#advanceState(stage, signal);
    const { evaluation, failure } = await this.#evaluateIfDue(signal);
    const row = stepRow(result, {
      stage: stage.name,
      epochSize: this.sampler.size,
      stepTimeMs: performance.now() - started,
      evaluation,
    });
    this.#metrics = row;
    await this.#writeLog(row, result.update.records, Object.keys(evaluation).length > 0);
    if (failure) throw failure.error;
    if (this.#isDue(this.config.saveSteps)) await this.#saveIfNew();
    return row;
  }

  /** Model, optimizer and state move on together, or not at all. */
  async #advanceState(stage: Stage, signal: AbortSignal | undefined): Promise<StepResult> {
    const { model, config } = this;
    const isLastStage = this.#state.stage + 1 === this.stages.length;
    const optimizer = this.#optimizer ?? this.#openStage(stage);
    let result: StepResult;
    try {
      result = await this.advance(this.#state, { model, config, stage, isLastStage, optimizer, signal });
    } catch (error) {
      this.releaseBatch();
      await model.zeroGradients();
      throw error;
    }
    const stageEnded = result.state.stage !== this.#state.stage;
    this.#state = result.state;
    if (!result.state.batch) this.releaseBatch();
    // The run's last checkpoint keeps the optimizer, so that a greater maxSteps can go on from there.
    if (stageEnded && !isLastStage) this.#disposeOptimizer();
    return result;
  }

  async #evaluateIfDue(signal: AbortSignal | undefined): Promise<{
    readonly evaluation: Readonly<Record<string, number | null>>;
    readonly failure?: { readonly error: unknown };
  }> {
    const { evalSteps } = this.config;
    // Without evalSteps once, at the end: what is held out is never held out for nothing.
    const atTheEnd = evalSteps === undefined && this.evalDataset !== undefined && this.#hasEnded;
    if (!atTheEnd && !this.#isDue(evalSteps)) return { evaluation: {} };
    try {
      return { evaluation: await this.evaluate({ signal }) };
    } catch (error) {
      return { evaluation: {}, failure: { error } };
    }
  }

  async #writeLog(
    row: StepMetrics,
    records: StepResult['update']['records'],
    hasEvaluation: boolean,
  ): Promise<void> {
    if (records) await this.#log?.completions(this.step, records);
    const isLast = this.step === this.totalSteps;
    if (hasEvaluation || isLast || this.#isDue(this.config.loggingSteps)) await this.#log?.metrics(row);
  }

  get #hasEnded(): boolean {
    return this.#state.stage === this.stages.length;
  }
  #isDue(every: number | undefined): boolean {
    return every !== undefined && this.step % every === 0;
  }
  /** A checkpoint of this step, unless there is one. */
  async #saveIfNew(): Promise<void> {
    const isSaved = this.#checkpoint?.step === this.step;
    if (this.config.outputDir === undefined || !this.#ready || this.step === 0 || isSaved) return;
    await this.saveCheckpoint();
  }

  #comparable(): Record<string, unknown> {
    return comparableConfig(this.config, this.stages, this.model);
  }
}
