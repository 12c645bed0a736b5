/** Lines of ops that are products: plain ones, the policy gradient, the ghost form of a Gram matrix. */
import type { KernelArgs } from '../../src/core/addon/contract.js';
import { bfloat16Matrix, bfloat16s, matrix, numbers, random, transposed, zeros } from './data.js';
import { ceilings, type Line, median, op, share, teraflops, timed } from './measure.js';

const SIDE = 8192;

/** The rates of this run, which other lines are compared with. */
export const ceilingLines: readonly Line[] = [
  {
    name: `gemm ${SIDE}³, bf16`,
    peer: 'matmul',
    measure() {
      const args = {
        a: { ...matrix(SIDE, SIDE), data: bfloat16s(SIDE * SIDE) },
        b: { ...matrix(SIDE, SIDE), data: bfloat16s(SIDE * SIDE) },
        c: zeros(SIDE, SIDE),
      };
      const seconds = op('gemm', args, 'bf16');
      const flops = 2 * SIDE ** 3;
      ceilings.matmul = flops / median(seconds);
      return { seconds, note: `${teraflops(flops, seconds)}, operands in bfloat16` };
    },
  },
  {
    name: 'copy 1 GiB',
    peer: 'copy',
    measure() {
      const count = 1 << 28;
      const args = { x: { data: numbers(count), shape: [1 << 15, 1, 1 << 13] } };
      const seconds = op('copy', args, 'fp32');
      ceilings.copy = (8 * count) / median(seconds);
      return { seconds, note: `${(ceilings.copy / 1e12).toFixed(2)} TB/s` };
    },
  },
];

const matmulShare = (flops: number, seconds: readonly number[]) =>
  share(flops / median(seconds), ceilings.matmul, 'the measured matmul rate');

/** A plain product (M × K) (K × N). */
interface Product {
  readonly name: string;
  readonly M: number;
  readonly K: number;
  readonly N: number;
  /** As the engine stores the operands: weights (outputs, inputs), activations by rows. */
  readonly layout: 'forward' | 'input gradient' | 'weight gradient';
  readonly more?: () => KernelArgs;
}

/** Every math with float32 in memory, and bf16 with bfloat16 there. */
const FORMS = ['bf16', 'bf16 in memory', 'tf32', 'fp32'] as const;
type Form = (typeof FORMS)[number];

function product({ name, M, K, N, layout, more }: Product, form: Form): Line {
  return {
    name: `gemm ${name} ${M} × ${K} × ${N}, ${form}`,
    measure() {
      const inMemory = form === 'bf16 in memory';
      const make = (rows: number, columns: number) =>
        inMemory ? bfloat16Matrix(rows, columns) : matrix(rows, columns);
      const args = {
        a: layout === 'weight gradient' ? transposed(make(K, M)) : make(M, K),
        b: layout === 'forward' ? transposed(make(N, K)) : make(K, N),
        c: zeros(M, N),
        ...more?.(),
      };
      const seconds = op('gemm', args, inMemory ? 'bf16' : form);
      const flops = 2 * M * K * N;
      const ofMatmul = form.startsWith('bf16') ? matmulShare(flops, seconds) : '';
      return { seconds, note: `${teraflops(flops, seconds)}${ofMatmul}` };
    },
  };
}

const biasAndResidual = () => ({ bias: numbers(768), residual: matrix(16384, 768) });
const added = () => ({ accumulate: true });

const PRODUCTS: readonly Product[] = [
  { name: 'square', M: SIDE, K: SIDE, N: SIDE, layout: 'forward' },
  { name: 'query, key, value', M: 16384, K: 768, N: 2304, layout: 'forward' },
  { name: 'attention output', M: 16384, K: 768, N: 768, layout: 'forward' },
  { name: 'MLP up', M: 16384, K: 768, N: 3072, layout: 'forward' },
  { name: 'MLP down', M: 16384, K: 3072, N: 768, layout: 'forward' },
  { name: 'MLP up, input gradient', M: 16384, K: 3072, N: 768, layout: 'input gradient' },
  { name: 'MLP up, weight gradient', M: 3072, K: 16384, N: 768, layout: 'weight gradient' },
];

/**
 * Two of them are what cuBLAS is slow at by itself (native/ops/linear/cuda/gemm.cu, Detour). The others are
 * what they are compared with.
 */
const DETOURS: readonly Product[] = [
  {
    name: 'attention output, bias and residual',
    M: 16384,
    K: 768,
    N: 768,
    layout: 'forward',
    more: biasAndResidual,
  },
  {
    name: 'MLP down, bias and residual',
    M: 16384,
    K: 3072,
    N: 768,
    layout: 'forward',
    more: biasAndResidual,
  },
  {
    name: 'MLP up, weight gradient, added',
    M: 3072,
    K: 16384,
    N: 768,
    layout: 'weight gradient',
    more: added,
  },
  {
    name: 'MLP down, weight gradient, added',
    M: 768,
    K: 16384,
    N: 3072,
    layout: 'weight gradient',
    more: added,
  },
];

export const gemmLines: readonly Line[] = [
  ...PRODUCTS.flatMap((given) => FORMS.map((form) => product(given, form))),
  ...DETOURS.map((given) => product(given, 'bf16 in memory')),
];

export function policyGradientLine(N: number, gradients: boolean): Line {
  const [H, V] = [4096, 131072];
  return {
    name: `policyGradient ${gradients ? 'forward + backward' : 'forward'}, bf16, M ${N}, H ${H}, V ${V}`,
    peer: gradients ? 'policyGradient' : 'policyGradientForward',
    measure() {
      const args = {
        hidden: matrix(N, H),
        weight: bfloat16Matrix(V, H, 0.02),
        targets: Int32Array.from({ length: N }, () => random.integer(0, V)),
        coefficients: numbers(N),
        entropy_coefficients: numbers(N),
        entropy: zeros(N),
        max_prob: zeros(N),
        lse: zeros(N),
        ...(gradients ? { d_hidden: zeros(N, H), d_weight: zeros(V, H) } : {}),
      };
      const { seconds, workspaceBytes } = timed('linear_policy_gradient', args, 'bf16');
      const flops = (gradients ? 6 : 2) * N * H * V;
      return {
        seconds: [...seconds],
        note: `workspace ${(workspaceBytes / 1e6).toFixed(0)} MB; ${teraflops(flops, [...seconds])}`,
      };
    },
  };
}

export const tokenGramLine: Line = {
  name: 'token_gram n 1024 × T 32, d 4096, bf16',
  measure() {
    const [n, T, d] = [1024, 32, 4096];
    const N = n * T;
    const args = {
      a: matrix(N, d),
      d: matrix(N, d),
      offsets: Int32Array.from({ length: n + 1 }, (_, i) => i * T),
    };
    const seconds = op('token_gram', args, 'bf16');
    const flops = 2 * d * N * N;
    return { seconds, note: `${teraflops(flops, seconds)}${matmulShare(flops, seconds)}` };
  },
};
