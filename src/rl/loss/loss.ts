/**
 * From options and advantages to the arrays of one fused pass. L = Σ_n weight_n · ℓ_n over the step's active
 * tokens. What ℓ is, and how its weights average the tokens, are rows of src/policy/losses.ts.
 *
 * A masked completion has no active tokens but counts as a completion, as in TRL.
 */
import type { GradientOptions, Model } from '../../model/model.js';
import {
  type Completions,
  LOSS_TYPES,
  lossParameters,
  type LossType,
  policyLossOf,
  TOKEN_AVERAGES,
  type TokenAverage,
} from '../../policy/losses.js';
import type { ResolvedGRPOConfig } from '../config/config.js';

/** What decides the weights of tokens. */
export interface Normaliser extends Omit<Completions, 'lengths'> {
  readonly lossType: LossType;
}

function averageWeights(
  average: TokenAverage,
  lengths: ArrayLike<number>,
  { maxCompletionLength, perDeviceTrainBatchSize }: Normaliser,
): Float64Array {
  const completions = { lengths: Array.from(lengths), maxCompletionLength, perDeviceTrainBatchSize };
  return Float64Array.from(TOKEN_AVERAGES[average](completions));
}

/** The weight of each token of completion c; `lengths`: active tokens, 0 for a masked completion. */
export const sequenceWeights = (lengths: ArrayLike<number>, normaliser: Normaliser): Float64Array =>
  averageWeights(LOSS_TYPES[normaliser.lossType].average, lengths, normaliser);

/**
 * TRL's entropy bonus is the mean over active tokens whatever the loss type; for bnpo it is the mean of the
 * micro-batches' means.
 */
function entropyWeights(lengths: ArrayLike<number>, normaliser: Normaliser): Float64Array {
  const { average } = LOSS_TYPES[normaliser.lossType];
  return averageWeights(average === 'microBatch' ? average : 'step', lengths, normaliser);
}

/** One number per completion, repeated for each of its tokens. */
export function perToken(perSequence: ArrayLike<number>, lengths: ArrayLike<number>): Float32Array {
  const out = new Float32Array(Array.from(lengths).reduce((a, b) => a + b, 0));
  let begin = 0;
  for (let s = 0; s < lengths.length; ++s) {
    const end = begin + lengths[s]!;
    out.fill(perSequence[s]!, begin, end);
    begin = end;
  }
  return out;
}

/** The tokens of a step, and what is known of them. */
export interface PolicyBatch {
  /** Active tokens per completion, 0 = masked. */
  readonly lengths: readonly number[];
  /** Per active token, with what else multiplies the policy term (tokenFactors.ts). */
  readonly advantages: Float32Array;
  /** Per active token. Absent: the ratio is exactly 1. */
  readonly oldLogps?: Float32Array | undefined;
  readonly refLogps?: Float32Array | undefined;
  /** For klEstimator 'exact'. */
  readonly reference?: Model | undefined;
  /** Weight of the entropy bonus. */
  readonly entropyCoef: number;
  /** The tokens that the entropy bonus is about, 0 or 1 per active token. Absent: all. */
  readonly entropyMask?: Float64Array | undefined;
}

export interface LossPlan {
  readonly options: GradientOptions;
  /** −∂L/∂H per active token. */
  readonly entropyCoefficients: Float32Array;
}

/** How many tokens of each completion the mask leaves. */
function maskedLengths(lengths: readonly number[], mask: Float64Array): number[] {
  let token = 0;
  return lengths.map((length) => {
    let active = 0;
    for (const end = token + length; token < end; ++token) active += mask[token]!;
    return active;
  });
}

/**
 * −∂L/∂H per active token. A mask takes tokens out of the mean; where TRL counts the step's tokens, it counts
 * all.
 */
function entropyCoefficients(
  { lengths, entropyCoef, entropyMask }: PolicyBatch,
  config: ResolvedGRPOConfig,
): Float32Array {
  const countsAll = LOSS_TYPES[config.lossType].average === 'step';
  const counted = entropyMask && !countsAll ? maskedLengths(lengths, entropyMask) : lengths;
  const weights = entropyWeights(counted, config).map((weight) => weight * entropyCoef);
  const coefficients = perToken(weights, lengths);
  return entropyMask ? coefficients.map((coefficient, n) => coefficient * entropyMask[n]!) : coefficients;
}

/** The KL penalty in the loss; a KL term in the reward is no part of it. */
function penalty({ beta, klInReward, klEstimator, useBiasCorrectionKl }: ResolvedGRPOConfig) {
  return {
    beta: klInReward ? 0 : beta,
    kl: klInReward ? ('k1' as const) : klEstimator,
    klBiasCorrection: useBiasCorrectionKl,
  };
}

/** What accumulateGradients() takes for this batch. */
export function planLoss(batch: PolicyBatch, config: ResolvedGRPOConfig): LossPlan {
  const { lengths, advantages, oldLogps, refLogps, reference } = batch;
  const coefficients = entropyCoefficients(batch, config);
  const exact = config.klEstimator === 'exact' && !config.klInReward;
  return {
    options: {
      temperature: config.temperature,
      gradientCheckpointing: config.gradientCheckpointing,
      ...(config.maxTokensInMemory ? { maxTokens: config.maxTokensInMemory } : {}),
      loss: policyLossOf(config.lossType).name,
      ...lossParameters(config.lossType, config),
      importance: config.importanceSamplingLevel,
      advantages,
      weights: perToken(sequenceWeights(lengths, config), lengths),
      ...penalty(config),
      ...(batch.entropyCoef === 0 ? {} : { entropyCoefficients: coefficients }),
      ...(oldLogps ? { oldLogps } : {}),
      ...(refLogps ? { refLogps } : {}),
      ...(exact && reference ? { reference } : {}),
    },
    entropyCoefficients: coefficients,
  };
}
