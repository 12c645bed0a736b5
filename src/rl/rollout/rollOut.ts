/** The first sentence of a step: completions of its prompts. */
import type { Model } from '../../model/model.js';
import type { Tokenizer } from '../../model/tokenizer/tokenizer.js';
import type { ResolvedGRPOConfig } from '../config/config.js';
import type { PromptRow } from '../interfaces.js';
import type { Sampler } from './dataset.js';
import type { RolloutSource } from './remoteRollouts.js';
import { type Rollout, sample } from './sample.js';
import { Stream } from './streams.js';
import type { WeightSync } from './weightSync.js';

/** Where a run is: what was taken and sampled before. */
export interface RunPosition {
  /** Optimizer steps made in all stages. */
  readonly step: number;
  /** Rows taken from the data set. */
  readonly rows: number;
  /** Completions sampled: the next random stream. */
  readonly completions: number;
}

/** Who samples, and how. */
export interface SamplingContext {
  /** The trainer's name, for messages. */
  readonly caller: string;
  readonly model: Model;
  /** Fails without one; called only when there is text. */
  readonly tokenizer: () => Tokenizer;
  /** The same, or undefined without one. */
  readonly knownTokenizer: Tokenizer | undefined;
  readonly config: ResolvedGRPOConfig;
  /** Who samples; undefined: the model itself. */
  readonly source: RolloutSource | undefined;
  readonly weightSync: WeightSync;
  readonly signal: AbortSignal | undefined;
}

export interface RollOutContext extends SamplingContext {
  readonly sampler: Sampler<PromptRow>;
}

/** Prompts per rollout. */
export const promptsPerStep = (config: ResolvedGRPOConfig): number =>
  (config.perDeviceTrainBatchSize * config.gradientAccumulationSteps) / config.numGenerations;

/** numGenerations completions of each of this step's prompts. */
export async function rollOut(position: RunPosition, context: RollOutContext): Promise<Rollout> {
  const { config, sampler } = context;
  const rows = sampler.rows(position.rows, promptsPerStep(config));
  return sampleRows(rows, context, {
    step: position.step,
    numGenerations: config.numGenerations,
    firstStream: Stream.rollout + position.completions,
  });
}

/** Completions of the evaluation's rows; the same random numbers each time. */
export async function rollOutEvaluation(
  rows: readonly PromptRow[],
  step: number,
  context: SamplingContext,
): Promise<Rollout> {
  const { numGenerations, numGenerationsEval } = context.config;
  return sampleRows(rows, context, {
    step,
    numGenerations: numGenerationsEval ?? numGenerations,
    firstStream: Stream.evaluation,
  });
}

async function sampleRows(
  rows: readonly PromptRow[],
  { weightSync, ...context }: SamplingContext,
  {
    step,
    ...streams
  }: { readonly step: number; readonly numGenerations: number; readonly firstStream: number },
): Promise<Rollout> {
  await weightSync.upTo(step, context.model, context.signal);
  return sample(rows, { ...context, ...streams });
}
