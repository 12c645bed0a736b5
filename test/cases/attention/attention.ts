import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import { ints, type Random, type RealTensor } from '../../helpers/random.js';
import { defineCases, type CaseArgs, type OpCase } from '../define.js';

const offsetsOf = (lengths: readonly number[]) => {
  let end = 0;
  return ints(0, ...lengths.map((length) => (end += length)));
};

interface Heads {
  readonly H: number;
  readonly G?: number;
  readonly D: number;
  readonly std?: number;
  readonly scale?: number;
}

/** Packed sequences of the given lengths; std is that of q and k. */
const packed = (
  random: Random,
  lengths: readonly number[],
  { H, G = H, D, std = 1, scale = D ** -0.5 }: Heads,
) => {
  const N = lengths.reduce((a, b) => a + b, 0);
  return {
    q: random.normal([N, H, D], std),
    k: random.normal([N, G, D], std),
    v: random.normal([N, G, D]),
    offsets: offsetsOf(lengths),
    lse: true,
    scale,
  };
};
const repeat = (count: number, length: number) => Array.from({ length: count }, () => length);
const pack = (name: string, lengths: readonly number[], heads: Heads, skipGradient?: string): OpCase => ({
  name,
  args: (random) => packed(random, lengths, heads),
  ...(skipGradient ? { skipGradient } : {}),
});

/** Rows [begin, end) of a tensor. */
const rows = ({ data, shape }: RealTensor, begin: number, end: number): RealTensor => {
  const row = shape.slice(1).reduce((a, b) => a * b, 1);
  return { data: data.slice(begin * row, end * row), shape: [end - begin, ...shape.slice(1)] };
};
const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
const large = 'large: parity covers it';

