/**
 * Everything that changes as a run proceeds, beside the weights and the optimizer's moments, in one value. A
 * step takes it and returns the next one; a checkpoint writes it, a resume reads it. It is plain JSON. Random
 * numbers are functions of the seed and these counters, so no generator has a state of its own.
 */
import type { TrainingBatch } from '../credit/batch.js';
import type { ValueHeadState } from '../credit/valueHead.js';
import type { EntropyControl } from '../loss/entropyControl.js';

export interface Counters {
  /** Optimizer steps made in all stages. */
  readonly step: number;
  /** Index of the stage under way, and steps made in it. */
  readonly stage: number;
  readonly stageStep: number;
  /** Rows taken from the data set. */
  readonly rows: number;
  /** Completions sampled: the next random stream. */
  readonly completions: number;
  readonly numTokens: number;
}

/** What a method carries from one step to the next. */
export interface MethodState {
  /** A rollout's batch that has updates left to make. */
  readonly batch: TrainingBatch | null;
  /** With advantageEstimator 'gae'. */
  readonly valueHead: ValueHeadState | null;
  /** Of methods with an entropy bonus. */
  readonly entropy: EntropyControl | null;
}

export interface TrainingState extends Counters, MethodState {}

const START: Counters = { step: 0, stage: 0, stageStep: 0, rows: 0, completions: 0, numTokens: 0 };

/** Of supervised training. */
export const NO_METHOD_STATE: MethodState = { batch: null, valueHead: null, entropy: null };

export const startOf = (method: MethodState): TrainingState => ({ ...START, ...method });
