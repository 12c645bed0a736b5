/** Texts that end a completion, found in what its tokens say. */
import type { Tokenizer } from './tokenizer.js';

/** Ids by stop texts: looking through a vocabulary takes a tenth of a second. */
const KNOWN = new WeakMap<Tokenizer, Map<string, ReadonlySet<number>>>();

const decoded = (tokenizer: Tokenizer, ids: readonly number[]): string =>
  tokenizer.decode(ids, { skipSpecialTokens: false });

/** Tokens that have one of the texts in them, at the beginning of a text and behind another token. */
export function tokensWith(
  tokenizer: Tokenizer,
  texts: readonly string[],
  vocabulary: number,
): ReadonlySet<number> {
  const key = JSON.stringify([texts, vocabulary]);
  const ofTokenizer = KNOWN.get(tokenizer) ?? new Map<string, ReadonlySet<number>>();
  KNOWN.set(tokenizer, ofTokenizer);
  const known = ofTokenizer.get(key);
  if (known) return known;
  const [before] = tokenizer.encode('a', { addSpecialTokens: false });
  const has = (ids: readonly number[]): boolean => {
    const text = decoded(tokenizer, ids);
    return texts.some((each) => text.includes(each));
  };
  const hasOne = (id: number): boolean => has([id]) && (before === undefined || has([before, id]));
  const ids = new Set(Array.from({ length: vocabulary }, (_, id) => id).filter(hasOne));
  ofTokenizer.set(key, ids);
  return ids;
}

/**
 * How many tokens there are up to the one that completes the first of the texts; undefined when none of them
 * is there. A character whose bytes are spread over tokens counts when the last of them is there.
 */
export function lengthToStop(
  tokenizer: Tokenizer,
  ids: readonly number[],
  texts: readonly string[],
  vocabulary: number,
): number | undefined {
  if (texts.length === 0) return undefined;
  const ending = tokensWith(tokenizer, texts, vocabulary);
  const single = ids.findIndex((id) => ending.has(id));
  const longest = single === -1 ? ids.length : single + 1;
  const stops = (length: number): boolean => {
    const text = decoded(tokenizer, ids.slice(0, length));
    return texts.some((each) => text.includes(each));
  };
  if (!stops(longest)) return single === -1 ? undefined : longest;
  let without = 0;
  let withStop = longest;
  while (withStop - without > 1) {
    const middle = Math.floor((without + withStop) / 2);
    if (stops(middle)) withStop = middle;
    else without = middle;
  }
  return withStop;
}
