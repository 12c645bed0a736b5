/** Views whose rows and heads lie differently in memory on the two sides of a call. */
import { expect, it } from 'vitest';

import { cpuBackends, entry } from '../helpers/kernels.js';

it.each(cpuBackends)('copy on %s takes heads out of a fused tensor', (backend) => {
  const [N, H, D] = [3, 2, 5];
  const fused = Float32Array.from({ length: N * 3 * H * D }, (_, i) => i);
  const packed = new Float32Array(N * H * D);
  entry('copy').runSync(
    {
      x: { data: fused, shape: [N, H, D], strides: [3 * H * D, 3 * D, 1], offset: D },
      y: { data: packed, shape: [N, H, D] },
    },
    { backend },
  );
  const expected = Float32Array.from(packed, (_, i) => {
    const [n, h, d] = [Math.floor(i / (H * D)), Math.floor(i / D) % H, i % D];
    return D + n * 3 * H * D + h * 3 * D + d;
  });
  expect(packed).toEqual(expected);
});
