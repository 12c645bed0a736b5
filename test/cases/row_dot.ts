import type { Random } from '../helpers/random.js';
import { defineCases } from './define.js';

const dot = (N: number, C: number, accumulate = false) => ({
  name: `${N}×${C}${accumulate ? ', accumulated' : ''}`,
  args: (r: Random) => ({
    x: r.normal([N, C]),
    w: r.normal([N, C]),
    ...(accumulate ? { y: r.normal([N]), accumulate } : {}),
  }),
});

export const rowDot = defineCases({
  op: 'row_dot',
  cases: [dot(1, 1), dot(0, 4), dot(3, 0), dot(7, 33), dot(40, 300, true)],
  refused: [
    {
      name: 'another width',
      args: () => ({
        x: { data: new Float32Array(6), shape: [2, 3] },
        w: { data: new Float32Array(4), shape: [2, 2] },
      }),
      code: 'ERR_SHAPE',
      message: 'w has shape (N C)',
    },
  ],
  bench: [dot(2048, 768)],
});
