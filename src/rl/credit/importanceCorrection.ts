/** Rollouts made elsewhere come from another policy than the one trained; its tokens are weighed for that. */
import { importanceWeights } from '../loss/tokenFactors.js';
import type { Kept } from '../rollout/keepForTraining.js';
import { type ByToken, plain } from '../spaces.js';
import type { CreditContext } from './creditContext.js';

export interface ImportanceCorrection {
  /** This model's log-probabilities. */
  readonly oldLogps: ByToken<number>;
  /** What each token weighs because the server's log-probabilities differ from them. */
  readonly weights: ByToken<number>;
}

/** Undefined when the model itself sampled, or vllmImportanceSamplingCorrection is off. */
export async function importanceCorrection(
  { samples, lengths, samplingLogps }: Kept,
  { model, config, features, sampledElsewhere, signal }: CreditContext,
): Promise<ImportanceCorrection | undefined> {
  if (!sampledElsewhere || !config.vllmImportanceSamplingCorrection || samples.length === 0) return undefined;
  const shared = await features.shared(samples, signal);
  const { logps } = await model.score([...samples], {
    temperature: config.temperature,
    signal,
    ...shared,
  });
  return {
    oldLogps: logps,
    weights: importanceWeights(logps, plain(samplingLogps), lengths, config),
  };
}
