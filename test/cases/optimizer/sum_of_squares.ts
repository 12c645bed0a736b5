import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import { reals, type Random } from '../../helpers/random.js';
import { defineCases } from '../define.js';

const squares = (P: number, extra = {}, label = '') => ({
  name: `${P}${label}`,
  args: (r: Random) => ({ x: r.normal([P]), ...extra }),
});

export const sumOfSquares = defineCases({
  op: 'sum_of_squares',
  cases: [
    squares(0),
    squares(1),
    squares(5),
    squares(1000),
    squares(200_003),
    squares(77, { y: reals(3), accumulate: true }, ', accumulated'),
    squares(0, { y: reals(3), accumulate: true }, ', nothing accumulated'),
  ],
  invariants: [
    {
      name: 'accumulates in float64: 1e30² does not overflow and small terms are not lost',
      check: (run) => {
        const large = Math.fround(1e30);
        expect(numbers(run('sum_of_squares', { x: reals(large, 0, large) })['y']!)[0]).toBe(
          2 * large * large,
        );
        const x = { data: new Float64Array(100_001).fill(1), shape: [100_001] };
        x.data[0] = 2 ** 20;
        expect(numbers(run('sum_of_squares', { x })['y']!)[0]).toBe(2 ** 40 + 100_000);
        expect(numbers(run('sum_of_squares', { x: reals(1, Number.NaN) })['y']!)[0]).toBeNaN();
      },
    },
  ],
  refused: [
    {
      name: 'a float32 result',
      args: () => ({ x: new Float32Array(3), y: new Float32Array(1) }),
      code: 'ERR_DTYPE',
      message: 'y must be float64',
    },
  ],
  bench: [squares(1 << 24)],
});
