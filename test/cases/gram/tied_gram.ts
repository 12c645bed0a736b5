import { expect } from 'vitest';

import { entry, numbers } from '../../helpers/kernels.js';
import { distance, gramOf, offsetsOf } from '../../helpers/pairs.js';
import { ints, type Random } from '../../helpers/random.js';
import { defineCases, type CaseArgs } from '../define.js';

const set = (
  r: Random,
  scored: readonly number[],
  lengths: readonly number[],
  vocabulary: number,
  width: number,
) => {
  const [n, m] = [scored, lengths].map((l) => l.reduce((sum, length) => sum + length, 0)) as [number, number];
  return {
    phi: r.normal([n, width]),
    g: r.normal([n, vocabulary]),
    offsets: offsetsOf(scored),
    ids: r.integers([m], 0, vocabulary),
    delta: r.normal([m, width]),
    offsets2: offsetsOf(lengths),
  };
};
type Tied = ReturnType<typeof set>;

/** Gradients of the tied matrix from both of its uses. */
const tables = (
  { phi, g, offsets, ids, delta, offsets2 }: Tied,
  use: 'classifier' | 'embedding' | 'both',
): Float64Array[] => {
  const [vocabulary, width] = [g.shape[1]!, phi.shape[1]!];
  return Array.from({ length: offsets.data.length - 1 }, (_, s) => {
    const w = new Float64Array(vocabulary * width);
    if (use !== 'embedding')
      for (let n = offsets.data[s]!; n < offsets.data[s + 1]!; ++n)
        for (let v = 0; v < vocabulary; ++v)
          for (let c = 0; c < width; ++c)
            w[v * width + c]! +=
              Math.fround(g.data[n * vocabulary + v]!) * Math.fround(phi.data[n * width + c]!);
    if (use !== 'classifier')
      for (let m = offsets2.data[s]!; m < offsets2.data[s + 1]!; ++m)
        for (let c = 0; c < width; ++c)
          w[ids.data[m]! * width + c]! += Math.fround(delta.data[m * width + c]!);
    return w;
  });
};

export const tiedGram = defineCases({
  op: 'tied_gram',
  cases: [
    { name: 'ragged', args: (r) => ({ ...set(r, [3, 0, 70], [9, 4, 75], 50, 21) }) },
    { name: 'symmetrized', args: (r) => ({ ...set(r, [3, 0, 8], [9, 4, 12], 50, 21), symmetrize: true }) },
    {
      name: 'symmetrized and accumulated',
      args: (r) => ({
        ...set(r, [3, 6], [9, 4], 10, 8),
        symmetrize: true,
        accumulate: true,
        gram: r.normal([2, 2]),
      }),
    },
    { name: 'rectangular', args: (r) => ({ ...set(r, [3, 0, 8], [9, 4], 50, 21) }) },
    {
      name: 'a slice of the vocabulary',
      args: (r) => ({ ...set(r, [3, 0, 8], [9, 4, 12], 20, 17), ids: r.integers([25], 0, 60), first_id: 15 }),
    },
    {
      name: 'shared rows of phi',
      args: (r) => ({
        ...set(r, [3, 2], [5, 4], 9, 17),
        phi: r.normal([3, 17]),
        phi_rows: ints(0, 1, 2, 2, 0),
      }),
    },
    { name: 'nothing scored', args: (r) => ({ ...set(r, [0, 0], [5, 4], 9, 17) }) },
  ],
  invariants: [
    {
      name: 'with token_gram and embedding_gram it is the kernel of the tied matrix, in float64 to 1e-12',
      check: (run, random, real) => {
        const x = set(random, [4, 0, 9], [6, 2, 11], 13, 10);
        const classifier = { a: x.phi, d: x.g, offsets: x.offsets };
        const embedding = { ids: x.ids, d: x.delta, offsets: x.offsets2 };
        const start = numbers(run('token_gram', classifier)['gram']!);
        const middle = numbers(
          run('embedding_gram', {
            ...embedding,
            accumulate: true,
            gram: { data: start, shape: [3, 3] },
          } as CaseArgs)['gram']!,
        );
        const total = numbers(
          run('tied_gram', {
            ...x,
            symmetrize: true,
            accumulate: true,
            gram: { data: middle, shape: [3, 3] },
          } as CaseArgs)['gram']!,
        );
        expect(distance(total, gramOf(tables(x, 'both')))).toBeLessThan(real === 'float64' ? 1e-12 : 1e-6);
        expect(
          distance(
            numbers(run('tied_gram', { ...x } as CaseArgs)['gram']!),
            gramOf(tables(x, 'classifier'), tables(x, 'embedding')),
          ),
        ).toBeLessThan(real === 'float64' ? 1e-12 : 1e-6);
      },
    },
    {
      name: 'writes a transposed view',
      check: (_, random) => {
        const x = set(random, [4, 9], [6, 2, 11], 13, 10);
        const float = (t: { data: Float64Array; shape: readonly number[] }) => ({
          data: Float32Array.from(t.data),
          shape: t.shape,
        });
        const args = {
          phi: float(x.phi),
          g: float(x.g),
          offsets: x.offsets,
          ids: x.ids,
          delta: float(x.delta),
          offsets2: x.offsets2,
        };
        const plain = numbers(entry('tied_gram').runSync(args)['gram']!);
        const data = new Float64Array(6);
        entry('tied_gram').runSync({ ...args, gram: { data, shape: [2, 3], strides: [1, 2] } });
        expect([...data]).toEqual([0, 1, 2].flatMap((t) => [0, 1].map((s) => plain[s * 3 + t])));
      },
    },
  ],
  refused: [
    {
      name: 'symmetrize of a rectangle',
      args: (r) => ({ ...set32(r), symmetrize: true }),
      code: 'ERR_SHAPE',
      message: 'symmetrize needs a square gram',
    },
    {
      name: 'offsets2 that do not fit delta',
      args: (r) => ({ ...set32(r), offsets2: ints(0, 4) }),
      code: 'ERR_INVALID_ARG',
      message: 'offsets2 must begin with 0',
    },
  ],
  bench: [
    {
      name: '32 × T 64, 32 scored, d 256, V 2048',
      args: (r) => ({
        ...set(r, Array<number>(32).fill(32), Array<number>(32).fill(64), 2048, 256),
        symmetrize: true,
      }),
    },
  ],
});

function set32(r: Random) {
  const x = set(r, [2], [3, 2], 4, 5);
  const float = (t: { data: Float64Array; shape: readonly number[] }) => ({
    data: Float32Array.from(t.data),
    shape: t.shape,
  });
  return {
    phi: float(x.phi),
    g: float(x.g),
    offsets: x.offsets,
    ids: x.ids,
    delta: float(x.delta),
    offsets2: x.offsets2,
  };
}
