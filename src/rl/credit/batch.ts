/** What the updates of a batch need of its rollout. */
import type { Sample } from '../../model/batch.js';
import type { Kept } from '../rollout/keepForTraining.js';
import type { ByCompletion, ByKept, ByToken } from '../spaces.js';
import type { Credit } from './assignCredit.js';

/** Plain numbers in plain arrays: a checkpoint between two updates of a batch holds it as JSON. */
export interface TrainingBatch {
  /** The sequences that train. */
  readonly samples: ByKept<Sample>;
  /** Active tokens of every completion, 0 = masked. */
  readonly lengths: ByCompletion<number>;
  readonly advantages: ByToken<number>;
  /** With a value head: what V was and should be. */
  readonly values: { readonly old: ByToken<number>; readonly returns: ByToken<number> } | null;
  /** Log-probabilities under the reference policy, for a KL penalty in the loss. */
  readonly refLogps: ByToken<number> | null;
  /** Log-probabilities before the first update, from its own forward pass; null until then. */
  readonly oldLogps: ByToken<number> | null;
  /** Updates made. */
  readonly iteration: number;
}

export function makeBatch(kept: Kept, credit: Credit): TrainingBatch {
  const { advantages, values, refLogps, oldLogps } = credit;
  return {
    samples: [...kept.samples],
    lengths: [...kept.lengths],
    advantages: [...advantages],
    values: values && { old: [...values.old], returns: [...values.returns] },
    refLogps: refLogps && [...refLogps],
    oldLogps: oldLogps && [...oldLogps],
    iteration: 0,
  };
}

/** The batch after an update whose own forward pass gave `logps`; null when it was the last one. */
export function afterUpdate(
  batch: TrainingBatch,
  logps: ByToken<number>,
  numIterations: number,
): TrainingBatch | null {
  const iteration = batch.iteration + 1;
  if (iteration >= numIterations) return null;
  return { ...batch, iteration, oldLogps: batch.oldLogps ?? [...logps] };
}
