/** The compiler keeps the index spaces apart; `tsc` fails where an error below does not come. */
import { expect, it } from 'vitest';

import {
  type ByCompletion,
  type ByKept,
  type ByToken,
  type CompletionIndex,
  type KeptIndex,
  entriesOf,
  mapEach,
  sumTokens,
  type TokenIndex,
  tokenRanges,
} from '../../src/rl/spaces.js';

it('an array is read with an index of its own space, and with no other', () => {
  const rewards: ByCompletion<number> = [1, 2];
  const samples: ByKept<string> = ['a'];
  const advantages: ByToken<number> = Float32Array.of(1, 2, 3);
  const completion = 0 as CompletionIndex;
  const kept = 0 as KeptIndex;
  const token = 0 as TokenIndex;

  expect([rewards[completion], samples[kept], advantages[token]]).toEqual([1, 'a', 1]);
  // @ts-expect-error a token is no completion
  rewards[token];
  // @ts-expect-error a kept sample is no completion
  rewards[kept];
  // @ts-expect-error a completion is no kept sample
  samples[completion];
  // @ts-expect-error a completion is no token
  advantages[completion];
  // @ts-expect-error a plain number may be of any space
  advantages[0];
  // @ts-expect-error a number by token is not one by completion
  const mixed: ByCompletion<number> = advantages;
  // @ts-expect-error lengths are by completion
  sumTokens(advantages, advantages);
  // @ts-expect-error what is read only is not written
  rewards[completion] = 3;
  // @ts-expect-error the index that a function gets is of the array's space
  mapEach(rewards, (_, index) => advantages[index]);
  expect(mixed).toBe(advantages);
});

it('tokens of the kept completions lie one after the other; a masked completion has none', () => {
  const lengths = [2, 0, 3];
  expect(tokenRanges(lengths)).toEqual([
    { begin: 0, end: 2 },
    { begin: 2, end: 2 },
    { begin: 2, end: 5 },
  ]);
  expect(sumTokens([1, 2, 3, 4, 5], lengths)).toEqual([3, 0, 12]);
  expect([...entriesOf(lengths as ByCompletion<number>)]).toEqual([...lengths.entries()]);
  expect(mapEach(lengths as ByCompletion<number>, (length, completion) => length + completion)).toEqual([
    2, 1, 5,
  ]);
});
