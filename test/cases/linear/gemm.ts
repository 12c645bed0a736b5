import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import { type Random, type RealTensor, float32s } from '../../helpers/random.js';
import { defineCases } from '../define.js';
import { packedBytes } from './gemm_pack.js';

const plain = (M: number, K: number, N: number) => ({
  name: `${M}×${K}×${N}`,
  args: (random: Random) => ({ a: random.normal([M, K]), b: random.normal([K, N]) }),
});

const layouts = ['rows', 'columns', 'spread'] as const;
const lay = (tensor: RealTensor, layout: (typeof layouts)[number]): RealTensor =>
  layout === 'rows' ? tensor : { ...tensor, layout };

/** Every pair of layouts: both transposes, and strides that are none. */
const strided = (M: number, K: number, N: number) =>
  layouts.flatMap((a) =>
    layouts.map((b) => ({
      name: `${M}×${K}×${N}, a by ${a}, b by ${b}`,
      args: (random: Random) => ({ a: lay(random.normal([M, K]), a), b: lay(random.normal([K, N]), b) }),
    })),
  );

const everything = (M: number, K: number, N: number, more: Record<string, boolean | string> = {}) => ({
  name: `${M}×${K}×${N}, every epilogue ${JSON.stringify(more)}`,
  args: (r: Random) => ({
    a: r.normal([M, K]),
    b: lay(r.normal([K, N]), 'columns'),
    bias: r.normal([N]),
    residual: r.normal([M, N]),
    c: r.normal([M, N]),
    alpha: 0.75,
    accumulate: true,
    ...more,
  }),
});

/** Sizes around the register tiles (4, 6, 8, 12, 14, 16, 32) and the depth blocks (384). */
const edges = [
  [5, 3, 7],
  [6, 9, 8],
  [7, 17, 9],
  [12, 33, 15],
  [13, 385, 16],
  [14, 383, 17],
  [15, 384, 31],
  [28, 40, 32],
  [29, 769, 33],
  [121, 12, 65],
] as const;

const row = (a: RealTensor, index: number): RealTensor => {
  const K = a.shape[1]!;
  return { data: a.data.slice(index * K, (index + 1) * K), shape: [1, K] };
};

