import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import { reals, ints, type Random } from '../../helpers/random.js';
import { defineCases } from '../define.js';

const slice = (
  N: number,
  V: number,
  first_id: number,
  { softmax = true, scaled = false, apart = false, std = 1 } = {},
) => ({
  name: `${N}×${V} from ${first_id}${softmax ? '' : ', no softmax'}${scaled ? ', scaled' : ''}${apart ? ', into g' : ''}${std > 1 ? ', large' : ''}`,
  args: (r: Random) => ({
    z: r.normal([N, V], std),
    ...(softmax ? { lse: r.normal([N], std, 3 * std) } : {}),
    targets: r.integers([N], 0, first_id + 2 * V + 1),
    ...(scaled ? { scale: r.normal([N]) } : {}),
    ...(apart ? { g: true } : {}),
    first_id,
  }),
});

export const classifierGradient = defineCases({
  op: 'classifier_gradient',
  cases: [
    slice(1, 1, 0),
    slice(0, 5, 0),
    slice(9, 33, 0, { scaled: true }),
    slice(30, 70, 100),
    slice(8, 20, 3, { softmax: false, scaled: true }),
    slice(5, 64, 0, { softmax: false }),
    slice(7, 45, 20, { scaled: true, apart: true }),
    slice(6, 300, 0, { std: 30 }),
  ],
  invariants: [
    {
      name: 'sums to 0 over the whole vocabulary',
      check: (run) => {
        const z = { data: Float64Array.of(1, 2, -1, 0.5), shape: [1, 4] };
        const lse = reals(Math.log([...z.data].reduce((sum, x) => sum + Math.exp(x), 0)));
        expect(
          Math.abs(
            numbers(run('classifier_gradient', { z, lse, targets: ints(2) })['z']!).reduce(
              (a, b) => a + b,
              0,
            ),
          ),
        ).toBeLessThan(1e-6);
      },
    },
  ],
  refused: [
    {
      name: 'another count',
      args: () => ({ z: { data: new Float32Array(6), shape: [2, 3] }, targets: new Int32Array(3) }),
      code: 'ERR_SHAPE',
      message: 'targets has shape (N)',
    },
  ],
  bench: [slice(2048, 4096, 0)],
});
