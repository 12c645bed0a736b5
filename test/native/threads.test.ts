/**
 * Threads share the panels of A that they pack (native/ops/linear/cpu/gemm_shelf.h): each panel by whoever
 * comes first, and who finds another one at it packs his own. That is a race, so each product is made many
 * times.
 */
import { describe, expect, it } from 'vitest';

import type { BackendName, KernelArgs } from '../../src/core/addon/contract.js';
import { packedBytes } from '../cases/linear/gemm_pack.js';
import { cpuBackends, entry } from '../helpers/kernels.js';
import { Random } from '../helpers/random.js';

const TIMES = 120;
const gemm = entry('gemm');

const random = new Random(5);
const lay = (
  rows: number,
  columns: number,
  byColumns = false,
  numbers = random.normal([rows * columns]).data,
) => ({
  data: Float32Array.from(numbers),
  shape: [rows, columns],
  strides: byColumns ? [1, rows] : [columns, 1],
});

function check(backend: BackendName, M: number, N: number, args: KernelArgs): void {
  const product = (threads: number) => {
    const c = lay(M, N, false, new Float64Array(M * N).fill(NaN));
    gemm.runSync({ ...args, c }, { backend, threads });
    return Buffer.from(c.data.buffer);
  };
  const expected = product(1);
  for (let time = 0; time < TIMES; ++time)
    expect(product(2 + (time % 3)).equals(expected), `time ${time}`).toBe(true);
}

describe.each(cpuBackends)('%s: a product has the same bits on any number of threads', (backend) => {
  it.each([
    ['rows of A along k', 30, 520, 600, false, false],
    ['columns of A along m', 30, 520, 600, true, false],
    ['B along k', 45, 96, 1200, false, true],
    ['one or two panels of A', 12, 520, 2100, false, false],
    ['two panels of A, four', 20, 520, 2100, true, false],
    ['rows and columns shared out', 300, 80, 300, false, true],
    ['so many rows that the last task is short, AVX-512', 1806, 64, 128, false, false],
    ['so many rows that the last task is short, others', 774, 64, 128, false, false],
  ] as const)('%s', (_, M, K, N, columnsOfA, columnsOfB) =>
    check(backend, M, N, { a: lay(M, K, columnsOfA), b: lay(K, N, columnsOfB) }),
  );

  it.each([false, true])('a triangle, B by columns: %s', (columnsOfB) =>
    check(backend, 500, 500, { a: lay(500, 40), b: lay(40, 500, columnsOfB), triangle: 'upper' }),
  );

  it('B packed before', () => {
    const b = lay(200, 900);
    const packed = new Uint8Array(packedBytes(200, 900));
    entry('gemm_pack').runSync({ b, packed }, { backend });
    check(backend, 45, 900, { a: lay(45, 200), b, packed_b: packed });
  });
});