export const attention = defineCases({
  op: 'attention',
  cases: [
    pack('one token', [1], { H: 2, D: 8 }),
    pack('one sequence', [9], { H: 3, D: 16 }),
    pack('ragged, with empty sequences', [0, 3, 0, 17, 1, 5, 0], { H: 2, D: 8 }),
    pack('grouped queries', [12, 7], { H: 4, G: 2, D: 16 }),
    pack('one key head, odd D', [6, 11], { H: 6, G: 1, D: 7 }),
    pack('D = 1', [5, 2], { H: 2, D: 1 }),
    pack('D = 33', [13], { H: 2, G: 1, D: 33 }),
    pack('D = 80, across tiles', [70, 33], { H: 2, G: 1, D: 80 }, large),
    pack('D = 128, across tiles', [5, 131], { H: 2, D: 128 }, large),
    pack('D = 200', [40], { H: 1, D: 200 }, large),
    pack('small training pack', repeat(32, 19), { H: 4, D: 16 }, large),
    pack('tile edges', [15, 16, 17, 31, 32, 33, 63, 64, 65, 128, 129], { H: 2, G: 1, D: 24 }, large),
    pack('long', [530], { H: 2, G: 1, D: 32 }, large),
    pack('scale 0.7', [20, 4], { H: 2, D: 8, scale: 0.7 }),
    pack('scores ±1e4', [40, 3, 18], { H: 2, D: 16, std: 100, scale: 0.25 }, 'softmax is a step there'),
    pack('no sequences', [], { H: 2, D: 8 }),
    pack('only empty sequences', [0, 0], { H: 2, G: 1, D: 8 }),
    {
      name: 'equal scores',
      args: (r) => ({
        ...packed(r, [21, 2], { H: 2, D: 8 }),
        q: { data: new Float64Array(23 * 16), shape: [23, 2, 8] },
      }),
    },
  ],
  invariants: [
    {
      name: 'a position does not see later ones',
      check: (run, random) => {
        const args = packed(random, [5, 90], { H: 2, G: 1, D: 24 });
        const row = 48;
        const { y, lse } = run('attention', args);
        for (const last of [20, 47, 80]) {
          // Other tokens after `last`, then none at all.
          const other = packed(random, [5, 90], { H: 2, G: 1, D: 24 });
          const mixed = (name: 'q' | 'k' | 'v') => ({
            data: args[name].data.map((x, i) =>
              i < ((last + 1) * args[name].data.length) / 95 ? x : other[name].data[i]!,
            ),
            shape: args[name].shape,
          });
          for (const changed of [
            run('attention', { ...args, q: mixed('q'), k: mixed('k'), v: mixed('v') }),
            run('attention', {
              ...args,
              q: rows(args.q, 0, last + 1),
              k: rows(args.k, 0, last + 1),
              v: rows(args.v, 0, last + 1),
              offsets: ints(0, 5, last + 1),
            }),
          ]) {
            expect(numbers(changed['y']!).slice(0, (last + 1) * row)).toEqual(
              numbers(y!).slice(0, (last + 1) * row),
            );
            expect(numbers(changed['lse']!).slice(0, (last + 1) * 2)).toEqual(
              numbers(lse!).slice(0, (last + 1) * 2),
            );
          }
        }
      },
    },
    {
      name: 'a sequence has the same bits whatever the batch',
      check: (run, random) => {
        const lengths = [33, 7, 0, 70, 1];
        const heads = { H: 4, G: 2, D: 20 };
        const N = 111;
        const forward = packed(random, lengths, heads);
        const y = run('attention', forward);
        const all = {
          ...forward,
          y: random.normal([N, 4, 20]),
          lse: { data: numbers(y['lse']!), shape: [N, 4] },
          d_y: random.normal([N, 4, 20]),
        };
        const tangents = {
          t_q: random.normal([N, 4, 20]),
          t_k: random.normal([N, 2, 20]),
          t_v: random.normal([N, 2, 20]),
        };
        const backward = run('attention_backward', all);
        const { d_y: _, ...shared } = all;
        const jvp = run('attention_jvp', { ...shared, ...tangents });
        const offsets = forward.offsets.data;
        lengths.forEach((length, s) => {
          const cut = (args: CaseArgs): CaseArgs =>
            Object.fromEntries(
              Object.entries(args).map(([name, value]) => [
                name,
                name === 'offsets'
                  ? ints(0, length)
                  : typeof value === 'object'
                    ? rows(value as RealTensor, offsets[s]!, offsets[s + 1]!)
                    : value,
              ]),
            );
          for (const [entry, args, whole] of [
            ['attention', forward, y],
            ['attention_backward', all, backward],
            ['attention_jvp', { ...shared, ...tangents }, jvp],
          ] as const)
            for (const [name, result] of Object.entries(run(entry, cut(args)))) {
              const row = numbers(whole[name]!).length / N;
              expect(numbers(result), `${entry}: ${name} of sequence ${s}`).toEqual(
                numbers(whole[name]!).slice(offsets[s]! * row, offsets[s + 1]! * row),
              );
            }
        });
      },
    },
    {
      name: 'a permutation of the sequences permutes the rows',
      check: (run, random) => {
        const lengths = [18, 40, 3];
        const args = packed(random, lengths, { H: 2, D: 16 });
        const order = [2, 0, 1];
        const permute = (t: RealTensor): RealTensor => ({
          data: Float64Array.from(
            order.flatMap((s) => [...rows(t, args.offsets.data[s]!, args.offsets.data[s + 1]!).data]),
          ),
          shape: t.shape,
        });
        const y = { data: numbers(run('attention', args)['y']!), shape: args.q.shape };
        const permuted = run('attention', {
          ...args,
          q: permute(args.q),
          k: permute(args.k),
          v: permute(args.v),
          offsets: offsetsOf(order.map((s) => lengths[s]!)),
        });
        expect(numbers(permuted['y']!)).toEqual(permute(y).data);
      },
    },
    {
      name: 'probabilities sum to 1',
      check: (run, random, real) => {
        const args = packed(random, [75, 2], { H: 2, D: 16, std: 3 });
        const y = numbers(
          run('attention', {
            ...args,
            v: { data: new Float64Array(args.v.data.length).fill(1), shape: args.v.shape },
          })['y']!,
        );
        for (const value of y) expect(Math.abs(value - 1)).toBeLessThan(real === 'float64' ? 1e-14 : 2e-6);
      },
    },
    {
      name: 'without lse, y has the same bits',
      check: (run, random) => {
        const { lse: _, ...args } = packed(random, [50, 9], { H: 2, D: 16 });
        const result = run('attention', args);
        expect(result['lse']).toBeUndefined();
        expect(numbers(result['y']!)).toEqual(numbers(run('attention', { ...args, lse: true })['y']!));
      },
    },
    {
      name: 'grouped heads are repeated heads; their gradients add up',
      check: (run, random, real) => {
        const [N, H, G, D] = [47, 6, 2, 12];
        const args = packed(random, [40, 7], { H, G, D });
        const repeated = (t: RealTensor): RealTensor => ({
          data: Float64Array.from(
            { length: N * H * D },
            (_, i) =>
              t.data[(Math.floor(i / (H * D)) * G + Math.floor(((i / D) % H) / (H / G))) * D + (i % D)]!,
          ),
          shape: [N, H, D],
        });
        const wide = { ...args, k: repeated(args.k), v: repeated(args.v) };
        const [one, two] = [run('attention', args), run('attention', wide)];
        expect(numbers(one['y']!)).toEqual(numbers(two['y']!));
        const d_y = random.normal([N, H, D]);
        const saved = {
          y: { data: numbers(one['y']!), shape: [N, H, D] },
          lse: { data: numbers(one['lse']!), shape: [N, H] },
          d_y,
        };
        const [grouped, apart] = [
          run('attention_backward', { ...args, ...saved }),
          run('attention_backward', { ...wide, ...saved }),
        ];
        for (const name of ['d_k', 'd_v']) {
          const sums = new Float64Array(N * G * D);
          numbers(apart[name]!).forEach(
            (value, i) =>
              (sums[(Math.floor(i / (H * D)) * G + Math.floor(((i / D) % H) / (H / G))) * D + (i % D)]! +=
                value),
          );
          numbers(grouped[name]!).forEach((value, i) =>
            expect(Math.abs(value - sums[i]!)).toBeLessThan(real === 'float64' ? 1e-12 : 2e-5),
          );
        }
      },
    },
    {
      name: '⟨Jt, c⟩ = ⟨t, Jᵀc⟩',
      check: (run, random, real) => {
        const [N, H, G, D] = [120, 4, 2, 20];
        const args = packed(random, [83, 37], { H, G, D });
        const forward = run('attention', args);
        const saved = {
          ...args,
          y: { data: numbers(forward['y']!), shape: [N, H, D] },
          lse: { data: numbers(forward['lse']!), shape: [N, H] },
        };
        const [t_q, t_k, t_v, d_y] = [
          random.normal([N, H, D]),
          random.normal([N, G, D]),
          random.normal([N, G, D]),
          random.normal([N, H, D]),
        ];
        const t_y = numbers(run('attention_jvp', { ...saved, t_q, t_k, t_v })['t_y']!);
        const d = run('attention_backward', { ...saved, d_y });
        const forwards = dot(t_y, d_y.data);
        const backwards =
          dot(t_q.data, numbers(d['d_q']!)) +
          dot(t_k.data, numbers(d['d_k']!)) +
          dot(t_v.data, numbers(d['d_v']!));
        const size = Math.sqrt(dot(t_y, t_y) * dot(d_y.data, d_y.data));
        expect(Math.abs(forwards - backwards) / size).toBeLessThan(real === 'float64' ? 1e-8 : 1e-6); // y and lse are rounded on the way
      },
    },
    {
      name: 'a shift of every key moves no probability',
      check: (run, random, real) => {
        const args = packed(random, [30], { H: 2, D: 8 });
        const k = { data: args.k.data.map((x) => Math.round(64 * x) / 64), shape: args.k.shape }; // the shift rounds nothing
        const shifted = { data: k.data.map((x, i) => x + 0.5 + (i % 8)), shape: k.shape };
        const [y, moved] = [
          numbers(run('attention', { ...args, k })['y']!),
          numbers(run('attention', { ...args, k: shifted })['y']!),
        ];
        y.forEach((value, i) =>
          expect(Math.abs(value - moved[i]!)).toBeLessThan(real === 'float64' ? 1e-12 : 1e-4),
        );
      },
    },
  ],
  refused: [
    {
      name: 'query heads that key heads do not divide',
      args: (r: Random) => ({
        ...packed(r, [4], { H: 3, D: 4 }),
        k: r.normal([4, 2, 4]),
        v: r.normal([4, 2, 4]),
      }),
      code: 'ERR_SHAPE',
      message: 'multiple',
    },
    {
      name: 'keys of another width',
      args: (r: Random) => ({ ...packed(r, [4], { H: 2, D: 4 }), k: r.normal([4, 2, 5]) }),
      code: 'ERR_SHAPE',
      message: 'k',
    },
    {
      name: 'offsets that leave rows out',
      args: (r: Random) => ({ ...packed(r, [4], { H: 2, D: 4 }), offsets: ints(0, 3) }),
      code: 'ERR_INVALID_ARG',
      message: 'end with the 4 rows',
    },
    {
      name: 'offsets that begin late',
      args: (r: Random) => ({ ...packed(r, [4], { H: 2, D: 4 }), offsets: ints(1, 4) }),
      code: 'ERR_INVALID_ARG',
      message: 'begin with 0',
    },
    {
      name: 'decreasing offsets',
      args: (r: Random) => ({ ...packed(r, [4], { H: 2, D: 4 }), offsets: ints(0, 3, 2, 4) }),
      code: 'ERR_INVALID_ARG',
      message: 'must not decrease',
    },
    {
      name: 'no offsets',
      args: (r: Random) => ({ ...packed(r, [4], { H: 2, D: 4 }), offsets: ints() }),
      code: 'ERR_SHAPE',
      message: 'offsets',
    },
    {
      name: 'a backward pass without lse',
      entry: 'attention_backward',
      args: (r: Random) =>
        ({
          ...packed(r, [4], { H: 2, D: 4 }),
          lse: null,
          y: r.normal([4, 2, 4]),
          d_y: r.normal([4, 2, 4]),
        }) as unknown as CaseArgs,
      code: 'ERR_INVALID_ARG',
      message: 'lse',
    },
  ].map((refusal) => ({ ...refusal, args: (random: Random) => singles(refusal.args(random)) })),
  bench: [
    pack('32 × 64, H 4, D 64', repeat(32, 64), { H: 4, D: 64 }),
    pack('256 × 19, H 4, D 16', repeat(256, 19), { H: 4, D: 16 }),
    pack('4 × 256, H 4, D 64', repeat(4, 256), { H: 4, D: 64 }),
    pack('8 × 512, H 8, G 2, D 64', repeat(8, 512), { H: 8, G: 2, D: 64 }),
    pack('1 × 2048, H 4, D 128', [2048], { H: 4, D: 128 }),
  ],
});

/** Refusals reach the op as they are: in float32, which is what it takes. */
function singles(args: CaseArgs): CaseArgs {
  return Object.fromEntries(
    Object.entries(args).map(([name, value]) => [
      name,
      typeof value === 'object' && value !== null && value.data instanceof Float64Array
        ? { data: Float32Array.from(value.data), shape: value.shape }
        : value,
    ]),
  ) as CaseArgs;
}
