/** The masks of topEntropyQuantile and offPolicyMaskThreshold, which the current policy decides. */
import type { Model, ScoreOptions } from '../../model/model.js';
import type { ResolvedGRPOConfig } from '../config/config.js';
import type { TrainingBatch } from '../credit/batch.js';
import { perToken } from '../loss/loss.js';
import { highEntropyMask, offPolicyMask } from '../loss/tokenFactors.js';
import { plain } from '../spaces.js';

export interface MaskedTokens {
  /** 0 where a token is masked. */
  readonly advantages: Float32Array;
  /** 1 for tokens that the entropy bonus is about; absent: all. */
  readonly entropyMask?: Float64Array;
}

export async function maskTokens(
  batch: TrainingBatch,
  shared: ScoreOptions,
  { model, config }: { readonly model: Model; readonly config: ResolvedGRPOConfig },
): Promise<MaskedTokens> {
  const { topEntropyQuantile, offPolicyMaskThreshold, temperature } = config;
  const advantages = Float32Array.from(batch.advantages);
  const masksEntropy = topEntropyQuantile < 1;
  const masksOffPolicy = offPolicyMaskThreshold !== null && batch.oldLogps !== null;
  if (batch.samples.length === 0 || !(masksEntropy || masksOffPolicy)) return { advantages };

  const now = await model.score([...batch.samples], { temperature, ...shared });
  const lengths = [...batch.lengths];
  let masked = advantages;
  if (masksOffPolicy) {
    const oldLogps = plain(batch.oldLogps!);
    const kept = offPolicyMask(advantages, now.logps, oldLogps, lengths, offPolicyMaskThreshold);
    const keptTokens = perToken(kept, lengths);
    masked = masked.map((advantage, n) => advantage * keptTokens[n]!);
  }
  if (!masksEntropy) return { advantages: masked };
  const entropyMask = highEntropyMask(now.entropy, topEntropyQuantile);
  return { advantages: masked.map((advantage, n) => advantage * entropyMask[n]!), entropyMask };
}
