import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import { ints, type Random } from '../../helpers/random.js';
import { defineCases } from '../define.js';

const append = (N: number, G: number, D: number, S: number, T: number, M: number) => ({
  name: `${M} entries from ${N}×${G}×${D} into ${S}×${T}`,
  args: (r: Random) => ({
    k: r.normal([N, G, D]),
    v: r.normal([N, G, D]),
    rows: r.integers([M], 0, N),
    slots: r.integers([M], 0, S),
    positions: r.integers([M], 0, T),
    cache_k: r.normal([S, T, G, D]),
    cache_v: r.normal([S, T, G, D]),
  }),
});
const float32s = (...shape: number[]) => ({
  data: new Float32Array(shape.reduce((a, b) => a * b, 1)),
  shape,
});

export const kvAppend = defineCases({
  op: 'kv_append',
  cases: [
    append(1, 1, 1, 1, 1, 1),
    append(5, 2, 7, 3, 9, 4),
    append(3, 4, 16, 2, 5, 0),
    append(30, 3, 64, 4, 50, 150),
    append(256, 6, 64, 8, 64, 256),
  ],
  invariants: [
    {
      name: 'one row goes to several slots; everything else stays; of equal destinations the last wins',
      check: (run, r) => {
        const [k, v, cache_k, cache_v] = [
          r.normal([3, 2, 4]),
          r.normal([3, 2, 4]),
          r.normal([2, 5, 2, 4]),
          r.normal([2, 5, 2, 4]),
        ];
        const result = run('kv_append', {
          k,
          v,
          rows: ints(0, 1, 1, 2),
          slots: ints(0, 0, 1, 0),
          positions: ints(3, 1, 4, 3),
          cache_k,
          cache_v,
        });
        for (const [source, before, after] of [
          [k, cache_k, result['cache_k']!],
          [v, cache_v, result['cache_v']!],
        ] as const) {
          const expected = before.data.map(Math.fround);
          const put = (row: number, slot: number, position: number) =>
            expected.set(source.data.slice(row * 8, row * 8 + 8).map(Math.fround), (slot * 5 + position) * 8);
          put(1, 0, 1);
          put(1, 1, 4);
          put(2, 0, 3);
          expect(numbers(after)).toEqual(expected);
        }
      },
    },
  ],
  refused: [
    ...(
      [
        ['row', [2, 0, 0]],
        ['slot', [0, 1, 0]],
        ['position', [0, 0, 3]],
        ['negative position', [0, 0, -1]],
      ] as const
    ).map(([what, [row, slot, position]]) => ({
      name: `a ${what} out of range`,
      args: () => ({
        k: float32s(2, 1, 2),
        v: float32s(2, 1, 2),
        rows: Int32Array.of(row),
        slots: Int32Array.of(slot),
        positions: Int32Array.of(position),
        cache_k: float32s(1, 3, 1, 2),
        cache_v: float32s(1, 3, 1, 2),
      }),
      code: 'ERR_INVALID_ARG',
      message: 'must lie in 2 rows, 1 slots of 3 positions',
    })),
  ],
  bench: [append(32, 12, 64, 32, 256, 32), append(2048, 12, 64, 32, 64, 2048)],
});
