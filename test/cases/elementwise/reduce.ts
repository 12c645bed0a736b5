import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import { type Random, float32s } from '../../helpers/random.js';
import { defineCases } from '../define.js';

const sum = (N: number, C: number, { scaled = false, accumulate = false, mean = 0 } = {}) => ({
  name: `${N}×${C}${scaled ? ', scaled' : ''}${accumulate ? ', accumulated' : ''}${mean ? ', large' : ''}`,
  args: (r: Random) => ({
    x: r.normal([N, C], 1, mean),
    ...(scaled ? { scale_by: r.normal([N, C]) } : {}),
    ...(accumulate ? { y: r.normal([C]), accumulate } : {}),
  }),
});

export const reduce = defineCases({
  op: 'reduce',
  cases: [
    sum(1, 1),
    sum(0, 5),
    sum(0, 5, { accumulate: true }),
    sum(7, 3),
    sum(8, 16, { scaled: true }),
    sum(33, 37, { accumulate: true, scaled: true }),
    sum(1000, 1),
    sum(1003, 131, { scaled: true }),
    sum(40, 1100),
    sum(700, 200, { mean: 100 }),
  ],
  invariants: [
    {
      name: 'sums each column alone',
      check: (run) => {
        const [N, C] = [300, 19];
        const x = { data: Float64Array.from({ length: N * C }, (_, i) => (i % C) + 1), shape: [N, C] };
        expect(numbers(run('reduce', { x })['y']!)).toEqual(
          Float64Array.from({ length: C }, (_, c) => N * (c + 1)),
        );
        expect(numbers(run('reduce', { x, scale_by: x })['y']!)).toEqual(
          Float64Array.from({ length: C }, (_, c) => N * (c + 1) ** 2),
        );
      },
    },
  ],
  refused: [
    {
      name: 'a scale of another shape',
      args: () => ({
        x: float32s(2, 3),
        scale_by: float32s(3, 2),
      }),
      code: 'ERR_SHAPE',
      message: 'scale_by has shape (N C)',
    },
  ],
  bench: [sum(2048, 768), sum(2048, 768, { scaled: true })],
});
