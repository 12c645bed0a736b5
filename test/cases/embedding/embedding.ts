import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import { ints, type Random, float32s } from '../../helpers/random.js';
import { defineCases } from '../define.js';

const gather = (V: number, C: number, N: number, skipGradient?: string) => ({
  name: `${N} of ${V}×${C}`,
  args: (r: Random) => ({ table: r.normal([V, C]), ids: r.integers([N], 0, V) }),
  ...(skipGradient ? { skipGradient } : {}),
});

export const embedding = defineCases({
  op: 'embedding',
  cases: [
    gather(1, 1, 1),
    gather(7, 5, 11),
    gather(3, 33, 40),
    gather(50, 64, 0),
    gather(40, 130, 700, 'large'),
    gather(900, 257, 300, 'large'),
    gather(9, 1100, 6, 'large'),
    gather(50, 300, 900, 'large: gradients in several blocks of columns'),
    {
      name: 'with positions',
      args: (r) => ({
        table: r.normal([9, 19]),
        ids: r.integers([13], 0, 9),
        table2: r.normal([13, 19]),
        ids2: ints(...Array.from({ length: 13 }, (_, i) => i)),
      }),
    },
  ],
  invariants: [
    {
      name: 'scatter-add is the transpose of the gather',
      check: (run, r, real) => {
        const table = r.normal([23, 37]);
        const ids = r.integers([60], 0, 23);
        const d_y = r.normal([60, 37]);
        const y = numbers(run('embedding', { table, ids })['y']!);
        const d_table = numbers(
          run('embedding_backward', {
            ids,
            d_y,
            d_table: { data: new Float64Array(23 * 37), shape: [23, 37] },
          })['d_table']!,
        );
        const left = y.reduce((sum, v, i) => sum + v * d_y.data[i]!, 0);
        const right = table.data.reduce((sum, v, i) => sum + v * d_table[i]!, 0);
        expect(Math.abs(left - right)).toBeLessThan(real === 'float64' ? 1e-4 : 1e-3); // inputs are rounded to float32 inside
      },
    },
    {
      name: 'the scatter-add sums in the order of the rows',
      check: (run, _, real) => {
        if (real === 'float64') return;
        // 1e8 + 1 − 1e8 in this order is 0 in float32; in any other order of the last two it is 1.
        const d_table = run('embedding_backward', {
          ids: ints(0, 0, 0),
          d_y: { data: Float64Array.of(1e8, 1, -1e8), shape: [3, 1] },
          d_table: { data: Float64Array.of(0), shape: [1, 1] },
        })['d_table']!;
        expect(numbers(d_table)[0]).toBe(0);
      },
    },
  ],
  refused: [
    {
      name: 'an id beyond the table',
      args: () => ({ table: float32s(3, 2), ids: Int32Array.of(0, 2, 3) }),
      code: 'ERR_INVALID_ARG',
      message: 'ids[2] must lie in the 3 rows of its table, got 3',
    },
    {
      name: 'a negative second id',
      args: () => ({
        table: float32s(3, 2),
        ids: Int32Array.of(1),
        table2: float32s(1, 2),
        ids2: Int32Array.of(-1),
      }),
      code: 'ERR_INVALID_ARG',
      message: 'ids2[0]',
    },
    {
      name: 'table2 without ids2',
      args: () => ({
        table: float32s(3, 2),
        ids: Int32Array.of(1),
        table2: float32s(1, 2),
      }),
      code: 'ERR_INVALID_ARG',
      message: 'together',
    },
    {
      name: 'a scatter outside the table',
      entry: 'embedding_backward',
      args: () => ({
        ids: Int32Array.of(-100),
        d_y: float32s(1, 2),
        d_table: float32s(1, 2),
      }),
      code: 'ERR_INVALID_ARG',
      message: 'ids[0]',
    },
  ],
  bench: [gather(50304, 768, 2048)],
});
