/**
 * Policy gradients through the classifier without a model: matrices in, log-probs, entropies and gradients
 * out, and never [tokens, V] (native/ops/loss/linear_policy_gradient.h has the equations).
 */
import type { RealArray } from '../core/addon/contract.js';
import { instance, type Rules } from '../core/check.js';
import {
  array,
  type CallOptions,
  checkInput,
  CLASSIFIER,
  type ClassifierInput,
  type Matrix,
  type PolicyGradientResult,
  run,
} from './classifierCall.js';
import {
  type ImportanceLevel,
  type KlEstimator,
  LOSS_RULES,
  type LossParameters,
  type PolicyLossName,
} from './losses.js';

/**
 * L = −Σ coefficients·logp − Σ entropyCoefficients·H over rows whose target is not −100. A sum: put 1/N into
 * the coefficients.
 */
export interface GivenCoefficients {
  readonly loss?: 'coefficients';
  /** [N], −∂L/∂logp. Absent: 0. */
  readonly coefficients?: RealArray;
  /** [N], −∂L/∂H. Absent: 0. */
  readonly entropyCoefficients?: RealArray;
}

/**
 * L = Σ weights · (ℓ + beta·KL − entropyCoef·H). ℓ is the loss of that name, a function of the ratio
 * ρ = exp(logp − oldLogps) (absent: 1, on policy) and the advantage; docs/options.md has the losses and the
 * numbers that they read.
 */
export interface PolicyLoss extends LossParameters {
  readonly loss: PolicyLossName;
  /** [N], as all arrays but refBias and offsets. */
  readonly advantages: RealArray;
  /** Of the policy that sampled. */
  readonly oldLogps?: RealArray;
  /** Mask and normaliser per token, e.g. 1/tokens; absent: 1. */
  readonly weights?: RealArray;
  /** Of the entropy bonus, times a row's weight. Default 0. */
  readonly entropyCoef?: number;
  /** Per token, whatever its weight: L −= Σ entropyCoefficients·H. */
  readonly entropyCoefficients?: RealArray;
  /** Of the KL penalty. Default 0. */
  readonly beta?: number;
  /**
   * Its estimator, d = logp − refLogps: d, d²/2, e^(−d) − 1 + d (default), or the sum over the vocabulary.
   */
  readonly kl?: KlEstimator;
  /** For k1, k2 and k3. */
  readonly refLogps?: RealArray;
  /** For 'exact', over the whole vocabulary at the same temperature. */
  readonly refHidden?: Matrix;
  /** Its width may differ from hidden's. */
  readonly refWeight?: Matrix;
  readonly refBias?: RealArray;
  /** Multiplies the estimator by ρ. Default false. */
  readonly klBiasCorrection?: boolean;
  /**
   * One ratio per sequence: exp of the mean ('sequence', GSPO) or sum ('product', RLOO) of log-ratios;
   * sequence s owns rows offsets[s] … offsets[s + 1] − 1.
   */
  readonly importance?: ImportanceLevel;
  readonly offsets?: Int32Array;
}

/**
 * What policyGradient() takes: N rows of features, the classifier, each row's token, and a loss, L, by its
 * coefficients or by name.
 */
export type PolicyGradientInput = ClassifierInput & {
  /** −100 = ignored: logp 0, no gradient; entropy and maxProb are still reported. */
  readonly targets: Int32Array;
} & (GivenCoefficients | PolicyLoss);

const POLICY_GRADIENT: Rules = {
  ...CLASSIFIER,
  ...LOSS_RULES,
  coefficients: array,
  entropyCoefficients: array,
  advantages: array,
  oldLogps: array,
  weights: array,
  refLogps: array,
  refHidden: array,
  refWeight: array,
  refBias: array,
  offsets: instance('an Int32Array', Int32Array),
};

/**
 * A policy-gradient loss and its gradients in one fused pass over the classifier.
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_ARG (targets outside the vocabulary, coefficients that are not
 * finite, detached or shared buffers), ERR_OUT_OF_MEMORY: all before any number is written.
 */
export async function policyGradient(
  input: PolicyGradientInput,
  options: CallOptions = {},
): Promise<PolicyGradientResult> {
  checkInput('policyGradient', input as unknown as Record<string, unknown>, POLICY_GRADIENT, options);
  const { loss = 'coefficients', temperature = 1, gradHidden = false, gradWeight = false, ...rest } = input;
  return run({ ...rest, loss, temperature, gradHidden, gradWeight }, options);
}
