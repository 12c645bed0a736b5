import { type Random, float32s } from '../../helpers/random.js';
import { defineCases } from '../define.js';

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
        x: float32s(2, 3),
        w: float32s(2, 2),
      }),
      code: 'ERR_SHAPE',
      message: 'w has shape (N C)',
    },
  ],
  bench: [dot(2048, 768)],
});
