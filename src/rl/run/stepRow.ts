/** A step as a row of metrics.jsonl. */
import type { StepMetrics } from '../interfaces.js';
import type { StepResult } from './apply.js';

const NOT_FINITE =
  'The gradient was not finite, so this step changed nothing. ' +
  'Lower the learning rate, or look for a reward or KL term that explodes.';

export interface RowFacts {
  readonly stage: string;
  /** Rows of an epoch; undefined when rows are made on demand. */
  readonly epochSize: number | undefined;
  readonly stepTimeMs: number;
  readonly evaluation: Readonly<Record<string, number | null>>;
}

/** A number that cannot be computed is null. */
export function stepRow(result: StepResult, facts: RowFacts): StepMetrics {
  const { state, update, gradNorm, learningRate, applied } = result;
  const { stage, epochSize, stepTimeMs, evaluation } = facts;
  const numbers: Record<string, number | null> = {
    ...update.metrics,
    grad_norm: gradNorm,
    learning_rate: learningRate,
    num_tokens: state.numTokens,
    ...(epochSize === undefined ? {} : { epoch: state.rows / epochSize }),
    step_time: stepTimeMs / 1000,
    ...evaluation,
  };
  for (const [key, value] of Object.entries(numbers)) {
    if (value !== null && !Number.isFinite(value)) numbers[key] = null;
  }
  const notes = applied ? update.notes : [...update.notes, NOT_FINITE];
  return { step: state.step, stage, ...numbers, notes };
}
