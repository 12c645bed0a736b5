/** Measures of what training did to a model: `analysis.*`. */
export { classifierNorm, type ClassifierNorm } from './classifier.js';
export { confidence, type ConfidenceFigures, type ConfidenceResult } from './confidence.js';
export { type CompletionLike, diversity, type Diversity } from './diversity.js';
export { explainStep } from './explain.js';
export type { AdvantageSample, ExplainOptions } from './explainOptions.js';
export type { Accuracy, ChangeOf, Explanation, Influence, ProbeExplanation } from './explanation.js';
export { bestOfN, majorityAtK, passAtK } from '../evaluation/estimators.js';
export {
  type EntropyPoint,
  type ForecastBy,
  forecastEntropy,
  type ForecastOptions,
  type ForecastQuality,
  judgeForecast,
} from './forecast.js';
export {
  featureDrift,
  type FeatureDrift,
  featureSimilarity,
  type FeatureSimilarity,
  type PairStatistics,
} from './features.js';
export type { MatrixLike } from './matrix.js';
export {
  type AnalysisRow,
  record,
  type Recordable,
  type RecordedChange,
  type RecordOptions,
} from './record.js';
export { snapshot, type Snapshot, type SnapshotOptions, type SnapshotSample } from './snapshot.js';
export { type Alignment, effectiveRank, kernelAlignment, spectrum, type Spectrum } from './spectrum.js';
