/** How sure a policy is of its next token, at the states of given samples. */
import { check, nonEmptyList } from '../core/check.js';
import type { JobOptions } from '../core/job.js';
import { mean } from '../evaluation/estimators.js';
import type { Sample } from '../model/batch.js';
import { type Model, modelRule } from '../model/model.js';

/** Means over next-token distributions; entropy in nats, logp of the samples' own tokens. */
export interface ConfidenceFigures {
  /** Probability of the likeliest token. */
  readonly maxProb: number;
  readonly entropy: number;
  readonly logp: number;
}
/** Confidence over all states of the samples, and by how many scored tokens a state already has. */
export interface ConfidenceResult extends ConfidenceFigures {
  readonly states: number;
  /** Position 0 = the prompt alone. */
  readonly byPosition: readonly (ConfidenceFigures & {
    readonly position: number;
    readonly states: number;
  })[];
}

/**
 * How sure a policy is of its next token at the states of samples: one state before each scored token.
 * Temperature 1 unless given.
 * @throws ERR_INVALID_ARG as model.score, or without samples.
 */
export async function confidence(
  model: Model,
  samples: readonly Sample[],
  options: JobOptions & { readonly temperature?: number } = {},
): Promise<ConfidenceResult> {
  const caller = 'analysis.confidence';
  check(caller, 'model', model, modelRule);
  check(caller, 'samples', samples, nonEmptyList);
  const { maxProb, entropy, logps } = await model.score(samples, options, caller);
  const position = samples.flatMap(({ inputIds, scoreFrom }) =>
    Array.from({ length: inputIds.length - scoreFrom }, (_, l) => l),
  );
  const figures = (rows: readonly number[]): ConfidenceFigures => {
    const of = (values: Float32Array) => mean(rows.map((r) => values[r]!));
    return { maxProb: of(maxProb), entropy: of(entropy), logp: of(logps) };
  };
  const all = position.map((_, row) => row);
  const byPosition = Array.from({ length: Math.max(...position) + 1 }, (_, l) => {
    const rows = all.filter((row) => position[row] === l);
    return { position: l, states: rows.length, ...figures(rows) };
  });
  return { ...figures(all), states: all.length, byPosition };
}
