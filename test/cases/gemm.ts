import { expect } from 'vitest';

import { numbers } from '../helpers/kernels.js';
import { defineCases } from './define.js';

const plain = (M: number, K: number, N: number) => ({
  name: `${M}×${K}×${N}`,
  args: (random: import('../helpers/random.js').Random) => ({ a: random.normal([M, K]), b: random.normal([K, N]) }),
});

export const gemm = defineCases({
  op: 'gemm',
  cases: [plain(1, 1, 1), plain(5, 7, 3), plain(64, 64, 64), plain(33, 129, 65), plain(1, 300, 100), plain(8, 65, 515), plain(130, 500, 70),
    { name: 'empty rows', args: (r) => ({ a: r.normal([0, 4]), b: r.normal([4, 3]) }) },
    { name: 'K = 0', args: (r) => ({ a: r.normal([3, 0]), b: r.normal([0, 4]), bias: r.normal([4]) }) },
    { name: 'bias, residual and alpha', args: (r) => ({ a: r.normal([9, 20]), b: r.normal([20, 40]), bias: r.normal([40]), residual: r.normal([9, 40]), alpha: -0.5 }) },
    { name: 'accumulate', args: (r) => ({ a: r.normal([17, 31]), b: r.normal([31, 45]), c: r.normal([17, 45]), accumulate: true }) },
  ],
  invariants: [
    {
      name: 'a row has the same bits whatever the batch',
      check: (run, random) => {
        const a = random.normal([37, 200]);
        const b = random.normal([200, 90]);
        const all = numbers(run('gemm', { a, b })['c']!);
        for (const row of [0, 5, 36]) {
          const one = numbers(run('gemm', { a: { data: a.data.slice(row * 200, (row + 1) * 200), shape: [1, 200] }, b })['c']!);
          expect(one).toEqual(all.slice(row * 90, (row + 1) * 90));
        }
      },
    },
  ],
  refused: [
    { name: 'mismatched inner dimensions', args: () => ({ a: { data: new Float32Array(6), shape: [2, 3] }, b: { data: new Float32Array(8), shape: [4, 2] } }), code: 'ERR_SHAPE', message: 'b has shape (K N)' },
    { name: 'an unknown argument', args: () => ({ a: { data: new Float32Array(4), shape: [2, 2] }, b: { data: new Float32Array(4), shape: [2, 2] }, beta: 1 }), code: 'ERR_INVALID_ARG', message: "'beta'" },
  ],
  bench: [plain(1024, 1024, 1024), plain(2048, 768, 768), plain(64, 512, 512)],
});
