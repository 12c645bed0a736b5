/** What token_gram and jacobian_gram, two forms of one kernel, are both tested with. */
import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import {
  distance,
  gradientsOf,
  gramOf,
  isGram,
  offsetsOf,
  pairs,
  rounded,
  second,
  tokenLevel,
  type PairsOf,
} from '../../helpers/pairs.js';
import { ints, type Random, float32s } from '../../helpers/random.js';
import type { CaseArgs, Invariant, OpCase, OpCases } from '../define.js';

const named = (name: string, args: (random: Random) => CaseArgs): OpCase => ({ name, args });
const asArgs = (p: PairsOf): CaseArgs => ({ ...p });

export const formCases: readonly OpCase[] = [
  named('one function of one row', (r) => asArgs(pairs(r, [1], 1, 1))),
  named('ragged, one empty, odd widths', (r) => asArgs(pairs(r, [5, 0, 17, 1, 130, 3], 37, 23))),
  named('bias', (r) => ({ ...pairs(r, [4, 9, 0, 33], 21, 30), bias: true })),
  named('functions of one row', (r) => asArgs(pairs(r, Array<number>(90).fill(1), 19, 33))),
  named('rectangular', (r) => ({
    ...pairs(r, [3, 70, 0, 8], 29, 13),
    ...second(pairs(r, [12, 1, 66], 29, 13)),
  })),
  named('rectangular with bias, accumulated', (r) => ({
    ...pairs(r, [3, 7], 16, 18),
    ...second(pairs(r, [1, 6, 20], 16, 18)),
    bias: true,
    accumulate: true,
    gram: r.normal([2, 3], 50),
  })),
  named('accumulated', (r) => {
    const k = gramOf(gradientsOf(pairs(r, [6, 6, 6], 5, 4)));
    return { ...pairs(r, [10, 2, 7], 24, 40), accumulate: true, gram: { data: k, shape: [3, 3] } };
  }),
  named('token level: functions share rows of a', (r) => asArgs(tokenLevel(r, [5, 12, 1, 20], 6, 18, 11))),
  named('token level against samples', (r) => ({
    ...tokenLevel(r, [9, 4], 3, 18, 11),
    ...second(pairs(r, [7, 70], 18, 11)),
  })),
  named('no functions', (r) => asArgs(pairs(r, [], 4, 5))),
  named('all empty', (r) => asArgs(pairs(r, [0, 0], 4, 5))),
  named('no inputs, only a bias', (r) => ({ ...pairs(r, [4, 3], 0, 5), bias: true })),
  named('more rows than one pass', (r) => ({ ...pairs(r, [400, 3], 9, 20), bias: true })),
  named('wide: 300 × 270', (r) => asArgs(pairs(r, [16, 16, 3, 40], 300, 270))),
  named('wider than one pass: 2100 × 1100', (r) => asArgs(pairs(r, [2, 3, 1], 2100, 1100))),
];

