import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import { ints, type Random, type RealTensor, float32s } from '../../helpers/random.js';
import { defineCases, type OpCase } from '../define.js';

interface Shape {
  readonly S: number;
  readonly T: number;
  readonly H: number;
  readonly G?: number;
  readonly D: number;
  readonly std?: number;
}

/** A cache of S slots of T positions; what lies beyond a slot's length is NaN and must not be read. */
const decode = (
  random: Random,
  slots: readonly number[],
  lengths: readonly number[],
  { S, T, H, G = H, D, std = 1 }: Shape,
) => {
  const valid = new Array<number>(S).fill(0);
  slots.forEach((slot, b) => (valid[slot] = Math.max(valid[slot]!, lengths[b]!)));
  const cache = (spread: number): RealTensor => {
    const tensor = random.normal([S, T, G, D], spread);
    tensor.data.forEach((_, i) => {
      const position = Math.floor(i / (G * D));
      if (position % T >= valid[Math.floor(position / T)]!) tensor.data[i] = Number.NaN;
    });
    return tensor;
  };
  return {
    q: random.normal([slots.length, H, D], std),
    cache_k: cache(std),
    cache_v: cache(1),
    slots: ints(...slots),
    lengths: ints(...lengths),
    scale: D ** -0.5,
  };
};
const step = (name: string, slots: readonly number[], lengths: readonly number[], shape: Shape): OpCase => ({
  name,
  args: (random) => decode(random, slots, lengths, shape),
});
const every = (B: number, T: number, shape: Omit<Shape, 'S' | 'T'>): OpCase =>
  step(`B ${B}, T ${T}, H ${shape.H}, D ${shape.D}`, [...Array(B).keys()], new Array<number>(B).fill(T), {
    S: B,
    T,
    ...shape,
  });

export const attentionDecode = defineCases({
  op: 'attention_decode',
  cases: [
    step('one position', [0], [1], { S: 1, T: 1, H: 2, D: 8 }),
    step('slots in any order', [2, 0, 3], [20, 1, 7], { S: 4, T: 20, H: 4, G: 2, D: 16 }),
    step('one key head, odd D', [1, 0], [13, 9], { S: 2, T: 16, H: 5, G: 1, D: 7 }),
    step('two rows on one slot', [1, 1], [9, 17], { S: 2, T: 17, H: 2, D: 32 }),
    step('D = 1', [0], [5], { S: 1, T: 8, H: 2, G: 1, D: 1 }),
    step('D = 200', [0, 1], [40, 33], { S: 2, T: 40, H: 2, G: 1, D: 200 }),
    step('long', [0, 1], [700, 65], { S: 2, T: 700, H: 4, G: 2, D: 80 }),
    step('scores ±1e4', [0, 1], [50, 30], { S: 2, T: 50, H: 2, D: 16, std: 200 }),
    step('no rows', [], [], { S: 2, T: 4, H: 2, D: 8 }),
  ],
  invariants: [
    {
      name: 'has the bits of attention at the last position',
      check: (run, random, real) => {
        for (const [T, H, G, D] of [
          [77, 4, 2, 24],
          [300, 3, 1, 64],
          [140, 2, 2, 5],
        ] as const) {
          const [q, k, v] = [random.normal([T, H, D]), random.normal([T, G, D]), random.normal([T, G, D])];
          const y = numbers(run('attention', { q, k, v, offsets: ints(0, T), scale: 0.2 })['y']!);
          for (const length of [1, 2, 16, 33, 77, 128, 129, 200, 257, 300].filter((l) => l <= T)) {
            const last = { data: q.data.slice((length - 1) * H * D, length * H * D), shape: [1, H, D] };
            const one = numbers(
              run('attention_decode', {
                q: last,
                cache_k: { data: k.data, shape: [1, T, G, D] },
                cache_v: { data: v.data, shape: [1, T, G, D] },
                slots: ints(0),
                lengths: ints(length),
                scale: 0.2,
              })['y']!,
            );
            const row = y.slice((length - 1) * H * D, length * H * D);
            // The references may add up in another order; the kernels may not: what is sampled is what is
            // trained on.
            if (real === 'float32') expect(one).toEqual(row);
            else one.forEach((value, i) => expect(Math.abs(value - row[i]!)).toBeLessThan(1e-13));
          }
        }
      },
    },
    {
      name: 'a row has the same bits whatever the batch',
      check: (run, random) => {
        const [slots, lengths, H, D] = [[3, 1, 0, 2], [50, 3, 21, 64], 4, 20];
        const args = decode(random, slots, lengths, { S: 4, T: 64, H, G: 2, D });
        const all = numbers(run('attention_decode', args)['y']!);
        slots.forEach((slot, b) => {
          const one = run('attention_decode', {
            ...args,
            q: { data: args.q.data.slice(b * H * D, (b + 1) * H * D), shape: [1, H, D] },
            slots: ints(slot),
            lengths: ints(lengths[b]!),
          });
          expect(numbers(one['y']!)).toEqual(all.slice(b * H * D, (b + 1) * H * D));
        });
      },
    },
    {
      name: 'probabilities sum to 1',
      check: (run, random, real) => {
        const args = decode(random, [0, 1], [64, 19], { S: 2, T: 64, H: 2, D: 16 });
        const y = numbers(
          run('attention_decode', {
            ...args,
            cache_v: {
              data: args.cache_v.data.map((x) => (Number.isNaN(x) ? x : 1)),
              shape: args.cache_v.shape,
            },
          })['y']!,
        );
        for (const value of y) expect(Math.abs(value - 1)).toBeLessThan(real === 'float64' ? 1e-14 : 2e-6);
      },
    },
  ],
  refused: (
    [
      ['a slot that is not there', { slots: ints(2) }, 'ERR_INVALID_ARG', 'slots[0] = 2'],
      ['a negative slot', { slots: ints(-1) }, 'ERR_INVALID_ARG', 'slots[0] = -1'],
      ['an empty cache entry', { lengths: ints(0) }, 'ERR_INVALID_ARG', 'lengths[0] = 0'],
      ['a length beyond the cache', { lengths: ints(5) }, 'ERR_INVALID_ARG', 'lengths[0] = 5'],
      ['heads that do not divide', { q: float32s(1, 3, 4) }, 'ERR_SHAPE', 'multiple'],
    ] as const
  ).map(([name, wrong, code, message]) => ({
    name,
    args: () => ({
      q: float32s(1, 4, 4),
      cache_k: { data: new Float32Array(2 * 4 * 2 * 4), shape: [2, 4, 2, 4] },
      cache_v: { data: new Float32Array(2 * 4 * 2 * 4), shape: [2, 4, 2, 4] },
      slots: ints(0),
      lengths: ints(1),
      ...wrong,
    }),
    code,
    message,
  })),
  bench: [
    every(32, 128, { H: 4, D: 64 }),
    every(1, 128, { H: 4, D: 64 }),
    every(32, 1024, { H: 8, G: 2, D: 64 }),
  ],
});
