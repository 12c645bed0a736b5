/** What choosing among several samples would give. */
import { fail } from '../errors.js';

export { passAtK } from '../evaluation/estimators.js';

/**
 * Expected reward of the best of N samples of a prompt, from n ≥ N: Σ_i C(i − 1, N − 1) / C(n, N) · r_(i), r_(i) ascending: the mean of the
 * maximum over all subsets of N, so unbiased. passAtK is its case of rewards 0 and 1.
 */
export function bestOfN(rewards: ArrayLike<number>, N: number): number {
  const sorted = Float64Array.from(rewards).sort();
  const n = sorted.length;
  if (!(Number.isInteger(N) && N >= 1 && N <= n)) fail('ERR_INVALID_ARG', `analysis.bestOfN: N must be an integer in 1 … ${n} (the rewards given), got ${N}`);
  // From the largest down: the weight of r_(n) is N / n, that of r_(i−1) is that of r_(i) times (i − N) / (i − 1).
  let share = N / n;
  let sum = 0;
  for (let i = n; i >= N; share *= (i - N) / (i - 1), --i) sum += share * sorted[i - 1]!;
  return sum;
}
