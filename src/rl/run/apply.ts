/** The last sentence of a step: weights, optimizer and state move together. */
import type { RealArray } from '../../core/addon/contract.js';
import type { Model } from '../../model/model.js';
import type { AdamW } from '../../model/optimizer.js';
import type { CommonConfig } from '../config/config.js';
import type { Stage } from '../config/stages.js';
import type { TrainingBatch } from '../credit/batch.js';
import { ValueHead } from '../credit/valueHead.js';
import type { EntropyControl } from '../loss/entropyControl.js';
import type { CompletionRecord } from './log.js';
import { learningRateAt } from './schedule.js';
import type { Counters, TrainingState } from './state.js';

/** What the model's gradients hold, and what becomes of the state when they are applied. */
export interface Update {
  /** Of this update, without what the optimizer adds. */
  readonly metrics: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
  /** For completions.jsonl; undefined when there are none to write. */
  readonly records: readonly CompletionRecord[] | undefined;
  /** What was taken from the data set, sampled and read: added to the counters. */
  readonly used: Pick<Counters, 'rows' | 'completions' | 'numTokens'>;
  /** The batch, when it has updates left. */
  readonly batch: TrainingBatch | null;
  readonly entropy: EntropyControl | null;
  /** Of the value head. */
  readonly valueGradient: RealArray | undefined;
}

export interface ApplyContext {
  readonly model: Model;
  readonly config: CommonConfig;
  readonly stage: Stage;
  /** No stage follows. */
  readonly isLastStage: boolean;
  readonly optimizer: AdamW;
  readonly signal: AbortSignal | undefined;
}

export interface StepResult {
  readonly state: TrainingState;
  readonly update: Update;
  readonly learningRate: number;
  readonly gradNorm: number;
  /** False when a gradient was not finite: then no weight moved, and the step counts all the same. */
  readonly applied: boolean;
}

/** @throws the signal's reason; past its check the update is made, and counted, as a whole. */
export async function apply(
  update: Update,
  state: TrainingState,
  context: ApplyContext,
): Promise<StepResult> {
  const { model, config, stage, optimizer, signal } = context;
  signal?.throwIfAborted();
  const learningRate = learningRateAt(stage, state.stageStep);
  const { gradNorm, applied } = await optimizer.step({ learningRate, maxGradNorm: config.maxGradNorm });
  if (!applied) await model.zeroGradients();
  const next: TrainingState = {
    ...advanceCounters(state, update, context),
    batch: update.batch,
    valueHead: applied ? nextValueHead(state, update, learningRate, context) : state.valueHead,
    entropy: update.entropy,
  };
  return { state: next, update, learningRate, gradNorm, applied };
}

function advanceCounters(
  state: Counters,
  { metrics, used }: Update,
  { stage, isLastStage }: ApplyContext,
): Counters {
  const stageEnds = state.stageStep + 1 >= stage.steps || stage.endsWhen?.(metrics) === true;
  // The end of the run keeps its place in the last stage, so that a greater maxSteps can go on from there.
  const beginsAnother = stageEnds && !isLastStage;
  return {
    step: state.step + 1,
    stage: state.stage + (stageEnds ? 1 : 0),
    stageStep: beginsAnother ? 0 : state.stageStep + 1,
    rows: state.rows + used.rows,
    completions: state.completions + used.completions,
    numTokens: state.numTokens + used.numTokens,
  };
}

function nextValueHead(
  { valueHead }: TrainingState,
  { valueGradient }: Update,
  learningRate: number,
  { model, config }: ApplyContext,
): TrainingState['valueHead'] {
  if (!valueHead || !valueGradient) return valueHead;
  const head = new ValueHead(model, valueHead);
  head.update(valueGradient, learningRate, config);
  return head.state();
}
