/**
 * Products that go around what cuBLAS is slow at (native/ops/linear/cuda/gemm.cu, Detour), just large enough
 * for it.
 */
import type { CaseArgs } from '../cases/define.js';
import type { Random, RealTensor } from './random.js';

export const detours = (
  random: Random,
): { name: string; args: CaseArgs & { a: RealTensor; b: RealTensor } }[] => [
  {
    name: 'residual and bias after the product',
    args: {
      a: random.normal([129, 2047]),
      b: random.normal([2047, 131]),
      bias: random.normal([131]),
      residual: random.normal([129, 131]),
    },
  },
  {
    name: 'gradient as its transpose',
    args: {
      a: { ...random.normal([65, 1031]), layout: 'columns' },
      b: random.normal([1031, 515]),
      c: random.normal([65, 515]),
      accumulate: true,
    },
  },
];
