import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import { distance, gradientsOf, gramOf, offsetsOf, pairs, rounded, tokenLevel } from '../../helpers/pairs.js';
import { ints, type Random, type RealTensor, float32s } from '../../helpers/random.js';
import { defineCases, type CaseArgs } from '../define.js';

const zeros = (...shape: number[]): RealTensor => ({
  data: new Float64Array(shape.reduce((x, y) => x * y, 1)),
  shape,
});

export const sketch = defineCases({
  op: 'sketch',
  cases: [
    {
      name: 'ragged, rademacher',
      args: (r) => ({
        ...pairs(r, [5, 0, 17, 1], 37, 23),
        sketches: r.normal([4, 3, 20]),
        left: 4,
        seed: 5,
        stream: 2,
      }),
    },
    {
      name: 'gaussian',
      args: (r) => ({
        ...pairs(r, [5, 9], 37, 23),
        sketches: zeros(2, 4, 15),
        left: 3,
        projection: 'gaussian',
        seed: 77,
      }),
    },
    {
      name: 'bias',
      args: (r) => ({ ...pairs(r, [5, 9], 7, 8), sketches: zeros(2, 5, 8), left: 2, bias: true }),
    },
    {
      name: 'without a',
      args: (r) => ({
        d: r.normal([3, 40]),
        offsets: ints(0, 1, 2, 3),
        sketches: zeros(3, 6, 12),
        left: 6,
        seed: 3,
      }),
    },
    {
      name: 'ids',
      args: (r) => ({
        ids: r.integers([14], 0, 90),
        a: r.normal([14, 9]),
        offsets: offsetsOf([5, 9]),
        sketches: zeros(2, 3, 16),
        left: 4,
        seed: 3,
        stream: 4,
      }),
    },
    {
      name: 'a slice of columns',
      args: (r) => ({ ...pairs(r, [5, 9], 7, 8), sketches: zeros(2, 5, 8), left: 2, first_column: 130 }),
    },
    {
      name: 'token level',
      args: (r) => ({ ...tokenLevel(r, [5, 12, 1], 6, 18, 11), sketches: zeros(12, 3, 6), left: 2 }),
    },
    {
      name: 'more entries than one random block',
      args: (r) => ({ ...pairs(r, [3], 5, 6), sketches: zeros(1, 50, 49), left: 7 }),
    },
    { name: 'wide', args: (r) => ({ ...pairs(r, [3, 70], 1300, 600), sketches: zeros(2, 4, 64), left: 8 }) },
    { name: 'no functions', args: (r) => ({ ...pairs(r, [], 5, 6), sketches: zeros(0, 4, 9), left: 3 }) },
  ],
  invariants: [
    {
      name: 'columns, functions and repeats split into calls give the same sketch',
      check: (run, random) => {
        const p = pairs(random, [6, 4], 20, 30);
        const tolerance = 1e-6; // the harness rounds what passes from call to call
        const whole = numbers(
          run('sketch', { ...p, sketches: zeros(2, 6, 12), left: 3, seed: 9 })['sketches']!,
        );
        const slice = (begin: number, end: number) => ({
          data: Float64Array.from(
            { length: 10 * (end - begin) },
            (_, i) => p.d.data[Math.floor(i / (end - begin)) * 30 + begin + (i % (end - begin))]!,
          ),
          shape: [10, end - begin],
        });
        const first = run('sketch', { ...p, d: slice(0, 11), sketches: zeros(2, 6, 12), left: 3, seed: 9 })[
          'sketches'
        ]!;
        const both = run('sketch', {
          ...p,
          d: slice(11, 30),
          first_column: 11,
          sketches: { data: numbers(first), shape: [2, 6, 12] },
          left: 3,
          seed: 9,
        })['sketches']!;
        expect(distance(numbers(both), whole)).toBeLessThan(tolerance);
        const fewer = numbers(
          run('sketch', { ...p, sketches: zeros(2, 2, 12), left: 3, seed: 9 })['sketches']!,
        );
        expect(distance(fewer.slice(0, 24), whole.slice(0, 24))).toBeLessThan(tolerance);
        const alone = numbers(
          run('sketch', {
            a: { data: p.a.data.slice(120), shape: [4, 20] },
            d: { data: p.d.data.slice(180), shape: [4, 30] },
            offsets: ints(0, 4),
            sketches: zeros(1, 6, 12),
            left: 3,
            seed: 9,
          })['sketches']!,
        );
        expect(distance(alone, whole.slice(72))).toBeLessThan(tolerance);
      },
    },
    {
      name: 'ids are one-hot gradients',
      check: (run, random, real) => {
        const ids = [3, 0, 7, 3];
        const oneHot = {
          data: Float64Array.from(ids.flatMap((id) => Array.from({ length: 9 }, (_, v) => Number(v === id)))),
          shape: [4, 9],
        };
        const a = random.normal([4, 6]);
        const rest = { a, offsets: ints(0, 3, 4), left: 4, seed: 1, stream: 8 };
        const sparse = numbers(
          run('sketch', { ...rest, ids: ints(...ids), sketches: zeros(2, 5, 8) })['sketches']!,
        );
        const dense = numbers(run('sketch', { ...rest, d: oneHot, sketches: zeros(2, 5, 8) })['sketches']!);
        expect(distance(sparse, dense)).toBeLessThan(real === 'float64' ? 1e-14 : 1e-6);
      },
    },
    {
      name: 'the average over 4,000 repeats approaches the kernel',
      many: true,
      check: (run, random) => {
        for (const projection of ['rademacher', 'gaussian']) {
          const p = pairs(random, [3, 5, 1], 6, 7);
          const sketches = run('sketch', { ...p, projection, sketches: zeros(3, 4000, 6), left: 2, seed: 4 })[
            'sketches'
          ]!;
          const estimate = numbers(
            run('sketch_gram', { sketches: { data: numbers(sketches), shape: [3, 4000, 6] } })['estimate']!,
          );
          expect(distance(estimate, gramOf(gradientsOf(rounded(p))))).toBeLessThan(0.06);
        }
      },
    },
  ],
  refused: [
    {
      name: 'both d and ids',
      args: (r) => ({ ...float(r), ids: ints(0, 1) }),
      code: 'ERR_INVALID_ARG',
      message: 'exactly one of d and ids',
    },
    {
      name: 'a sketch that left does not divide',
      args: (r) => ({ ...float(r), left: 4 }),
      code: 'ERR_SHAPE',
      message: 'multiple of left',
    },
    {
      name: 'a negative seed',
      args: (r) => ({ ...float(r), seed: -1 }),
      code: 'ERR_INVALID_ARG',
      message: 'must not be negative',
    },
  ],
  bench: [
    {
      name: '32 × T 64, d 256, 32 repeats of 8 × 8',
      args: (r) => ({
        ...pairs(r, Array<number>(32).fill(64), 256, 256),
        sketches: zeros(32, 32, 64),
        left: 8,
      }),
    },
  ],
});

function float(r: Random): CaseArgs {
  const p = pairs(r, [1, 1], 3, 4);
  const narrow = (t: RealTensor) =>
    ({ data: Float32Array.from(t.data), shape: t.shape }) as unknown as RealTensor;
  return {
    a: narrow(p.a),
    d: narrow(p.d),
    offsets: p.offsets,
    sketches: float32s(2, 1, 6) as unknown as RealTensor,
  };
}
