import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import { distance, gramOf, isGram, offsetsOf } from '../../helpers/pairs.js';
import { ints, type IntTensor, type Random, type RealTensor, float32s } from '../../helpers/random.js';
import { defineCases, type CaseArgs } from '../define.js';

const set = (
  r: Random,
  lengths: readonly number[],
  vocabulary: number,
  width: number,
): { ids: IntTensor; d: RealTensor; offsets: IntTensor } => {
  const rows = lengths.reduce((sum, length) => sum + length, 0);
  return { ids: r.integers([rows], 0, vocabulary), d: r.normal([rows, width]), offsets: offsetsOf(lengths) };
};
const other = ({ ids, d, offsets }: ReturnType<typeof set>) => ({ ids2: ids, d2: d, offsets2: offsets });

/** Σ of one-hot(id) ⊗ d per function. */
const tables = ({ ids, d, offsets }: ReturnType<typeof set>, vocabulary: number): Float64Array[] => {
  const width = d.shape[1]!;
  return Array.from({ length: offsets.data.length - 1 }, (_, s) => {
    const g = new Float64Array(vocabulary * width);
    for (let n = offsets.data[s]!; n < offsets.data[s + 1]!; ++n)
      for (let c = 0; c < width; ++c) g[ids.data[n]! * width + c]! += Math.fround(d.data[n * width + c]!);
    return g;
  });
};
const positions = (lengths: readonly number[]) =>
  ints(...lengths.flatMap((length) => Array.from({ length }, (_, t) => t)));

export const embeddingGram = defineCases({
  op: 'embedding_gram',
  cases: [
    { name: 'ragged, ids repeat', args: (r) => ({ ...set(r, [9, 0, 40, 1, 5], 12, 21) }) },
    { name: 'one id', args: (r) => ({ ...set(r, [9, 0, 40], 1, 16) }) },
    { name: 'hardly any shared id', args: (r) => ({ ...set(r, [9, 7, 40], 100000, 5) }) },
    {
      name: 'negative ids are ids too',
      args: (r) => ({ ...set(r, [2, 2], 1, 5), ids: ints(-100, 3, 3, -100) }),
    },
    {
      name: 'rectangular',
      args: (r) => ({ ...set(r, [9, 0, 40, 1], 8, 33), ...other(set(r, [3, 50], 8, 33)) }),
    },
    {
      name: 'accumulated',
      args: (r) => ({
        ...set(r, [9, 3], 5, 8),
        accumulate: true,
        gram: { data: Float64Array.of(3, -1, -1, 2), shape: [2, 2] },
      }),
    },
    {
      name: 'positions',
      args: (r) => ({ d: r.normal([30, 18]), ids: positions([12, 5, 13]), offsets: offsetsOf([12, 5, 13]) }),
    },
    { name: 'many functions of one id', args: (r) => ({ ...set(r, Array<number>(80).fill(3), 2, 40) }) },
    { name: 'no rows', args: (r) => ({ ...set(r, [0, 0], 5, 8) }) },
  ],
  invariants: [
    {
      name: 'equals brute force over the table, in float64 to 1e-12',
      check: (run, random, real) => {
        const x = set(random, [20, 0, 3, 70], 15, 12);
        const y = set(random, [6, 31], 15, 12);
        const tolerance = real === 'float64' ? 1e-12 : 1e-6;
        const k = numbers(run('embedding_gram', { ...x } as CaseArgs)['gram']!);
        expect(distance(k, gramOf(tables(x, 15)))).toBeLessThan(tolerance);
        expect(isGram(k, 4, random)).toBe(true);
        expect(
          distance(
            numbers(run('embedding_gram', { ...x, ...other(y) } as CaseArgs)['gram']!),
            gramOf(tables(x, 15), tables(y, 15)),
          ),
        ).toBeLessThan(tolerance);
      },
    },
  ],
  refused: [
    {
      name: 'ids of another length',
      args: () => ({ ids: ints(0, 1), d: float32s(3, 2), offsets: ints(0, 3) }),
      code: 'ERR_SHAPE',
      message: 'd has shape (N C)',
    },
    {
      name: 'a second set without ids',
      args: () => ({
        ids: ints(0),
        d: float32s(1, 2),
        offsets: ints(0, 1),
        d2: float32s(1, 2),
        offsets2: ints(0, 1),
      }),
      code: 'ERR_INVALID_ARG',
      message: 'ids2 must be given',
    },
  ],
  bench: [
    { name: '32 × T 64, d 256, V 2048', args: (r) => ({ ...set(r, Array<number>(32).fill(64), 2048, 256) }) },
    {
      name: 'positions: 128 × T 64, d 1024',
      args: (r) => ({
        d: r.normal([8192, 1024]),
        ids: positions(Array<number>(128).fill(64)),
        offsets: offsetsOf(Array<number>(128).fill(64)),
      }),
    },
  ],
});
