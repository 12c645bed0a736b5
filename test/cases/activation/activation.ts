import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import { type Random, type RealTensor, float32s } from '../../helpers/random.js';
import { defineCases } from '../define.js';

const kinds = ['gelu', 'gelu_new', 'silu_gate', 'relu'] as const;
type Kind = (typeof kinds)[number];
const apply = (kind: Kind, N: number, C: number, { std = 1, skip = '' } = {}) => ({
  name: `${kind} ${N}×${C}${std === 1 ? '' : ` times ${std}`}`,
  args: (r: Random) => ({
    x: r.normal([N, C], std),
    ...(kind === 'silu_gate' ? { up: r.normal([N, C]) } : {}),
    kind,
  }),
  ...(skip ? { skipGradient: skip } : {}),
});
const row = (...values: number[]): RealTensor => ({
  data: Float64Array.from(values),
  shape: [1, values.length],
});

export const activation = defineCases({
  op: 'activation',
  cases: kinds.flatMap((kind) => [
    apply(kind, 1, 1),
    apply(kind, 3, 5),
    apply(kind, 0, 8),
    apply(kind, 7, 67, { skip: kind === 'relu' ? 'an input lies at the kink' : '' }),
    apply(kind, 200, 700, { skip: 'large' }),
    apply(kind, 4, 40, { std: 6, skip: 'flat almost everywhere' }),
    apply(kind, 4, 40, { std: 1e-4, skip: kind === 'relu' ? 'steps across the kink' : '' }),
    apply(kind, 4, 40, { std: 1e4, skip: 'flat almost everywhere' }),
  ]),
  invariants: [
    {
      name: 'f(x) − f(−x) = x for gelu, gelu_new, silu and relu',
      check: (run, r, real) => {
        const x = r.normal([3, 50], 3);
        const ones = { data: new Float64Array(150).fill(1), shape: [3, 50] };
        for (const kind of kinds) {
          const at = (sign: number) =>
            numbers(
              run('activation', {
                x: { data: x.data.map((v) => sign * v), shape: x.shape },
                ...(kind === 'silu_gate' ? { up: ones } : {}),
                kind,
              })['y']!,
            );
          const [plus, minus] = [at(1), at(-1)];
          x.data.forEach((v, i) =>
            expect(Math.abs(plus[i]! - minus[i]! - Math.fround(v)), kind).toBeLessThan(
              (real === 'float64' ? 1e-14 : 1e-6) * (1 + Math.abs(v)),
            ),
          );
        }
      },
    },
    {
      name: 'known values; ±1e4 saturates, NaN stays',
      check: (run) => {
        const at = (kind: Kind, x: RealTensor) =>
          numbers(
            run('activation', {
              x,
              ...(kind === 'silu_gate'
                ? { up: { data: new Float64Array(x.data.length).fill(1), shape: x.shape } }
                : {}),
              kind,
            })['y']!,
          );
        const expected = {
          gelu: 0.8413447460685429,
          gelu_new: 0.8411919906082768,
          silu_gate: 0.7310585786300049,
          relu: 1,
        };
        for (const kind of kinds) {
          const y = at(kind, row(1, 1e4, -1e4, 0, Number.NaN, 88, -88, 105));
          expect(Math.abs(y[0]! - expected[kind]), kind).toBeLessThan(2e-7);
          expect(y[1], kind).toBe(1e4);
          expect(Math.abs(y[2]!), kind).toBeLessThan(1e-30);
          expect(Math.abs(y[3]!), kind).toBe(0);
          expect(y[4], kind).toBeNaN();
          expect([y[5], Math.abs(y[6]!) < 1e-30, y[7]], kind).toEqual([88, true, 105]);
          const slope = numbers(
            run('activation_backward', {
              x: row(1e4, -1e4),
              d_y: row(1, 1),
              ...(kind === 'silu_gate' ? { up: row(1, 1), d_up: true } : {}),
              kind,
            })['d_x']!,
          );
          expect([slope[0], Math.abs(slope[1]!)], kind).toEqual([1, 0]);
        }
      },
    },
  ],
  refused: [
    {
      name: 'silu_gate without up',
      args: () => ({ x: float32s(1, 2), kind: 'silu_gate' }),
      code: 'ERR_INVALID_ARG',
      message: "for kind 'silu_gate'",
    },
    {
      name: 'gelu with up',
      args: () => ({
        x: float32s(1, 2),
        up: float32s(1, 2),
        kind: 'gelu',
      }),
      code: 'ERR_INVALID_ARG',
      message: 'only for it',
    },
    {
      name: 'a gate gradient without its place',
      entry: 'activation_backward',
      args: () => ({
        x: float32s(1, 2),
        up: float32s(1, 2),
        d_y: float32s(1, 2),
        kind: 'silu_gate',
      }),
      code: 'ERR_INVALID_ARG',
      message: 'd_up',
    },
  ],
  bench: kinds.map((kind) => apply(kind, 2048, 3072)),
});
