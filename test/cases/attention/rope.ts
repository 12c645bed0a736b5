import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import { type IntTensor, type Random, float32s } from '../../helpers/random.js';
import { ints } from '../../helpers/random.js';
import { defineCases } from '../define.js';

const frequencies = (F: number, base = 10000) => ({
  data: Float64Array.from({ length: F }, (_, i) => base ** (-i / F)),
  shape: [F],
});
const rotate = (
  N: number,
  H: number,
  D: number,
  F: number,
  positions?: (r: Random) => IntTensor,
  extra: Record<string, number | boolean> = {},
  label = '',
) => ({
  name: `${N}×${H}×${D}, ${F} frequencies${label && `, ${label}`}`,
  args: (r: Random) => ({
    x: r.normal([N, H, D]),
    positions: positions?.(r) ?? r.integers([N], 0, Math.max(1, N)),
    inv_freq: frequencies(F),
    ...extra,
  }),
});
const packed = (sequences: number, T: number): IntTensor =>
  ints(...Array.from({ length: sequences * T }, (_, i) => i % T));

export const rope = defineCases({
  op: 'rope',
  cases: [
    rotate(1, 1, 2, 1),
    rotate(5, 3, 16, 8),
    rotate(7, 2, 20, 5),
    rotate(9, 1, 64, 8),
    rotate(0, 4, 8, 4),
    rotate(3, 2, 8, 0),
    rotate(6, 3, 26, 13),
    rotate(200, 12, 64, 32, () => packed(4, 50), {}, 'packed sequences'),
    rotate(40, 4, 64, 32, (r) => r.integers([40], 0, 1_000_001), {}, 'positions up to 1e6'),
    rotate(3, 2, 16, 8, () => ints(2_147_483_647, -5, -2_147_483_648), {}, 'extreme positions'),
    rotate(8, 2, 32, 16, undefined, { inverse: true, scale: 1.25 }, 'inverse, scaled'),
  ],
  invariants: [
    {
      name: 'keeps the length of heads; the inverse undoes it',
      check: (run, r, real) => {
        const [N, H, D] = [20, 3, 24];
        const x = r.normal([N, H, D]);
        const rest = { positions: r.integers([N], 0, 100_000), inv_freq: frequencies(8) };
        const rotated = numbers(run('rope', { x, ...rest })['x']!);
        const back = numbers(
          run('rope', { x: { data: rotated, shape: x.shape }, ...rest, inverse: true })['x']!,
        );
        const tolerance = 1e-5;
        for (let i = 0; i < N * H; ++i) {
          const length = (v: Float64Array) => Math.hypot(...v.subarray(i * D, (i + 1) * D));
          expect(Math.abs(length(rotated) - length(x.data)), real).toBeLessThan(tolerance);
        }
        back.forEach((v, i) => expect(Math.abs(v - x.data[i]!)).toBeLessThan(tolerance));
        expect(rotated.some((v, i) => Math.abs(v - x.data[i]!) > 0.1)).toBe(true);
      },
    },
    {
      name: 'scores depend on the distance of positions only',
      check: (run, r) => {
        const [q, k] = [r.normal([1, 1, 32]), r.normal([1, 1, 32])];
        const at = (x: typeof q, position: number) =>
          numbers(run('rope', { x, positions: ints(position), inv_freq: frequencies(16) })['x']!);
        const score = (m: number, n: number) => at(q, m).reduce((sum, v, i) => sum + v * at(k, n)[i]!, 0);
        for (const shift of [1, 1000, 1_000_000])
          expect(Math.abs(score(7 + shift, 3 + shift) - score(7, 3)), `shift ${shift}`).toBeLessThan(1e-5);
      },
    },
    {
      name: 'is the half layout of Hugging Face: pair i is (x[i], x[i+F])',
      check: (run) => {
        const x = { data: Float64Array.of(1, 2, 3, 4, 5), shape: [1, 1, 5] };
        const y = numbers(
          run('rope', { x, positions: ints(2), inv_freq: { data: Float64Array.of(1, 0.25), shape: [2] } })[
            'x'
          ]!,
        );
        const [c0, s0, c1, s1] = [Math.cos(2), Math.sin(2), Math.cos(0.5), Math.sin(0.5)] as const;
        [1 * c0 - 3 * s0, 2 * c1 - 4 * s1, 3 * c0 + 1 * s0, 4 * c1 + 2 * s1, 5].forEach((v, i) =>
          expect(Math.abs(y[i]! - v)).toBeLessThan(1e-6),
        );
      },
    },
  ],
  refused: [
    {
      name: 'more pairs than dimensions',
      args: () => ({
        x: float32s(1, 2, 3),
        positions: Int32Array.of(0),
        inv_freq: new Float64Array(2),
      }),
      code: 'ERR_SHAPE',
      message: 'at most half as many',
    },
    {
      name: 'single-precision frequencies',
      args: () => ({
        x: float32s(1, 1, 4),
        positions: Int32Array.of(0),
        inv_freq: new Float32Array(2),
      }),
      code: 'ERR_DTYPE',
      message: 'inv_freq must be float64',
    },
  ],
  bench: [
    rotate(2048, 12, 64, 32, () => packed(32, 64)),
    rotate(32, 12, 64, 32, (r) => r.integers([32], 0, 4096), {}, 'decode'),
  ],
});
