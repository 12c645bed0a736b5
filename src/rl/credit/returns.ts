/**
 * Advantages of single tokens, in double. `lengths` says how many active tokens each completion has.
 *   tokenRewards   r_t = −beta · kl_t, and the completion's score on its last token   (TRL's PPOTrainer)
 *   discounted     A_t = Σ_{u ≥ t} gamma^(u − t) r_u                                   (REINFORCE++, 2501.03262)
 *   generalized    δ_t = r_t + gamma V_{t+1} − V_t, with V = 0 past the end            (GAE, 1506.02438)
 *                  A_t = δ_t + gamma lam A_{t+1}; returns A + V
 */
import {
  type ByCompletion,
  type ByToken,
  entriesOf,
  mapEach,
  plain,
  type TokenIndex,
  tokenRanges,
} from '../spaces.js';

export function tokenRewards(
  scores: ByCompletion<number>,
  lengths: ByCompletion<number>,
  beta: number,
  kl?: ByToken<number>,
): ByToken<number> {
  const count = [...lengths].reduce((a, b) => a + b, 0);
  const out = new Float64Array(count);
  for (const [completion, { begin, end }] of entriesOf(tokenRanges(lengths))) {
    for (let token = begin; token < end; ++token) out[token] = kl ? -beta * kl[token]! : 0;
    if (end > begin) out[end - 1]! += scores[completion]!;
  }
  return out;
}

/** Calls `step` on every token from the last of a completion to its first, with the token that follows it. */
function backwards(
  lengths: ByCompletion<number>,
  step: (token: TokenIndex, next: TokenIndex | undefined) => void,
): void {
  for (const { begin, end } of tokenRanges(lengths)) {
    let next: TokenIndex | undefined;
    for (let token = (end - 1) as TokenIndex; token >= begin; --token) {
      step(token, next);
      next = token;
    }
  }
}

export function discountedReturns(
  rewards: ByToken<number>,
  lengths: ByCompletion<number>,
  gamma: number,
): ByToken<number> {
  const out = new Float64Array(rewards.length);
  backwards(lengths, (token, next) => {
    const future = next === undefined ? 0 : gamma * out[next]!;
    out[token] = rewards[token]! + future;
  });
  return out;
}

export function generalizedAdvantages(
  rewards: ByToken<number>,
  values: ByToken<number>,
  lengths: ByCompletion<number>,
  { gamma, lam }: { readonly gamma: number; readonly lam: number },
): { advantages: ByToken<number>; returns: ByToken<number> } {
  const advantages = new Float64Array(rewards.length);
  backwards(lengths, (token, next) => {
    const nextValue = next === undefined ? 0 : gamma * values[next]!;
    const delta = rewards[token]! + nextValue - values[token]!;
    const nextAdvantage = next === undefined ? 0 : gamma * lam * advantages[next]!;
    advantages[token] = delta + nextAdvantage;
  });
  const before = plain(values);
  return { advantages, returns: advantages.map((advantage, n) => advantage + before[n]!) };
}

/** Added to the variance, as TRL's masked_whiten. */
const WHITEN_EPSILON = 1e-8;

/**
 * (x − mean) / √(variance + 1e-8), variance with ddof 1, as TRL's masked_whiten; with `shiftMean: false` the
 * mean stays. Where `mask` is 0 a value counts for nothing and becomes 0.
 */
export function whiten(
  values: ByToken<number>,
  { shiftMean = true, mask }: { readonly shiftMean?: boolean; readonly mask?: ByToken<number> } = {},
): ByToken<number> {
  const isCounted = mapEach(values, (_, token) => mask?.[token] !== 0);
  const counted: number[] = [];
  for (const [token, value] of entriesOf(values)) if (isCounted[token]) counted.push(value);
  const mean = counted.reduce((a, b) => a + b, 0) / counted.length;
  const squares = counted.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  const variance = counted.length < 2 ? 0 : squares / (counted.length - 1);
  const whitened = mapEach(values, (value, token) => {
    if (!isCounted[token]) return 0;
    return (value - mean) / Math.sqrt(variance + WHITEN_EPSILON) + (shiftMean ? 0 : mean);
  });
  return Float64Array.from(whitened);
}
