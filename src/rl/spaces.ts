/**
 * The three index spaces of a policy update, as types.
 *   completion   every completion of the rollout; those of one prompt lie next to each other
 *   kept         the completions that train, in the rollout's order; the others are masked
 *   token        the active tokens: the scored tokens of the kept completions, one after the other
 * An array belongs to one space and is read with an index of that space alone; any other pairing does not
 * compile. At run time an index is a number and an array is an array, so this costs nothing.
 */
declare const space: unique symbol;

export type CompletionIndex = number & { readonly [space]: 'completion' };
export type KeptIndex = number & { readonly [space]: 'kept' };
export type TokenIndex = number & { readonly [space]: 'token' };

export interface ByCompletion<T> extends Iterable<T> {
  readonly length: number;
  readonly [index: CompletionIndex]: T;
}
export interface ByKept<T> extends Iterable<T> {
  readonly length: number;
  readonly [index: KeptIndex]: T;
}
export interface ByToken<T> extends Iterable<T> {
  readonly length: number;
  readonly [index: TokenIndex]: T;
}

/** A new array over the same space. */
export function mapEach<T, U>(
  values: ByCompletion<T>,
  change: (value: T, index: CompletionIndex) => U,
): ByCompletion<U>;
export function mapEach<T, U>(values: ByKept<T>, change: (value: T, index: KeptIndex) => U): ByKept<U>;
export function mapEach<T, U>(values: ByToken<T>, change: (value: T, index: TokenIndex) => U): ByToken<U>;
export function mapEach<T, U>(values: Iterable<T>, change: (value: T, index: never) => U): U[] {
  return Array.from(values, change as (value: T, index: number) => U);
}

/** Index and value, one after the other. */
export function entriesOf<T>(values: ByCompletion<T>): Iterable<[CompletionIndex, T]>;
export function entriesOf<T>(values: ByKept<T>): Iterable<[KeptIndex, T]>;
export function entriesOf<T>(values: ByToken<T>): Iterable<[TokenIndex, T]>;
export function entriesOf<T>(values: Iterable<T>): Iterable<[never, T]> {
  return [...values].entries() as Iterable<[never, T]>;
}

/** The same array for a function that knows nothing of spaces, such as a sum. */
export const plain = <T>(values: ByCompletion<T> | ByKept<T> | ByToken<T>): ArrayLike<T> =>
  values as unknown as ArrayLike<T>;

/** Tokens `begin` to before `end`. */
export interface TokenRange {
  readonly begin: TokenIndex;
  readonly end: TokenIndex;
}

/** Where each completion's active tokens lie; `lengths` is how many it has, 0 when it is masked. */
export function tokenRanges(lengths: ByCompletion<number>): ByCompletion<TokenRange> {
  let next = 0;
  return mapEach(lengths, (length) => {
    const begin = next as TokenIndex;
    next += length;
    return { begin, end: next as TokenIndex };
  });
}

/** One sum per completion, over its active tokens. */
export function sumTokens(values: ByToken<number>, lengths: ByCompletion<number>): ByCompletion<number> {
  return mapEach(tokenRanges(lengths), ({ begin, end }) => {
    let sum = 0;
    for (let token = begin; token < end; ++token) sum += values[token]!;
    return sum;
  });
}
