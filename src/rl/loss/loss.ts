/**
 * From options and advantages to the arrays of one fused pass. L = Σ_n weight_n · ℓ_n over the step's active
 * tokens; weights carry TRL's normalisers (grpo_trainer.py at f2cd577, _compute_loss, accumulation included):
 *   grpo          1 / (sequences · tokens of the sequence)
 *   bnpo          1 / (micro-batches · active tokens of the micro-batch)
 *   dr_grpo       1 / (sequences · maxCompletionLength)
 *   dapo, cispo   1 / (active tokens of the step)
 * A masked sequence has no active tokens but counts as a sequence, as in TRL. Micro-batches are consecutive
 * completions; apart from bnpo, whose definition depends on them, they change nothing.
 */
import type { GradientOptions, Model } from '../../model/model.js';
import type { ResolvedGRPOConfig } from '../config/config.js';

export interface Normaliser {
  readonly lossType: ResolvedGRPOConfig['lossType'];
  readonly maxCompletionLength: number;
  /** Sequences per micro-batch. */
  readonly perDeviceTrainBatchSize: number;
}

/** The weight of each token of sequence s; `lengths`: active tokens, 0 for a masked sequence. */
export function sequenceWeights(
  lengths: ArrayLike<number>,
  { lossType, maxCompletionLength, perDeviceTrainBatchSize }: Normaliser,
): Float64Array {
  const all = Array.from(lengths);
  const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
  const total = Math.max(sum(all), 1);
  const microBatches = Math.ceil(all.length / perDeviceTrainBatchSize);
  return Float64Array.from(all, (length, s) => {
    switch (lossType) {
      case 'grpo':
        return 1 / (all.length * Math.max(length, 1));
      case 'dr_grpo':
        return 1 / (all.length * maxCompletionLength);
      case 'bnpo': {
        const begin = s - (s % perDeviceTrainBatchSize);
        return 1 / (microBatches * Math.max(sum(all.slice(begin, begin + perDeviceTrainBatchSize)), 1));
      }
      default:
        return 1 / total;
    }
  });
}

/**
 * TRL's entropy bonus is the mean over active tokens whatever the loss type (for bnpo: of micro-batch means).
 */
export function entropyWeights(lengths: ArrayLike<number>, normaliser: Normaliser): Float64Array {
  return sequenceWeights(lengths, {
    ...normaliser,
    lossType: normaliser.lossType === 'bnpo' ? 'bnpo' : 'dapo',
  });
}

/** One number per sequence, repeated for each of its tokens. */
export function perToken(perSequence: ArrayLike<number>, lengths: ArrayLike<number>): Float32Array {
  const out = new Float32Array(Array.from(lengths).reduce((a, b) => a + b, 0));
  let n = 0;
  for (let s = 0; s < lengths.length; ++s) {
    out.fill(perSequence[s]!, n, n + lengths[s]!);
    n += lengths[s]!;
  }
  return out;
}

export interface PolicyBatch {
  /** Active tokens per sequence, 0 = masked. */
  readonly lengths: readonly number[];
  /** Per active token, with what else multiplies the policy term (tokenFactors.ts). */
  readonly advantages: Float32Array;
  /** Per active token. Absent: the ratio is exactly 1. */
  readonly oldLogps?: Float32Array | undefined;
  readonly refLogps?: Float32Array | undefined;
  /** For klEstimator 'exact'. */
  readonly reference?: Model | undefined;
  /** Weight of the entropy bonus, and the tokens it is about (0 or 1 per active token; absent: all). */
  readonly entropyCoef: number;
  readonly entropyMask?: Float64Array | undefined;
}

export interface LossPlan {
  readonly options: GradientOptions;
  /** −∂L/∂H per active token. */
  readonly entropyCoefficients: Float32Array;
}

/**
 * −∂L/∂H per active token; a mask takes tokens out of the mean, but not out of dapo's and cispo's count (as
 * TRL).
 */
function entropyCoefficients(
  { lengths, entropyCoef, entropyMask }: PolicyBatch,
  config: ResolvedGRPOConfig,
): Float32Array {
  const countsAll = config.lossType === 'dapo' || config.lossType === 'cispo';
  let n = 0;
  const counted =
    !entropyMask || countsAll
      ? lengths
      : lengths.map((length) => {
          let active = 0;
          for (const end = n + length; n < end; ++n) active += entropyMask[n]!;
          return active;
        });
  const coefficients = perToken(
    entropyWeights(counted, config).map((w) => w * entropyCoef),
    lengths,
  );
  return entropyMask ? coefficients.map((c, i) => c * entropyMask[i]!) : coefficients;
}

export function planLoss(batch: PolicyBatch, config: ResolvedGRPOConfig): LossPlan {
  const { lengths } = batch;
  const coefficients = entropyCoefficients(batch, config);
  const exact = config.klEstimator === 'exact' && !config.klInReward;
  return {
    options: {
      temperature: config.temperature,
      gradientCheckpointing: config.gradientCheckpointing,
      ...(config.maxTokensInMemory ? { maxTokens: config.maxTokensInMemory } : {}),
      loss: config.lossType === 'cispo' ? 'cispo' : 'clip',
      importance: config.importanceSamplingLevel,
      advantages: batch.advantages,
      weights: perToken(sequenceWeights(lengths, config), lengths),
      epsilonLow: config.epsilon,
      epsilonHigh: config.epsilonHigh ?? config.epsilon,
      delta: config.delta ?? 0,
      beta: config.klInReward ? 0 : config.beta,
      kl: config.klInReward ? 'k1' : config.klEstimator,
      klBiasCorrection: config.useBiasCorrectionKl,
      ...(batch.entropyCoef === 0 ? {} : { entropyCoefficients: coefficients }),
      ...(batch.oldLogps ? { oldLogps: batch.oldLogps } : {}),
      ...(batch.refLogps ? { refLogps: batch.refLogps } : {}),
      ...(exact && batch.reference ? { reference: batch.reference } : {}),
    },
    entropyCoefficients: coefficients,
  };
}
