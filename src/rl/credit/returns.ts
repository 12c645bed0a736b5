/**
 * Advantages of single tokens, in double. Arrays hold the scored tokens of consecutive sequences; `lengths`
 * says how many each has.
 *   tokenRewards    r_t = −beta · kl_t, and the sequence's score on its last token          (TRL's PPOTrainer)
 *   discounted      A_t = Σ_{u ≥ t} gamma^(u − t) r_u                                        (REINFORCE++, 2501.03262)
 *   generalized     δ_t = r_t + gamma V_{t+1} − V_t, A_t = δ_t + gamma lam A_{t+1}; V = 0 past the end; returns A + V  (GAE, 1506.02438)
 */
export function tokenRewards(
  scores: ArrayLike<number>,
  lengths: readonly number[],
  beta: number,
  kl?: ArrayLike<number>,
): Float64Array {
  const out = new Float64Array(lengths.reduce((a, b) => a + b, 0));
  let end = 0;
  lengths.forEach((length, s) => {
    for (const begin = end; end < begin + length; ++end) out[end] = kl ? -beta * kl[end]! : 0;
    if (length > 0) out[end - 1]! += scores[s]!;
  });
  return out;
}

/**
 * Calls `step` on every token from the last of a sequence to its first; `next` is the token after it, −1 for
 * none.
 */
function backwards(lengths: readonly number[], step: (n: number, next: number) => void): void {
  let begin = 0;
  for (const length of lengths) {
    for (let n = begin + length - 1; n >= begin; --n) step(n, n + 1 < begin + length ? n + 1 : -1);
    begin += length;
  }
}

export function discountedReturns(
  rewards: Float64Array,
  lengths: readonly number[],
  gamma: number,
): Float64Array {
  const out = new Float64Array(rewards.length);
  backwards(lengths, (n, next) => (out[n] = rewards[n]! + (next < 0 ? 0 : gamma * out[next]!)));
  return out;
}

export function generalizedAdvantages(
  rewards: Float64Array,
  values: ArrayLike<number>,
  lengths: readonly number[],
  { gamma, lam }: { readonly gamma: number; readonly lam: number },
): { advantages: Float64Array; returns: Float64Array } {
  const advantages = new Float64Array(rewards.length);
  backwards(lengths, (n, next) => {
    const delta = rewards[n]! + (next < 0 ? 0 : gamma * values[next]!) - values[n]!;
    advantages[n] = delta + (next < 0 ? 0 : gamma * lam * advantages[next]!);
  });
  return { advantages, returns: advantages.map((a, n) => a + values[n]!) };
}

/**
 * (x − mean) / √(variance + 1e-8), variance with ddof 1, as TRL's masked_whiten; with `shiftMean: false` the
 * mean stays. Where `mask` is 0 a value counts for nothing and becomes 0.
 */
export function whiten(
  values: Float64Array,
  { shiftMean = true, mask }: { readonly shiftMean?: boolean; readonly mask?: ArrayLike<number> } = {},
): Float64Array {
  const counted = mask ? values.filter((_, n) => mask[n] !== 0) : values;
  const mean = counted.reduce((a, b) => a + b, 0) / counted.length;
  const variance =
    counted.length < 2 ? 0 : counted.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (counted.length - 1);
  return values.map((x, n) =>
    mask?.[n] === 0 ? 0 : (x - mean) / Math.sqrt(variance + 1e-8) + (shiftMean ? 0 : mean),
  );
}
