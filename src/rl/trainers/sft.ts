/**
 * Supervised training: the mean negative log-likelihood of the step's scored tokens. Fine-tuning, linear
 * probing and both in turn are its modes.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';

import { checkOptions } from '../../core/check.js';
import { fail } from '../../errors.js';
import type { Sample } from '../../model/batch.js';
import { resolveConfig, type ResolvedSFTConfig } from '../config/config.js';
import type { SFTConfig, StageConfig } from '../config/options.js';
import { resolveStages, type Stage, stepsOf } from '../config/stages.js';
import { placeOf, type Sampler } from '../rollout/dataset.js';
import { apply, type StepResult } from '../run/apply.js';
import { longest } from '../run/memory.js';
import { NO_METHOD_STATE, type TrainingState } from '../run/state.js';
import { ARGUMENT, ARGUMENTS, type TrainerArguments } from './arguments.js';
import { encodeRow, type SFTRow } from './sftRows.js';
import { type MethodShape, type StepContext, Trainer } from './trainer.js';

/** What SFTTrainer is made from. */
export interface SFTTrainerArguments extends TrainerArguments<SFTRow> {
  /** Those left out have the defaults of TRL's SFTTrainer. */
  readonly config?: SFTConfig | undefined;
}

/** Rows scored together in an evaluation: bounds memory. */
const EVAL_BATCH = 256;
/** Rows checked without a pause, in which signals and timers have their turn. */
const ROWS_AT_A_TIME = 256;
/** Columns whose length tells how long a row is. */
const TOKEN_COLUMNS = ['inputIds', 'messages', 'text', 'prompt', 'completion'];

function rowsPerStep({ perDeviceTrainBatchSize, gradientAccumulationSteps }: ResolvedSFTConfig): number {
  return perDeviceTrainBatchSize * gradientAccumulationSteps;
}

function sftStages(config: ResolvedSFTConfig, sampler: Sampler<SFTRow>): Stage[] {
  if (config.stages) return resolveStages(config.stages, config);
  const { mode, trainable, learningRate, lpSteps, lpLearningRate = learningRate } = config;
  const steps = stepsOf(config, rowsPerStep(config), sampler.size, 'SFTTrainer');
  const probe: StageConfig = {
    name: 'lp',
    steps: mode === 'lp' ? steps : (lpSteps ?? steps),
    trainable: 'classifier',
    learningRate: lpLearningRate,
  };
  const tune: StageConfig = { name: mode === 'lp_ft' ? 'ft' : 'sft', steps, trainable, learningRate };
  const stages = { lp: [probe], lp_ft: [probe, tune], ft: [tune] };
  return resolveStages(stages[mode], config);
}

/**
 * Supervised training of a model in place: the mean negative log-likelihood of a step's scored tokens
 * (perDeviceTrainBatchSize × gradientAccumulationSteps rows). Modes: fine-tuning, linear probing of the
 * classifier, and the two in turn (LP-FT, 2202.10054).
 * @throws ERR_INVALID_ARG (options, a row without a token to learn), ERR_UNSUPPORTED (text without a
 * tokenizer; the classifier apart in a tied model).
 */
export class SFTTrainer extends Trainer<SFTRow, ResolvedSFTConfig> {
  constructor(args: SFTTrainerArguments) {
    checkOptions('SFTTrainer', args, ARGUMENTS, ARGUMENT);
    const config = resolveConfig('SFTConfig', args.config);
    super(args, config, (sampler) => sftStages(config, sampler), NO_METHOD_STATE);
  }

  protected override async advance(state: TrainingState, context: StepContext): Promise<StepResult> {
    const rows = this.sampler.rows(state.rows, rowsPerStep(this.config));
    const samples = rows.map((row, index) => this.#encode(row, index));
    const metrics = await this.#accumulateLikelihood(samples, context);
    const numTokens = samples.reduce((sum, { inputIds }) => sum + inputIds.length, 0);
    const used = { rows: samples.length, completions: 0, numTokens };
    const update = { metrics, notes: [], records: undefined, used, valueGradient: undefined };
    return apply({ ...NO_METHOD_STATE, ...update }, state, context);
  }

  /** Gradients of the mean over the scored tokens, and what they say of them. */
  async #accumulateLikelihood(
    samples: readonly Sample[],
    { signal }: StepContext,
  ): Promise<Record<string, number>> {
    const tokens = samples.reduce((sum, { inputIds, scoreFrom }) => sum + inputIds.length - scoreFrom, 0);
    const { maxTokensInMemory, gradientCheckpointing } = this.config;
    const { logps, entropy, maxProb, argmax } = await this.model.accumulateGradients(samples, {
      loss: 'coefficients',
      coefficients: new Float32Array(tokens).fill(1 / tokens),
      argmax: true,
      signal,
      gradientCheckpointing,
      ...(maxTokensInMemory ? { maxTokens: maxTokensInMemory } : {}),
    });
    const targets = samples.flatMap(({ inputIds, scoreFrom }) => inputIds.slice(scoreFrom));
    const right = targets.filter((id, token) => argmax![token] === id).length;
    const mean = (values: Float32Array): number => values.reduce((a, b) => a + b, 0) / tokens;
    return {
      loss: -mean(logps),
      entropy: mean(entropy),
      mean_token_accuracy: right / tokens,
      max_prob: mean(maxProb),
    };
  }

  protected override shape(): MethodShape {
    const sequences = rowsPerStep(this.config);
    const rows = this.sampler.some(sequences);
    const sequenceLength = longest(rows, TOKEN_COLUMNS, (row) => this.#encode(row, 0).inputIds.length);
    return { sequences, sequenceLength };
  }

  /** eval_loss (nats per scored token) and eval_entropy of the evalDataset. */
  override async evaluate(
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Record<string, number | null>> {
    const { signal } = this.evaluationOptions(options);
    const rows = this.evalDataset;
    if (!rows) fail('ERR_INVALID_ARG', 'SFTTrainer.evaluate: there is no evalDataset');
    let loss = 0;
    let entropy = 0;
    let tokens = 0;
    for (let begin = 0; begin < rows.length; begin += EVAL_BATCH) {
      const batch = rows.slice(begin, begin + EVAL_BATCH);
      const samples = batch.map((row, i) => this.#encode(row, begin + i));
      const scores = await this.model.score(samples, { signal });
      for (const logp of scores.logps) loss -= logp;
      for (const h of scores.entropy) entropy += h;
      tokens += scores.logps.length;
    }
    return {
      eval_loss: tokens > 0 ? loss / tokens : null,
      eval_entropy: tokens > 0 ? entropy / tokens : null,
    };
  }

  /** A row with nothing to learn is named by its place before the first step, not when a step meets it. */
  protected override async setUp(): Promise<void> {
    const { sampler, evalDataset } = this;
    const trained = sampler.size === undefined ? [] : sampler.some(sampler.size);
    await this.#checkRows('trainDataset', trained);
    await this.#checkRows('evalDataset', evalDataset ?? []);
  }
  async #checkRows(dataset: string, rows: readonly SFTRow[]): Promise<void> {
    for (const [index, row] of rows.entries()) {
      if (index % ROWS_AT_A_TIME === 0) await nextTurn();
      try {
        this.#encode(row, index);
      } catch (error) {
        const place = placeOf(row) ?? `row ${index} of ${dataset}`;
        if (error instanceof Error) error.message = error.message.replace(`row ${index} of the batch`, place);
        throw error;
      }
    }
  }

  #encode(row: SFTRow, index: number): Sample {
    return encodeRow(row, index, {
      model: this.model,
      config: this.config,
      tokenizer: () => this.tokenizer,
    });
  }
}
