import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import { type Random, type RealTensor, float32s } from '../../helpers/random.js';
import type { CaseArgs, OpCase } from '../define.js';
import { defineCases } from '../define.js';

type Kind = 'layer' | 'rms';
const normCase = (
  kind: Kind,
  N: number,
  C: number,
  {
    bias = kind === 'layer',
    mean = 0,
    std = 1,
    eps = 1e-5,
    extra = {} as CaseArgs,
    skip = '',
    label = '',
  } = {},
): OpCase => ({
  name: `${kind} ${N}×${C}${label && `, ${label}`}`,
  args: (r: Random) => ({
    x: r.normal([N, C], std, mean),
    gain: r.normal([C], 0.3, 1),
    ...(bias ? { bias: r.normal([C]) } : {}),
    mean: true,
    rstd: true,
    kind,
    eps,
  }),
  backward: () => extra,
  ...(skip ? { skipGradient: skip } : {}),
});

const kinds: readonly Kind[] = ['layer', 'rms'];
const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, v, i) => sum + v * b[i]!, 0);

export const norm = defineCases({
  op: 'norm',
  cases: [
    ...kinds.flatMap((kind) => [
      normCase(
        kind,
        2,
        1,
        kind === 'layer' ? { extra: { x_hat: true, d_x: false }, skip: 'its gradient is exactly zero' } : {},
      ),
      normCase(kind, 3, 7),
      normCase(kind, 5, 33, { label: 'with x_hat', extra: { x_hat: true } }),
      normCase(kind, 4, 64, {
        label: 'added to d_x',
        extra: { x_hat: true, add_to_d_x: true },
        skip: 'd_x is not the gradient alone',
      }),
      normCase(kind, 0, 16),
      normCase(kind, 130, 769, { skip: 'large' }),
      normCase(kind, 6, 40, { label: 'x_hat alone', extra: { x_hat: true, d_x: false }, skip: 'no d_x' }),
      normCase(kind, 9, 100, { label: 'large mean', mean: 1e4, skip: 'too large for finite differences' }),
      normCase(kind, 9, 100, {
        label: 'tiny',
        std: 1e-6,
        eps: 1e-12,
        skip: 'too small for finite differences',
      }),
      normCase(kind, 3, 50, { label: 'huge', std: 1e8, skip: 'too large for finite differences' }),
    ]),
    normCase('layer', 3, 17, { label: 'without bias', bias: false }),
    normCase('rms', 3, 17, { label: 'with bias', bias: true }),
  ],
  invariants: [
    {
      name: 'layer: rows have mean 0 and variance 1, whatever their offset',
      check: (run, r, real) => {
        const C = 200;
        const ones: RealTensor = { data: new Float64Array(C).fill(1), shape: [C] };
        const y = numbers(
          run('norm', { x: r.normal([4, C], 1, 3000), gain: ones, kind: 'layer', eps: 0 })['y']!,
        );
        for (let n = 0; n < 4; ++n) {
          const row = y.subarray(n * C, (n + 1) * C);
          const tolerance = real === 'float64' ? 1e-9 : 1e-5; // the input's rounding is part of x, not an error of the norm
          expect(Math.abs(row.reduce((a, b) => a + b, 0) / C)).toBeLessThan(tolerance);
          expect(Math.abs(dot(row, row) / C - 1)).toBeLessThan(tolerance);
        }
      },
    },
    {
      name: 'rms: does not see the scale of x',
      check: (run, r, real) => {
        const x = r.normal([5, 90]);
        const gain = r.normal([90]);
        const y = numbers(run('norm', { x, gain, kind: 'rms', eps: 0 })['y']!);
        const scaled = numbers(
          run('norm', {
            x: { data: x.data.map((v) => 1024 * v), shape: x.shape },
            gain,
            kind: 'rms',
            eps: 0,
          })['y']!,
        );
        scaled.forEach((v, i) =>
          expect(Math.abs(v - y[i]!)).toBeLessThan((real === 'float64' ? 1e-13 : 1e-6) * (1 + Math.abs(v))),
        );
      },
    },
    {
      name: 'backward and jvp are adjoint, gain and bias included',
      check: (run, r, real) => {
        for (const kind of kinds) {
          const [N, C] = [6, 70];
          const x = r.normal([N, C]);
          const gain = r.normal([C]);
          const forward = run('norm', { x, gain, bias: r.normal([C]), mean: true, rstd: true, kind });
          const saved = {
            mean: { data: numbers(forward['mean']!), shape: [N] },
            rstd: { data: numbers(forward['rstd']!), shape: [N] },
          };
          const d_y = r.normal([N, C]);
          const [t_x, t_gain, t_bias] = [r.normal([N, C]), r.normal([C]), r.normal([C])];
          const back = run('norm_backward', {
            x,
            gain,
            ...saved,
            d_y,
            d_x: { data: new Float64Array(N * C), shape: [N, C] },
            x_hat: true,
            kind,
          });
          const x_hat = { data: numbers(back['x_hat']!), shape: [N, C] };
          const d_gain = numbers(run('reduce', { x: d_y, scale_by: x_hat })['y']!);
          const d_bias = numbers(run('reduce', { x: d_y })['y']!);
          const t_y = numbers(run('norm_jvp', { x, gain, ...saved, t_x, t_gain, t_bias, kind })['t_y']!);
          const left = dot(t_y, d_y.data);
          const right =
            dot(t_x.data, numbers(back['d_x']!)) + dot(t_gain.data, d_gain) + dot(t_bias.data, d_bias);
          expect(Math.abs(left - right), kind).toBeLessThan(real === 'float64' ? 1e-4 : 1e-3); // arguments are rounded to float32
          // Every tangent is optional.
          const each: CaseArgs[] = [{ t_x }, { t_gain }, { t_bias }];
          const parts = each.map((t) => numbers(run('norm_jvp', { x, gain, ...saved, ...t, kind })['t_y']!));
          t_y.forEach((v, i) =>
            expect(Math.abs(v - parts.reduce((sum, p) => sum + p[i]!, 0))).toBeLessThan(1e-5),
          );
        }
      },
    },
  ],
  refused: [
    {
      name: 'a gain of another size',
      args: () => ({ x: float32s(2, 3), gain: new Float32Array(2) }),
      code: 'ERR_SHAPE',
      message: 'gain has shape (C)',
    },
    {
      name: 'an unknown kind',
      args: () => ({
        x: float32s(2, 3),
        gain: new Float32Array(3),
        kind: 'batch',
      }),
      code: 'ERR_INVALID_ARG',
      message: "one of 'layer', 'rms', got 'batch'",
    },
  ],
  bench: [normCase('layer', 2048, 768), normCase('rms', 2048, 768)],
});
