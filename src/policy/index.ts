/** The fused policy update on plain matrices. */
export {
  type CallOptions,
  type ClassifierInput,
  type CrossEntropyInput,
  type CrossEntropyResult,
  type GivenCoefficients,
  linearCrossEntropy,
  type Matrix,
  policyGradient,
  type PolicyGradientInput,
  type PolicyGradientResult,
  type PolicyLoss,
} from './policyGradient.js';
