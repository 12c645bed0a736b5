/** Estimators of what a policy can do, from n samples per prompt. */
import { fail } from '../errors.js';

/**
 * Probability that at least one of k samples is right, given c right ones of n: 1 − C(n − c, k) / C(n, k), the unbiased estimator of
 * Chen et al. 2021 (arXiv 2107.03374), as a product because the binomials overflow.
 */
export function passAtK(n: number, c: number, k: number): number {
  if (!(Number.isInteger(k) && k >= 1 && k <= n)) fail('ERR_INVALID_ARG', `passAtK: k must be an integer in 1 … ${n} (the samples per prompt), got ${k}`);
  if (n - c < k) return 1;
  let none = 1;
  for (let i = n - c + 1; i <= n; ++i) none *= 1 - k / i;
  return 1 - none;
}

export const mean = (values: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < values.length; ++i) sum += values[i]!;
  return sum / values.length;
};

/** Unbiased standard deviation; 0 for a single value. */
export function standardDeviation(values: readonly number[]): number {
  if (values.length < 2) return 0;
  const centre = mean(values);
  return Math.sqrt(values.reduce((sum, x) => sum + (x - centre) ** 2, 0) / (values.length - 1));
}
