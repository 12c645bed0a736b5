/**
 * What multiplies the policy term of single tokens, beside the advantage: masks and importance weights (TRL's
 * _compute_loss at f2cd577). They act on the advantage, so that the KL term and the normaliser stay as they
 * are.
 */
import type { ResolvedGRPOConfig } from '../config/config.js';

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

/**
 * Per sequence: 0 where the advantage is negative and the mean of log π_sampling − log π exceeds the
 * threshold (DeepSeek-V3.2), else 1.
 */
export function offPolicyMask(
  advantages: ArrayLike<number>,
  logps: ArrayLike<number>,
  samplingLogps: ArrayLike<number>,
  lengths: readonly number[],
  threshold: number,
): Float64Array {
  let n = 0;
  return Float64Array.from(lengths, (length) => {
    const first = n;
    let kl = 0;
    for (const end = n + length; n < end; ++n) kl += samplingLogps[n]! - logps[n]!;
    return length > 0 && advantages[first]! < 0 && kl / length > threshold ? 0 : 1;
  });
}

type Correction = Pick<
  ResolvedGRPOConfig,
  'vllmImportanceSamplingMode' | 'vllmImportanceSamplingClipMin' | 'vllmImportanceSamplingClipMax'
>;

/**
 * π_training / π_sampling per token, or of the whole sequence, truncated to the bounds or set to 0 beyond
 * them.
 */
export function importanceWeights(
  training: ArrayLike<number>,
  sampling: ArrayLike<number>,
  lengths: readonly number[],
  options: Correction,
): Float64Array {
  const {
    vllmImportanceSamplingMode: mode,
    vllmImportanceSamplingClipMin,
    vllmImportanceSamplingClipMax,
  } = options;
  const [low, high] = [vllmImportanceSamplingClipMin ?? 0, vllmImportanceSamplingClipMax ?? Infinity];
  const bound = (ratio: number) =>
    mode.endsWith('truncate')
      ? Math.min(Math.max(ratio, low), high)
      : ratio < low || ratio > high
        ? 0
        : ratio;
  const out = new Float64Array(training.length);
  let n = 0;
  for (const length of lengths) {
    let log = 0;
    for (let t = n; t < n + length; ++t) log += training[t]! - sampling[t]!;
    for (const end = n + length; n < end; ++n)
      out[n] = bound(Math.exp(mode.startsWith('sequence') ? log : training[n]! - sampling[n]!));
  }
  return out;
}
