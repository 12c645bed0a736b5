import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import { type Random, type RealTensor, float32s } from '../../helpers/random.js';
import { defineCases } from '../define.js';

/** gemm_packed_bytes() of native/ops/linear/gemm.h. */
export const packedBytes = (K: number, N: number) => 64 + 4 * K * Math.ceil(N / 32) * 32;
const packedSpace = (K: number, N: number): RealTensor => ({
  data: new Float64Array(packedBytes(K, N)),
  shape: [packedBytes(K, N)],
});

const plain = (K: number, N: number, layout?: 'columns') => ({
  name: `${K}×${N}${layout ? ' transposed' : ''}`,
  args: (random: Random) => ({
    b: { ...random.normal([K, N]), ...(layout ? { layout } : {}) },
    packed: packedSpace(K, N),
  }),
});

export const gemmPack = defineCases({
  op: 'gemm_pack',
  cases: [
    plain(1, 1),
    plain(40, 33),
    plain(40, 70, 'columns'),
    plain(400, 9, 'columns'),
    plain(0, 5),
    plain(3, 0),
  ],
  invariants: [
    {
      name: 'a product with packed_b has the same bits as without',
      check: (run, random) => {
        for (const [M, K, N] of [
          [1, 40, 33],
          [7, 401, 20],
          [50, 390, 40],
          [9, 8, 2100],
        ] as const)
          for (const layout of ['rows', 'columns', 'spread'] as const) {
            const a = random.normal([M, K]);
            const b = { ...random.normal([K, N]), ...(layout === 'rows' ? {} : { layout }) };
            const packed = numbers(run('gemm_pack', { b, packed: packedSpace(K, N) })['packed']!);
            const bias = random.normal([N]);
            const given = numbers(
              run('gemm', { a, b, bias, packed_b: { data: packed, shape: [packed.length] } })['c']!,
            );
            expect(given, `${M}×${K}×${N} ${layout}`).toEqual(numbers(run('gemm', { a, b, bias })['c']!));
          }
      },
    },
  ],
  refused: [
    {
      name: 'too little space',
      args: () => ({ b: float32s(2, 3), packed: new Uint8Array(100) }),
      code: 'ERR_SHAPE',
      message: 'at least 320 bytes',
    },
  ],
  bench: [plain(768, 3072, 'columns')],
});