export const formInvariants = (op: string): readonly Invariant[] => [
  {
    name: 'equals brute force J Jᵀ, in float64 to 1e-12',
    check: (run, random, real) => {
      for (const bias of [false, true])
        for (const p of [pairs(random, [11, 0, 1, 75, 30], 33, 17), tokenLevel(random, [8, 14], 5, 33, 17)]) {
          const k = numbers(run(op, { ...p, bias })['gram']!);
          expect(distance(k, gramOf(gradientsOf(rounded(p), bias)))).toBeLessThan(
            real === 'float64' ? 1e-12 : 1e-6,
          );
          expect(isGram(k, p.offsets.data.length - 1, random)).toBe(true);
        }
    },
  },
  {
    name: 'permuting functions permutes the kernel; blocks of functions give the same kernel',
    check: (run, random, real) => {
      const lengths = Array.from({ length: 40 }, (_, s) => 1 + ((s * 61) % 200));
      const p = pairs(random, lengths, 20, 12);
      const whole = numbers(run(op, { ...p })['gram']!);
      const select = (order: readonly number[]): PairsOf => {
        const rows = order.flatMap((s) =>
          Array.from({ length: lengths[s]! }, (_, t) => p.offsets.data[s]! + t),
        );
        const take = (x: PairsOf['a']) => ({
          data: Float64Array.from(
            rows.flatMap((n) => [...x.data.subarray(n * x.shape[1]!, (n + 1) * x.shape[1]!)]),
          ),
          shape: [rows.length, x.shape[1]!],
        });
        return { a: take(p.a), d: take(p.d), offsets: offsetsOf(order.map((s) => lengths[s]!)) };
      };
      const tolerance = real === 'float64' ? 1e-13 : 1e-6;
      const order = lengths.map((_, s) => (s * 7 + 3) % 40);
      const permuted = numbers(run(op, { ...select(order) })['gram']!);
      expect(
        distance(permuted, Float64Array.from(order.flatMap((s) => order.map((t) => whole[s * 40 + t]!)))),
      ).toBeLessThan(tolerance);
      const blocks = [
        [0, 7],
        [7, 8],
        [8, 27],
        [27, 40],
      ].map(([begin, end]) => lengths.map((_, s) => s).slice(begin, end));
      const assembled = new Float64Array(1600);
      for (const x of blocks)
        for (const y of blocks) {
          const k = numbers(
            run(op, x === y ? { ...select(x) } : { ...select(x), ...second(select(y)) })['gram']!,
          );
          x.forEach((s, i) => y.forEach((t, j) => (assembled[s * 40 + t] = k[i * y.length + j]!)));
        }
      expect(distance(assembled, whole)).toBeLessThan(tolerance);
    },
  },
  {
    name: 'k(x,x) is the squared norm of the per-sample gradient',
    check: (run, random, real) => {
      const p = pairs(random, [3, 50, 0, 9], 14, 25);
      const k = numbers(run(op, { ...p, bias: true })['gram']!);
      const norms = numbers(
        run('per_sample_linear', { ...p, bias: true, squared_norms: true } as CaseArgs)['squared_norms']!,
      );
      expect(
        distance(
          Float64Array.from(norms, (_, s) => k[s * 4 + s]!),
          norms,
        ),
      ).toBeLessThan(real === 'float64' ? 1e-13 : 1e-6);
    },
  },
];

export const formRefusals = (op: string): NonNullable<OpCases['refused']> => {
  const good = { a: float32s(5, 3), d: float32s(5, 2), offsets: ints(0, 2, 5) };
  return [
    {
      name: 'offsets that end early',
      args: () => ({ ...good, offsets: ints(0, 2, 4) }),
      code: 'ERR_INVALID_ARG',
      message: `${op}: offsets must begin with 0 and end with the 5 rows`,
    },
    {
      name: 'offsets that decrease',
      args: () => ({ ...good, offsets: ints(0, 4, 2, 5) }),
      code: 'ERR_INVALID_ARG',
      message: 'must not decrease',
    },
    {
      name: 'rows of a that do not match',
      args: () => ({ ...good, a: float32s(4, 3) }),
      code: 'ERR_SHAPE',
      message: 'give a_rows when they are shared',
    },
    {
      name: 'an a_rows entry beyond a',
      args: () => ({ ...good, a: float32s(4, 3), a_rows: ints(0, 1, 2, 3, 4) }),
      code: 'ERR_INVALID_ARG',
      message: 'a_rows[4] = 4 is not a row of a',
    },
    {
      name: 'half a second set',
      args: () => ({ ...good, d2: float32s(5, 2) }),
      code: 'ERR_INVALID_ARG',
      message: 'd2 must be absent',
    },
    {
      name: 'a second set of another width',
      args: () => ({ ...good, a2: float32s(5, 4), d2: float32s(5, 2), offsets2: ints(0, 5) }),
      code: 'ERR_SHAPE',
      message: 'a2 has shape (M2 I)',
    },
    {
      name: 'a gram of the wrong size',
      args: () => ({ ...good, gram: { data: new Float64Array(6), shape: [2, 3] } }),
      code: 'ERR_SHAPE',
      message: 'gram',
    },
    {
      name: 'a float32 gram',
      args: () => ({ ...good, gram: float32s(2, 2) }),
      code: 'ERR_DTYPE',
      message: 'gram must be float64',
    },
  ] as NonNullable<OpCases['refused']>;
};
