/** Which completions of a rollout train. */
import type { Sample } from '../../model/batch.js';
import type { ResolvedGRPOConfig } from '../config/config.js';
import type { Rollout } from './sample.js';
import {
  type ByCompletion,
  type ByKept,
  type ByToken,
  type CompletionIndex,
  entriesOf,
  mapEach,
} from '../spaces.js';

export interface Kept {
  /** The sequences that train. */
  readonly samples: ByKept<Sample>;
  /** Active tokens of every completion; 0 for one that is masked. */
  readonly lengths: ByCompletion<number>;
  /** Log-probabilities of the distribution that the tokens were sampled from. */
  readonly samplingLogps: ByToken<number>;
}

/** maskTruncatedCompletions leaves out what was cut off by length; everything else trains. */
export function keepForTraining(
  rollout: Rollout,
  { maskTruncatedCompletions }: Pick<ResolvedGRPOConfig, 'maskTruncatedCompletions'>,
): Kept {
  const trains = mapEach(rollout.terminated, (terminated) => terminated || !maskTruncatedCompletions);
  const kept: CompletionIndex[] = [];
  for (const [completion, does] of entriesOf(trains)) if (does) kept.push(completion);
  return {
    samples: kept.map((completion) => rollout.samples[completion]!),
    lengths: mapEach(rollout.lengths, (length, completion) => (trains[completion] ? length : 0)),
    samplingLogps: concatenate(kept.map((completion) => rollout.completions[completion]!.logps)),
  };
}

function concatenate(parts: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
