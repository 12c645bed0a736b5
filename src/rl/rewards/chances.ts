/** pass@k, maj@k and best@k are told for k = 1, 2, 4, … up to the samples per prompt, and that number. */
import { bestOfN, mean, passAtK } from '../../evaluation/estimators.js';
import type { ByCompletion } from '../spaces.js';

/** A completion is right when the first reward function says at least 1. */
export const isRight = (reward: number): boolean => reward >= 1;

/** 1, 2, 4, … up to n, and n itself. */
export function sampleCounts(n: number): number[] {
  const counts = new Set<number>();
  for (let k = 1; k <= n; k *= 2) counts.add(k);
  counts.add(n);
  return [...counts];
}

/**
 * pass@k and best@k; n samples per prompt lie next to each other. `first`: what says who is right, `totals`:
 * the weighted sums.
 */
export function chances(
  first: ByCompletion<number>,
  totals: ByCompletion<number>,
  n: number,
): Record<string, number> {
  const right = Array.from(first, isRight);
  const rewards = Float64Array.from(totals, (total) => (Number.isNaN(total) ? 0 : total));
  const begins = Array.from({ length: right.length / n }, (_, prompt) => prompt * n);
  const result: Record<string, number> = {};
  for (const k of sampleCounts(n)) {
    const passes = begins.map((begin) => {
      const count = right.slice(begin, begin + n).filter(Boolean).length;
      return passAtK(n, count, k);
    });
    const bests = begins.map((begin) => bestOfN(rewards.subarray(begin, begin + n), k));
    result[`pass@${k}`] = mean(passes);
    result[`best@${k}`] = mean(bests);
  }
  return result;
}
