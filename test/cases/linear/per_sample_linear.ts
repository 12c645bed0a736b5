import { expect } from 'vitest';

import { entry, numbers } from '../../helpers/kernels.js';
import { distance, gradientsOf, pairs, rounded, tokenLevel } from '../../helpers/pairs.js';
import { ints, float32s } from '../../helpers/random.js';
import { defineCases } from '../define.js';

const layer = (width: number, functions: number, rows: number, outputs: object) => ({
  name: `d ${width}, n ${functions} × T ${rows}, ${Object.keys(outputs).join(' and ')}`,
  args: (random: import('../../helpers/random.js').Random) => ({
    ...pairs(random, Array<number>(functions).fill(rows), width, width),
    ...outputs,
  }),
});
const all = { gradients: true, squared_norms: true };

export const perSampleLinear = defineCases({
  op: 'per_sample_linear',
  cases: [
    { name: 'ragged', args: (r) => ({ ...pairs(r, [5, 0, 17, 1, 130], 37, 23), ...all }) },
    {
      name: 'bias',
      args: (r) => ({ ...pairs(r, [5, 0, 17], 20, 33), ...all, bias: true, bias_gradients: true }),
    },
    {
      name: 'norms alone, short and long functions',
      args: (r) => ({ ...pairs(r, [5, 0, 17, 1, 130], 37, 23), squared_norms: true }),
    },
    {
      name: 'norms alone with bias',
      args: (r) => ({ ...pairs(r, [2, 90, 1], 13, 31), squared_norms: true, bias: true }),
    },
    {
      name: 'accumulated',
      args: (r) => ({
        ...pairs(r, [5, 2], 6, 7),
        bias: true,
        accumulate: true,
        gradients: r.normal([2, 7, 6]),
        bias_gradients: r.normal([2, 7]),
        squared_norms: r.normal([2]),
      }),
    },
    { name: 'token level', args: (r) => ({ ...tokenLevel(r, [5, 12, 1], 6, 18, 11), ...all }) },
    {
      name: 'token level, norms alone',
      args: (r) => ({ ...tokenLevel(r, [5, 70], 6, 18, 11), squared_norms: true, bias: true }),
    },
    { name: 'no outputs asked for', args: (r) => ({ ...pairs(r, [5, 2], 6, 7) }) },
    { name: 'no functions', args: (r) => ({ ...pairs(r, [], 6, 7), ...all }) },
    { name: 'wide', args: (r) => ({ ...pairs(r, [30, 3], 290, 140), ...all }) },
    { name: 'more rows than one pass', args: (r) => ({ ...pairs(r, [400, 3], 9, 20), ...all }) },
    {
      name: 'norms through products of several tiles of rows',
      args: (r) => ({ ...pairs(r, [120, 3], 200, 190), squared_norms: true }),
    },
    { name: 'wide norms', args: (r) => ({ ...pairs(r, [300, 3], 290, 140), squared_norms: true }) },
  ],
  invariants: [
    {
      name: 'equals brute force, norms too',
      check: (run, random, real) => {
        const p = pairs(random, [7, 0, 90], 21, 16);
        const g = gradientsOf(rounded(p));
        const result = run('per_sample_linear', { ...p, ...all });
        const alone = run('per_sample_linear', { ...p, squared_norms: true });
        const tolerance = real === 'float64' ? 1e-13 : 1e-6;
        expect(
          distance(numbers(result['gradients']!), Float64Array.from(g.flatMap((x) => [...x]))),
        ).toBeLessThan(tolerance);
        const norms = Float64Array.from(g, (x) => x.reduce((sum, v) => sum + v * v, 0));
        expect(distance(numbers(result['squared_norms']!), norms)).toBeLessThan(tolerance);
        expect(distance(numbers(alone['squared_norms']!), norms)).toBeLessThan(tolerance);
      },
    },
    {
      name: 'writes columns of an (S,P) matrix, transposed too',
      check: (_, random) => {
        const p = rounded(pairs(random, [7, 3], 5, 4));
        const g = gradientsOf(p);
        const args = {
          a: { data: Float32Array.from(p.a.data), shape: p.a.shape },
          d: { data: Float32Array.from(p.d.data), shape: p.d.shape },
          offsets: p.offsets,
        };
        for (const strides of [
          [50, 5, 1],
          [50, 1, 4],
        ]) {
          const data = new Float32Array(100).fill(7);
          entry('per_sample_linear').runSync({
            ...args,
            gradients: { data, shape: [2, 4, 5], strides, offset: 11 },
          });
          const expected = new Float32Array(100).fill(7);
          g.forEach((x, s) =>
            x.forEach(
              (v, i) => (expected[11 + s * 50 + Math.floor(i / 5) * strides[1]! + (i % 5) * strides[2]!] = v),
            ),
          );
          expect(distance(Float64Array.from(data), Float64Array.from(expected))).toBeLessThan(1e-6);
        }
      },
    },
  ],
  refused: [
    {
      name: 'gradients with no contiguous dimension',
      args: () => ({
        a: float32s(2, 3),
        d: float32s(2, 2),
        offsets: ints(0, 2),
        gradients: { data: new Float32Array(24), shape: [1, 2, 3], strides: [24, 6, 2] },
      }),
      code: 'ERR_SHAPE',
      message: 'contiguous in o or in i',
    },
    {
      name: 'bias gradients without bias',
      args: () => ({
        a: float32s(2, 3),
        d: float32s(2, 2),
        offsets: ints(0, 2),
        bias_gradients: true,
      }),
      code: 'ERR_INVALID_ARG',
      message: 'bias_gradients need bias',
    },
  ],
  bench: [
    layer(256, 32, 64, { gradients: true }),
    layer(256, 64, 256, { squared_norms: true }),
    layer(1024, 128, 16, { squared_norms: true }),
  ],
});
