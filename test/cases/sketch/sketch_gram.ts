import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import { gradientsOf, gramOf, pairs, rounded } from '../../helpers/pairs.js';
import { type RealTensor, float32s } from '../../helpers/random.js';
import { defineCases } from '../define.js';

const zeros = (...shape: number[]): RealTensor => ({
  data: new Float64Array(shape.reduce((x, y) => x * y, 1)),
  shape,
});

export const sketchGram = defineCases({
  op: 'sketch_gram',
  cases: [
    { name: 'symmetric', args: (r) => ({ sketches: r.normal([7, 5, 13]) }) },
    {
      name: 'rectangular, 90 %',
      args: (r) => ({ sketches: r.normal([3, 8, 16]), sketches2: r.normal([5, 8, 16]), confidence: 0.9 }),
    },
    { name: 'two repeats of one number', args: (r) => ({ sketches: r.normal([2, 2, 1]) }) },
    { name: 'no functions', args: (r) => ({ sketches: r.normal([0, 4, 8]) }) },
    { name: 'many functions', args: (r) => ({ sketches: r.normal([70, 4, 24], 1, 1) }) },
  ],
  invariants: [
    {
      name: "Student's quantiles of a table",
      check: (run) => {
        // x_r = 0, …, 0, 1 has mean 1/R and standard error 1/R, so half_width · R is the quantile.
        for (const [repeats, confidence, quantile] of [
          [2, 0.5, 1],
          [2, 0.99, 63.65674116],
          [3, 0.95, 4.30265273],
          [11, 0.9, 1.81246112],
          [32, 0.99, 2.74404192],
          [1001, 0.99, 2.58075469],
        ] as const) {
          const data = new Float64Array(repeats);
          data[repeats - 1] = 1;
          const { half_width } = run('sketch_gram', {
            sketches: { data, shape: [1, repeats, 1] },
            confidence,
          });
          expect(numbers(half_width!)[0]! * repeats).toBeCloseTo(quantile, 6);
        }
      },
    },
    {
      name: 'over 100 seeds the 99 % bar covers every entry in 95, is at most 6 errors wide, and errors fall as 1/√k',
      many: true,
      check: (run, random, real) => {
        if (real === 'float64') return; // the same numbers, slowly
        const p = pairs(random, [4, 9, 1, 12, 6], 24, 18);
        const exact = gramOf(gradientsOf(rounded(p)));
        const errors: number[] = [];
        for (const repeats of [32, 128]) {
          const covered = new Float64Array(25);
          let frobenius = 0;
          let squares = 0;
          let width = 0;
          for (let seed = 0; seed < 100; ++seed) {
            const sketches = run('sketch', { ...p, sketches: zeros(5, repeats, 64), left: 8, seed })[
              'sketches'
            ]!;
            const result = run('sketch_gram', {
              sketches: { data: numbers(sketches), shape: [5, repeats, 64] },
            });
            const [estimate, half] = [numbers(result['estimate']!), numbers(result['half_width']!)];
            const error = exact.map((k, i) => (estimate[i]! - k) ** 2);
            error.forEach((e, i) => (covered[i]! += Number(e <= half[i]! ** 2)));
            const bar = half.reduce((sum, h) => sum + h * h, 0);
            const distance2 = error.reduce((sum, e) => sum + e, 0);
            frobenius += Number(distance2 <= bar);
            squares += distance2;
            width += half.reduce((sum, h) => sum + 2 * h, 0);
          }
          const rms = Math.sqrt(squares / 2500);
          errors.push(rms);
          expect(Math.min(...covered), `the worst entry with ${repeats} repeats`).toBeGreaterThanOrEqual(95);
          expect(covered.reduce((x, y) => x + y, 0) / 2500).toBeGreaterThan(0.98);
          expect(frobenius).toBeGreaterThanOrEqual(99);
          expect(width / 2500 / rms, `full width in errors with ${repeats} repeats`).toBeLessThan(6);
        }
        expect(errors[0]! / errors[1]! / 2).toBeGreaterThan(0.8);
        expect(errors[0]! / errors[1]! / 2).toBeLessThan(1.2);
      },
    },
  ],
  refused: [
    {
      name: 'one repeat',
      args: () => ({ sketches: float32s(2, 1, 2) }),
      code: 'ERR_SHAPE',
      message: 'at least 2 repeats',
    },
    {
      name: 'a confidence of 99',
      args: () => ({ sketches: float32s(2, 2, 2), confidence: 99 }),
      code: 'ERR_INVALID_ARG',
      message: 'between 0 and 1',
    },
  ],
  bench: [{ name: '64 functions, 32 repeats of 64', args: (r) => ({ sketches: r.normal([64, 32, 64]) }) }],
});
