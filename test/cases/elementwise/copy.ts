import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import { type Random, float32s } from '../../helpers/random.js';
import { defineCases } from '../define.js';

const copied = (N: number, H: number, D: number) => ({
  name: `${N}×${H}×${D}`,
  args: (r: Random) => ({ x: r.normal([N, H, D]) }),
});

export const copy = defineCases({
  op: 'copy',
  cases: [copied(1, 1, 1), copied(0, 2, 3), copied(5, 3, 7), copied(70, 4, 33), copied(2, 2, 5000)],
  invariants: [
    {
      name: 'the bits of x',
      check: (run, r) => {
        const x = r.normal([3, 2, 5]);
        expect(numbers(run('copy', { x })['y']!).map(Math.fround)).toEqual(x.data.map(Math.fround));
      },
    },
  ],
  refused: [
    {
      name: 'other heads',
      args: () => ({
        x: float32s(1, 2, 3),
        y: float32s(1, 3, 2),
      }),
      code: 'ERR_SHAPE',
      message: 'y has shape (N H D)',
    },
  ],
  bench: [copied(2048, 12, 64)],
});