export const gemm = defineCases({
  op: 'gemm',
  cases: [
    plain(1, 1, 1),
    plain(64, 64, 64),
    plain(33, 129, 65),
    plain(1, 300, 100),
    plain(8, 65, 515),
    plain(130, 500, 70),
    plain(2, 400, 1100),
    ...edges.map(([M, K, N]) => plain(M, K, N)),
    ...strided(3, 37, 21),
    ...strided(8, 400, 70),
    ...strided(45, 401, 67),
    plain(9, 40, 2100),
    plain(30, 40, 2100),
    plain(3, 1100, 1100),
    plain(1300, 512, 33),
    plain(30, 1040, 40),
    plain(1000, 1100, 40),
    {
      name: 'more rows than a slice',
      args: (r) => ({ a: lay(r.normal([2100, 9]), 'columns'), b: r.normal([9, 17]) }),
    },
    { name: 'empty rows', args: (r) => ({ a: r.normal([0, 4]), b: r.normal([4, 3]) }) },
    { name: 'empty columns', args: (r) => ({ a: r.normal([4, 4]), b: r.normal([4, 0]) }) },
    { name: 'K = 0', args: (r) => ({ a: r.normal([3, 0]), b: r.normal([0, 4]), bias: r.normal([4]) }) },
    {
      name: 'K = 0, accumulate',
      args: (r) => ({ a: r.normal([30, 0]), b: r.normal([0, 40]), c: r.normal([30, 40]), accumulate: true }),
    },
    {
      name: 'bias, residual and alpha',
      args: (r) => ({
        a: r.normal([9, 20]),
        b: r.normal([20, 40]),
        bias: r.normal([40]),
        residual: r.normal([9, 40]),
        alpha: -0.5,
      }),
    },
    {
      name: 'accumulate',
      args: (r) => ({
        a: r.normal([17, 31]),
        b: r.normal([31, 45]),
        c: r.normal([17, 45]),
        accumulate: true,
      }),
    },
    everything(4, 900, 50),
    everything(70, 900, 50),
    everything(3, 5, 200),
    {
      name: 'upper triangle',
      args: (r) => ({ a: r.normal([150, 20]), b: lay(r.normal([20, 150]), 'columns'), triangle: 'upper' }),
    },
    {
      name: 'upper triangle, few rows',
      args: (r) => ({ a: r.normal([7, 20]), b: r.normal([20, 7]), triangle: 'upper' }),
    },
    everything(100, 400, 100, { triangle: 'upper' }),
    everything(8, 400, 8, { triangle: 'upper' }),
    {
      name: 'bfloat16',
      args: (r) => ({
        a: { ...r.normal([20, 50]), bfloat16: true },
        b: { ...r.normal([50, 40]), bfloat16: true },
      }),
    },
    ...layouts.map((b) => ({
      name: `bfloat16 weights by ${b}, few rows`,
      args: (r: Random) => ({ a: r.normal([3, 50]), b: { ...lay(r.normal([50, 41]), b), bfloat16: true } }),
    })),
  ],
  invariants: [
    {
      name: 'a row has the same bits whatever the batch',
      check: (run, random) => {
        for (const [K, N, b_layout] of [
          [200, 90, 'rows'],
          [800, 37, 'columns'],
          [401, 70, 'spread'],
        ] as const) {
          const a = random.normal([37, K]);
          const b = lay(random.normal([K, N]), b_layout);
          const all = numbers(run('gemm', { a, b })['c']!);
          for (const index of [0, 5, 36])
            expect(numbers(run('gemm', { a: row(a, index), b })['c']!)).toEqual(
              all.slice(index * N, (index + 1) * N),
            );
          for (const rows of [2, 3, 6, 8, 9, 17]) {
            const some = numbers(
              run('gemm', { a: { data: a.data.slice(0, rows * K), shape: [rows, K] }, b })['c']!,
            );
            expect(some, `${rows} rows`).toEqual(all.slice(0, rows * N));
          }
        }
      },
    },
    {
      name: 'epilogues do not disturb that: bias, residual, accumulate, alpha',
      check: (run, random) => {
        const [M, K, N] = [40, 500, 50];
        const a = random.normal([M, K]);
        const b = random.normal([K, N]);
        const bias = random.normal([N]);
        const residual = random.normal([M, N]);
        const c = random.normal([M, N]);
        const all = numbers(run('gemm', { a, b, bias, residual, c, accumulate: true, alpha: 0.3 })['c']!);
        for (const index of [0, 39])
          expect(
            numbers(
              run('gemm', {
                a: row(a, index),
                b,
                bias,
                residual: row(residual, index),
                c: row(c, index),
                accumulate: true,
                alpha: 0.3,
              })['c']!,
            ),
          ).toEqual(all.slice(index * N, (index + 1) * N));
      },
    },
    {
      name: 'the triangle holds the bits of the full product',
      check: (run, random) => {
        const a = random.normal([90, 400]);
        const b = random.normal([400, 90]);
        const full = numbers(run('gemm', { a, b })['c']!);
        const c = random.normal([90, 90]);
        const upper = numbers(run('gemm', { a, b, c, triangle: 'upper' })['c']!);
        for (let m = 0; m < 90; ++m)
          for (let n = 0; n < 90; ++n)
            expect(upper[m * 90 + n]).toBe(n >= m ? full[m * 90 + n] : Math.fround(c.data[m * 90 + n]!));
      },
    },
    {
      name: 'NaN and infinities reach exactly their row or column',
      check: (run, random) => {
        for (const M of [5, 40]) {
          const a = random.normal([M, 70]);
          const b = random.normal([70, 50]);
          a.data[2 * 70 + 69] = Number.NaN;
          b.data[3 * 50 + 49] = Number.POSITIVE_INFINITY;
          const c = numbers(run('gemm', { a, b })['c']!);
          for (let m = 0; m < M; ++m)
            for (let n = 0; n < 50; ++n) {
              const value = c[m * 50 + n]!;
              if (m === 2) expect(value).toBeNaN();
              else if (n === 49) expect(Math.abs(value)).toBe(Number.POSITIVE_INFINITY);
              else expect(value).toSatisfy(Number.isFinite);
            }
        }
      },
    },
  ],
  refused: [
    {
      name: 'mismatched inner dimensions',
      args: () => ({
        a: float32s(2, 3),
        b: float32s(4, 2),
      }),
      code: 'ERR_SHAPE',
      message: 'b has shape (K N)',
    },
    {
      name: 'an unknown argument',
      args: () => ({
        a: float32s(2, 2),
        b: float32s(2, 2),
        beta: 1,
      }),
      code: 'ERR_INVALID_ARG',
      message: "'beta'",
    },
    {
      name: 'a packed_b that is none',
      args: () => ({
        a: float32s(2, 2),
        b: float32s(2, 2),
        packed_b: new Uint8Array(packedBytes(2, 2)),
      }),
      code: 'ERR_INVALID_ARG',
      message: 'gemm_pack',
    },
    {
      name: 'a packed_b that is too short',
      args: () => ({
        a: float32s(2, 2),
        b: float32s(2, 2),
        packed_b: new Uint8Array(3),
      }),
      code: 'ERR_INVALID_ARG',
      message: 'gemm_pack',
    },
  ],
  bench: [
    plain(1024, 1024, 1024),
    plain(2048, 768, 768),
    plain(64, 512, 512),
    {
      name: '1024×1024×1024, bfloat16',
      args: (r) => ({
        a: { ...r.normal([1024, 1024]), bfloat16: true },
        b: { ...r.normal([1024, 1024]), bfloat16: true },
      }),
    },
    {
      name: '1024×1024×1024, math bf16',
      math: 'bf16',
      args: (r) => ({
        a: { ...r.normal([1024, 1024]), bfloat16: true },
        b: { ...r.normal([1024, 1024]), bfloat16: true },
      }),
    },
    {
      name: '4×4096×4096, by columns',
      args: (r) => ({ a: r.normal([4, 4096]), b: lay(r.normal([4096, 4096]), 'columns') }),
    },
    { name: '8×4096×4096', args: (r) => ({ a: r.normal([8, 4096]), b: r.normal([4096, 4096]) }) },
  ],
});
