/**
 * Small host arrays are kept on the device by content (native/backends/cuda/upload_cache.h): what is found
 * there must be what was given, after the ring has gone round as well.
 */
import './device.js';

import { expect, it } from 'vitest';

import { entry, numbers, runCase } from '../helpers/kernels.js';
import { Random } from '../helpers/random.js';

it('more than the ring holds, and then the same again', () => {
  // 40 KiB each, 120 of them in a ring of 4 MiB: the first places belong to others when their numbers come
  // again.
  const arrays = Array.from({ length: 120 }, (_, i) => new Random(i + 1).normal([2, 5120]));
  const sums = (x: (typeof arrays)[number], backend: 'cuda' | 'reference64') =>
    numbers(runCase(entry('reduce'), { x }, backend)['y']!);
  const expected = arrays.map((x) => sums(x, 'reference64'));
  for (const order of [arrays.keys(), arrays.keys(), [...arrays.keys()].reverse()])
    for (const i of order)
      expect(sums(arrays[i]!, 'cuda')).toEqual(Float64Array.from(expected[i]!, Math.fround));
});
