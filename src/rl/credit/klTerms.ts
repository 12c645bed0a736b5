/** What a KL penalty needs of a rollout. */
import type { Sample } from '../../model/batch.js';
import type { ByKept, ByToken } from '../spaces.js';
import type { CreditContext } from './creditContext.js';

export interface KlTerms {
  /** For a penalty in the loss: the reference's log-probabilities. */
  readonly refLogps?: ByToken<number>;
  /** For a penalty in the reward: log π − log π_ref (k1). */
  readonly tokenKl?: ByToken<number>;
}

export async function klTerms(
  samples: ByKept<Sample>,
  { model, reference, config, features, signal }: CreditContext,
): Promise<KlTerms> {
  const { beta, klInReward, klEstimator, temperature } = config;
  const sumsOverVocabulary = klEstimator === 'exact' && !klInReward;
  if (beta === 0 || samples.length === 0 || sumsOverVocabulary) return {};
  const { logps: refLogps } = await reference!.score([...samples], { temperature, signal });
  if (!klInReward) return { refLogps };
  const shared = await features.shared(samples, signal);
  const { logps } = await model.score([...samples], { temperature, signal, ...shared });
  const kl = Float64Array.from(logps, (logp, n) => logp - refLogps[n]!);
  return { tokenKl: kl };
}
