/** The fused policy update on plain matrices. */
export type { CallOptions, ClassifierInput, Matrix, PolicyGradientResult } from './classifierCall.js';
export { type CrossEntropyInput, type CrossEntropyResult, linearCrossEntropy } from './crossEntropy.js';
export {
  type GivenCoefficients,
  policyGradient,
  type PolicyGradientInput,
  type PolicyLoss,
} from './policyGradient.js';
export type {
  ImportanceLevel,
  KlEstimator,
  LossOptions,
  LossParameters,
  LossType,
  PolicyLossName,
} from './losses.js';
