/**
 * What multiplies the policy term of single tokens, beside the advantage: masks and importance weights (TRL's
 * _compute_loss at f2cd577). They act on the advantage, so that the KL term and the normaliser stay as they
 * are.
 */
import type { ResolvedGRPOConfig } from '../config/config.js';
import { type ByCompletion, tokenRanges } from '../spaces.js';

/** torch.quantile: linear between the order statistics. */
export function quantile(values: ArrayLike<number>, q: number): number {
  const sorted = Float64Array.from(values).sort();
  const at = q * (sorted.length - 1);
  const [low, high] = [sorted[Math.floor(at)]!, sorted[Math.ceil(at)]!];
  return low + (high - low) * (at - Math.floor(at));
}

/** 1 for tokens whose entropy is at or above the (1 − share) quantile (2506.01939), else 0. */
export function highEntropyMask(entropies: ArrayLike<number>, share: number): Float64Array {
  const threshold = quantile(entropies, 1 - share);
  return Float64Array.from(entropies, (h) => (h >= threshold ? 1 : 0));
}

/** Σ (a − b) over tokens. */
function sumOfDifferences(a: ArrayLike<number>, b: ArrayLike<number>, begin: number, end: number): number {
  let sum = 0;
  for (let token = begin; token < end; ++token) sum += a[token]! - b[token]!;
  return sum;
}

/**
 * Per completion: 0 where the advantage is negative and the mean of log π_sampling − log π exceeds the
 * threshold (DeepSeek-V3.2), else 1.
 */
export function offPolicyMask(
  advantages: ArrayLike<number>,
  logps: ArrayLike<number>,
  samplingLogps: ArrayLike<number>,
  lengths: ByCompletion<number>,
  threshold: number,
): Float64Array {
  return Float64Array.from(tokenRanges(lengths), ({ begin, end }) => {
    if (begin === end || !(advantages[begin]! < 0)) return 1;
    const drift = sumOfDifferences(samplingLogps, logps, begin, end) / (end - begin);
    return drift > threshold ? 0 : 1;
  });
}

type Correction = Pick<
  ResolvedGRPOConfig,
  'vllmImportanceSamplingMode' | 'vllmImportanceSamplingClipMin' | 'vllmImportanceSamplingClipMax'
>;

/** A weight within the bounds: cut to them, or 0 beyond them. */
function bounded(weight: number, options: Correction): number {
  const low = options.vllmImportanceSamplingClipMin ?? 0;
  const high = options.vllmImportanceSamplingClipMax ?? Infinity;
  if (options.vllmImportanceSamplingMode.endsWith('truncate')) return Math.min(Math.max(weight, low), high);
  return weight < low || weight > high ? 0 : weight;
}

/** π_training / π_sampling per token, or of the whole completion, within the bounds. */
export function importanceWeights(
  training: ArrayLike<number>,
  sampling: ArrayLike<number>,
  lengths: ByCompletion<number>,
  options: Correction,
): Float64Array {
  const wholeCompletions = options.vllmImportanceSamplingMode.startsWith('sequence');
  const weights = new Float64Array(training.length);
  for (const { begin, end } of tokenRanges(lengths)) {
    const whole = sumOfDifferences(training, sampling, begin, end);
    for (let token = begin; token < end; ++token) {
      const logRatio = wholeCompletions ? whole : training[token]! - sampling[token]!;
      weights[token] = bounded(Math.exp(logRatio), options);
    }
  }
  return weights;
}
