/**
 * Threads share the panels of A that they pack (native/cpu/gemm.cc): each panel by whoever comes first, and who finds another one at it packs
 * his own. That is a race, so each product is made many times.
 */
import { describe, expect, it } from 'vitest';

import { cpuBackends, entry } from '../helpers/kernels.js';
import { Random } from '../helpers/random.js';

const TIMES = 150;
const gemm = entry('gemm');

describe.each(cpuBackends)('%s: a product has the same bits on any number of threads', (backend) => {
  it.each([
    ['rows of A along k', 30, 520, 600, false, false],
    ['columns of A along m', 30, 520, 600, true, false],
    ['B along k', 45, 96, 1200, false, true],
    ['one or two panels of A', 12, 520, 2100, false, false],
    ['two panels of A, four', 20, 520, 2100, true, false],
    ['rows and columns shared out', 300, 80, 300, false, true],
  ] as const)('%s', (_, M, K, N, columnsOfA, columnsOfB) => {
    const random = new Random(5);
    const lay = (rows: number, columns: number, byColumns: boolean, numbers = random.normal([rows * columns]).data) => ({
      data: Float32Array.from(numbers), shape: [rows, columns], strides: byColumns ? [1, rows] : [columns, 1],
    });
    const a = lay(M, K, columnsOfA);
    const b = lay(K, N, columnsOfB);
    const product = (threads: number) => {
      const c = lay(M, N, false, new Float64Array(M * N).fill(NaN));
      gemm.runSync({ a, b, c }, { backend, threads });
      return Buffer.from(c.data.buffer);
    };
    const expected = product(1);
    for (let time = 0; time < TIMES; ++time) expect(product(2 + (time % 3)).equals(expected), `time ${time}`).toBe(true);
  });
});
