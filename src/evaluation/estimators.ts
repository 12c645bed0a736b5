/** Estimators of what a policy can do, from n samples per prompt. */
import { arrayLike, check, count, natural } from '../core/check.js';
import { fail } from '../errors.js';

/**
 * Probability that at least one of k samples is right, given c right ones of n: 1 − C(n − c, k) / C(n, k),
 * the unbiased estimator of Chen et al. 2021 (arXiv 2107.03374), as a product because the binomials overflow.
 */
export function passAtK(n: number, c: number, k: number): number {
  check('passAtK', 'n', n, count);
  check('passAtK', 'c', c, natural);
  check('passAtK', 'k', k, count);
  if (c > n)
    fail('ERR_INVALID_ARG', `passAtK: c must be an integer in 0 … ${n} (the samples per prompt), got ${c}`);
  if (k > n)
    fail('ERR_INVALID_ARG', `passAtK: k must be an integer in 1 … ${n} (the samples per prompt), got ${k}`);
  if (n - c < k) return 1;
  let none = 1;
  for (let i = n - c + 1; i <= n; ++i) none *= 1 - k / i;
  return 1 - none;
}

/**
 * Expected reward of the best of N samples of a prompt, from n ≥ N: Σ_i C(i − 1, N − 1) / C(n, N) · r_(i),
 * r_(i) ascending: the mean of the maximum over all subsets of N, so unbiased. passAtK is its case of rewards
 * 0 and 1.
 */
export function bestOfN(rewards: ArrayLike<number>, N: number): number {
  check('bestOfN', 'rewards', rewards, arrayLike);
  check('bestOfN', 'N', N, count);
  const sorted = Float64Array.from(rewards).sort();
  const n = sorted.length;
  if (N > n)
    fail('ERR_INVALID_ARG', `bestOfN: N must be an integer in 1 … ${n} (the rewards given), got ${N}`);
  // From the largest down: the weight of r_(n) is N / n, that of r_(i−1) is that of r_(i) times (i − N) / (i
  // − 1).
  let share = N / n;
  let sum = 0;
  for (let i = n; i >= N; --i) {
    sum += share * sorted[i - 1]!;
    share *= (i - N) / (i - 1);
  }
  return sum;
}

/**
 * Probability that a vote among k samples is right: the mean over disjoint blocks of k of the n samples
 * (unbiased), where answers that tie for most votes share them. `answers`: one per sample, equal strings =
 * equal answers, undefined = no answer, which has no vote.
 */
export function majorityAtK(
  answers: readonly (string | undefined)[],
  right: readonly boolean[],
  k: number,
): number {
  check('majorityAtK', 'answers', answers, arrayLike);
  check('majorityAtK', 'right', right, arrayLike);
  check('majorityAtK', 'k', k, count);
  const n = answers.length;
  if (k > n)
    fail('ERR_INVALID_ARG', `majorityAtK: k must be an integer in 1 … ${n} (the samples given), got ${k}`);
  const blocks = Math.floor(n / k);
  let sum = 0;
  for (let block = 0; block < blocks; ++block) {
    const begin = block * k;
    sum += voteIsRight(answers.slice(begin, begin + k), right.slice(begin, begin + k));
  }
  return sum / blocks;
}

/** 1 or 0, or the share of the right answers among those that tie for most votes. */
function voteIsRight(answers: readonly (string | undefined)[], right: readonly boolean[]): number {
  const votes = new Map<string, { count: number; right: boolean }>();
  answers.forEach((answer, i) => {
    if (answer === undefined) return;
    const count = (votes.get(answer)?.count ?? 0) + 1;
    votes.set(answer, { count, right: right[i]! });
  });
  const all = [...votes.values()];
  const most = Math.max(0, ...all.map(({ count }) => count));
  const winners = all.filter(({ count }) => count === most);
  return winners.length === 0 ? 0 : winners.filter((winner) => winner.right).length / winners.length;
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

/** Two-sided 95 % quantiles of Student's t, 1 … 30 degrees of freedom; 1.96 is its limit. */
const T975 = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131,
  2.12, 2.11, 2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042,
];

export interface Interval {
  readonly mean: number;
  /** 95 % confidence interval of the mean; unbounded for one value. */
  readonly low: number;
  readonly high: number;
  readonly n: number;
}

/**
 * Mean and Student's 95 % interval; of paired differences it is the paired t-test. Values that are not finite
 * are left out.
 */
export function interval(values: readonly number[]): Interval {
  const finite = values.filter(Number.isFinite);
  const n = finite.length;
  const centre = mean(finite);
  const half = n < 2 ? Infinity : ((T975[n - 2] ?? 1.96) * standardDeviation(finite)) / Math.sqrt(n);
  return { mean: centre, low: centre - half, high: centre + half, n };
}
