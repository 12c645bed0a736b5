import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import { distance, gramOf, offsetsOf, pairs } from '../../helpers/pairs.js';
import { ints } from '../../helpers/random.js';
import { defineCases } from '../define.js';
import { formCases, formInvariants, formRefusals } from './gram_forms.js';

const layer = (width: number, functions: number, rows: number) => ({
  name: `d ${width}, n ${functions} × T ${rows}`,
  args: (random: import('../../helpers/random.js').Random) => ({
    ...pairs(random, Array<number>(functions).fill(rows), width, width),
  }),
});

export const tokenGram = defineCases({
  op: 'token_gram',
  cases: [
    ...formCases,
    {
      name: 'without a: the Gram matrix of rows',
      args: (r) => ({ d: r.normal([70, 45]), offsets: offsetsOf(Array<number>(70).fill(1)) }),
    },
    {
      name: 'without a, rectangular and ragged',
      args: (r) => ({
        d: r.normal([9, 21]),
        offsets: ints(0, 4, 9),
        d2: r.normal([7, 21]),
        offsets2: ints(0, 0, 6, 7),
      }),
    },
    {
      name: 'large and small numbers',
      args: (r) => ({
        a: r.normal([40, 30], 1e4),
        d: r.normal([40, 30], 1e-6),
        offsets: offsetsOf([13, 27]),
      }),
    },
  ],
  invariants: [
    ...formInvariants('token_gram'),
    {
      name: 'equals jacobian_gram',
      check: (run, random, real) => {
        const p = { ...pairs(random, [20, 3, 41], 65, 50), bias: true };
        expect(
          distance(numbers(run('token_gram', p)['gram']!), numbers(run('jacobian_gram', p)['gram']!)),
        ).toBeLessThan(real === 'float64' ? 1e-13 : 1e-6);
      },
    },
    {
      name: 'slices of the columns of d add up',
      check: (run, random, real) => {
        const p = pairs(random, [20, 3, 41], 16, 50);
        const slice = (begin: number, end: number) => ({
          data: Float64Array.from(
            { length: 64 * (end - begin) },
            (_, i) => p.d.data[Math.floor(i / (end - begin)) * 50 + begin + (i % (end - begin))]!,
          ),
          shape: [64, end - begin],
        });
        const whole = numbers(run('token_gram', { ...p })['gram']!);
        const first = numbers(run('token_gram', { ...p, d: slice(0, 13) })['gram']!);
        const both = run('token_gram', {
          ...p,
          d: slice(13, 50),
          accumulate: true,
          gram: { data: first, shape: [3, 3] },
        })['gram']!;
        expect(distance(numbers(both), whole)).toBeLessThan(real === 'float64' ? 1e-13 : 1e-6);
      },
    },
    {
      name: 'segment sums without a are the kernel of a gain',
      check: (run, random) => {
        const offsets = offsetsOf([4, 0, 30]);
        const x = random.normal([34, 19]);
        const y = run('segment_reduce', { x, offsets, scale_by: random.normal([34, 19]) })['y']!;
        const rows = numbers(y);
        const k = numbers(
          run('token_gram', { d: { data: rows, shape: [3, 19] }, offsets: ints(0, 1, 2, 3) })['gram']!,
        );
        expect(distance(k, gramOf([0, 1, 2].map((s) => rows.slice(s * 19, (s + 1) * 19))))).toBeLessThan(
          1e-6,
        ); // the harness rounds what passes from op to op
      },
    },
  ],
  refused: formRefusals('token_gram'),
  bench: [layer(1024, 128, 16), layer(1024, 32, 32), layer(256, 32, 16)],
});
