import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import { ints, type Random, type RealTensor, float32s } from '../../helpers/random.js';
import type { CaseArgs, Invariant } from '../define.js';
import { defineCases } from '../define.js';

type Options = Partial<Record<'temperature' | 'top_k' | 'top_p' | 'min_p' | 'seed', number>>;
type Run = Parameters<Invariant['check']>[0];

const count = (B: number, from = 0) => ints(...Array.from({ length: B }, (_, b) => from + b));
const sample = (B: number, V: number, options: Options = {}, { std = 3, label = '' } = {}) => ({
  name: `${B}×${V}${Object.entries(options)
    .map(([k, v]) => `, ${k} ${v}`)
    .join('')}${label && `, ${label}`}`,
  args: (r: Random): CaseArgs => ({
    logits: r.normal([B, V], std),
    streams: r.integers([B], 0, 1 << 30),
    counters: r.integers([B], 0, 4096),
    seed: 42,
    ...options,
  }),
});

/** The kept set by sorting, and its probabilities; logits are exact in float32. */
function distribution(
  logits: readonly number[],
  { temperature = 1, top_k = 0, top_p = 1, min_p = 0 }: Options,
): Map<number, number> {
  const best = Math.max(...logits);
  const weight = logits.map((z) => Math.exp((z - best) / temperature));
  let kept = logits.map((_, v) => v).sort((i, j) => logits[j]! - logits[i]! || i - j);
  const total = () => kept.reduce((sum, v) => sum + weight[v]!, 0);
  if (top_k) kept = kept.slice(0, top_k);
  const enough = top_p * total();
  let sum = 0;
  if (top_p < 1)
    kept = kept.filter((v) => {
      const before = sum;
      sum += weight[v]!;
      return before < enough;
    });
  kept = kept.filter((v) => weight[v]! >= min_p);
  const norm = total();
  return new Map(kept.map((v) => [v, weight[v]! / norm]));
}

/** B draws from one row. */
function draw(run: Run, logits: readonly number[], options: Options, B: number, from = 0) {
  const data = new Float64Array(B * logits.length);
  for (let b = 0; b < B; ++b) data.set(logits, b * logits.length);
  const result = run('sample_token', {
    logits: { data, shape: [B, logits.length] },
    streams: ints(...new Array<number>(B).fill(7)),
    counters: count(B, from),
    ...options,
  });
  return { tokens: [...numbers(result['tokens']!)], logps: numbers(result['logps']!) };
}

const settings: readonly Options[] = [
  {},
  { temperature: 0.5 },
  { temperature: 2.5 },
  { top_k: 1 },
  { top_k: 6 },
  { top_k: 1000 },
  { top_p: 0.9 },
  { top_p: 0.35, temperature: 1.5 },
  { top_p: 1e-6 },
  { min_p: 0.1 },
  { min_p: 1 },
  { top_k: 30, top_p: 0.7 },
  { top_k: 20, top_p: 0.9, min_p: 0.2, temperature: 2 },
  { top_p: 0.999999 },
];

export const sampleToken = defineCases({
  op: 'sample_token',
  cases: [
    sample(1, 1),
    sample(5, 3),
    sample(0, 8),
    sample(40, 2048),
    sample(33, 517, { temperature: 0.7 }),
    sample(9, 1000, { temperature: 0 }),
    sample(16, 2048, {}, { std: 0, label: 'all equal' }),
    sample(16, 129, { temperature: 0.01 }, { std: 1e4, label: 'extreme' }),
    sample(16, 300, { temperature: 1e-30 }),
    sample(64, 700, { top_k: 50 }),
    sample(64, 700, { top_p: 0.9 }),
    sample(64, 700, { top_p: 0.999999999999 }),
    sample(64, 700, { top_p: 0.95, top_k: 400 }),
    sample(64, 700, { min_p: 0.05 }),
    sample(64, 65, { top_k: 64, top_p: 0.8, min_p: 0.01, temperature: 1.7 }),
    sample(64, 300, { top_p: 0.8 }, { std: 1e-3, label: 'nearly flat' }),
    sample(64, 300, { top_p: 0.5, temperature: 1e-3 }),
    sample(3, 50304, { top_p: 0.9 }),
  ],
  invariants: [
    {
      // Philox4x32-10 of key 0 and counter 0 begins with 0x6627e8d5 (Random123's known answers): u = 0.39904…
      name: 'uniform numbers are Philox; inversion goes in id order',
      check: (run) =>
        expect(
          run('sample_token', {
            logits: { data: new Float64Array(4096), shape: [1, 4096] },
            streams: ints(0),
            counters: ints(0),
          })['tokens']!.data.slice(16, 17),
        ).toEqual(Int32Array.of(0x6627e8d5 >>> 20)),
    },
    {
      name: 'streams count from first_stream, in 64 bits',
      check: (run) => {
        const tokens = (first_stream: number, stream: number) =>
          Array.from(
            run('sample_token', {
              logits: { data: new Float64Array(4 * 4096), shape: [4, 4096] },
              streams: ints(stream, stream + 1, stream + 2, stream + 3),
              counters: ints(0, 0, 0, 0),
              first_stream,
            })['tokens']!.data.slice(16, 20),
          );
        expect(tokens(5, 0)).toEqual(tokens(0, 5));
        expect(tokens(2 ** 40, 0)).not.toEqual(tokens(0, 0));
      },
    },
    {
      name: 'frequencies follow the restricted distribution',
      many: true,
      check: (run, r) => {
        const logits = Array.from({ length: 24 }, () => Math.fround(1.5 * r.gauss()));
        for (const options of settings) {
          const B = 3000;
          const expected = distribution(logits, options);
          const seen = new Map<number, number>();
          for (const token of draw(run, logits, options, B).tokens)
            seen.set(token, (seen.get(token) ?? 0) + 1);
          for (const token of seen.keys())
            expect(expected.has(token), `token ${token} with ${JSON.stringify(options)}`).toBe(true);
          let chi = 0;
          for (const [token, p] of expected) chi += ((seen.get(token) ?? 0) - B * p) ** 2 / (B * p);
          const freedom = expected.size - 1;
          expect(chi, JSON.stringify(options)).toBeLessThanOrEqual(freedom + 5 * Math.sqrt(2 * freedom)); // five standard deviations
        }
      },
    },
    {
      name: 'top_k, top_p and min_p keep the sets that sorting keeps, ties by id',
      many: true,
      check: (run, r, real) => {
        for (const V of [1, 9, 64, 65, 200, 1031])
          for (const options of settings) {
            const logits = Array.from({ length: V }, () => Math.round(4 * 1.5 * r.gauss()) / 4); // many ties
            const expected = distribution(logits, options);
            const { tokens, logps } = draw(run, logits, options, 60, 5 * V);
            tokens.forEach((token, b) => {
              const p = expected.get(token);
              expect(p, `token ${token} of ${V} with ${JSON.stringify(options)}`).toBeDefined();
              expect(Math.abs(logps[b]! - Math.log(p!)), JSON.stringify(options)).toBeLessThan(
                real === 'float64' ? 1e-12 : 2e-6,
              );
            });
          }
      },
    },
    {
      // Equal logits have the weight 1 each, so the sums are exact: two of four tokens have 0.5 and not less.
      name: 'a set that has exactly top_p is enough',
      check: (run) => {
        for (const options of [{ top_p: 0.5 }, { top_p: 0.5, top_k: 4 }]) {
          const { tokens } = draw(run, [3, 3, 3, 3], options, 200);
          expect([...new Set(tokens)].sort(), JSON.stringify(options)).toEqual([0, 1]);
        }
      },
    },
    {
      name: 'among equals the lowest ids stay, all of them',
      check: (run) => {
        const logits = Array.from({ length: 100 }, (_, v) => (v >= 50 && v < 53 ? 1 : 0));
        const low = (count: number) => Array.from({ length: count }, (_, v) => v);
        const three = (3 * Math.E) / (3 * Math.E + 97); // what 50, 51 and 52 have together
        for (const [options, kept] of [
          [{ top_k: 10 }, [...low(7), 50, 51, 52]],
          [{ top_p: three + (1 - three) * (9.5 / 97) }, [...low(10), 50, 51, 52]],
          [{ top_k: 11, top_p: 0.999 }, [...low(8), 50, 51, 52]],
        ] as const)
          expect(
            [...new Set(draw(run, logits, options, 400).tokens)].sort((a, b) => a - b),
            JSON.stringify(options),
          ).toEqual(kept);
      },
    },
    {
      name: 'greedy takes the lowest id of the largest logits; its logp ignores the restrictions',
      check: (run, _, real) => {
        const logits = new Array<number>(100).fill(-1);
        logits[37] = logits[36 + 32] = logits[99] = 2;
        const { tokens, logps } = draw(run, logits, { temperature: 0, top_k: 1, top_p: 0.1, min_p: 1 }, 3);
        expect(tokens).toEqual([37, 37, 37]);
        expect(Math.abs(logps[0]! + Math.log(3 + 97 * Math.exp(-3)))).toBeLessThan(
          real === 'float64' ? 1e-12 : 1e-6,
        );
      },
    },
    {
      name: '−∞ logits are never drawn, not even when top_k asks for them',
      check: (run) => {
        const logits = Array.from({ length: 70 }, (_, v) => (v % 7 === 3 ? 0.5 : Number.NEGATIVE_INFINITY));
        for (const options of [
          {},
          { top_k: 50 },
          { top_p: 0.99 },
          { top_k: 50, top_p: 0.5, min_p: 0.3 },
          { temperature: 0 },
          { temperature: 1e-300 },
          { temperature: 1e300 },
        ]) {
          const { tokens, logps } = draw(run, logits, options, 200);
          expect(
            tokens.every((v) => v % 7 === 3),
            JSON.stringify(options),
          ).toBe(true);
          expect(
            logps.every((v) => Number.isFinite(v)),
            JSON.stringify(options),
          ).toBe(true);
        }
      },
    },
    {
      name: 'a shift of the logits changes nothing; neither does the batch around a row',
      check: (run, r) => {
        const [B, V] = [12, 400];
        const logits: RealTensor = {
          data: r.normal([B, V], 2).data.map((v) => Math.round(1024 * v) / 1024),
          shape: [B, V],
        };
        const [streams, counters] = [r.integers([B], 0, 1000), r.integers([B], 0, 1000)];
        for (const options of [{}, { top_p: 0.8 }, { top_k: 40 }] as CaseArgs[]) {
          const all = [...numbers(run('sample_token', { logits, streams, counters, ...options })['tokens']!)];
          const shifted = { data: logits.data.map((v) => v + 4096), shape: logits.shape };
          expect([
            ...numbers(run('sample_token', { logits: shifted, streams, counters, ...options })['tokens']!),
          ]).toEqual(all);
          const alone = all.map(
            (_, b) =>
              numbers(
                run('sample_token', {
                  logits: { data: logits.data.slice(b * V, (b + 1) * V), shape: [1, V] },
                  streams: ints(streams.data[b]!),
                  counters: ints(counters.data[b]!),
                  ...options,
                })['tokens']!,
              )[0],
          );
          expect(alone).toEqual(all);
        }
      },
    },
    {
      name: 'seed, stream and counter each change the draw',
      check: (run) => {
        const logits = { data: new Float64Array(1 << 14), shape: [4, 1 << 12] };
        const tokens = numbers(
          run('sample_token', { logits, streams: ints(0, 1, 0, 0), counters: ints(0, 0, 1, 0) })['tokens']!,
        );
        const reseeded = numbers(
          run('sample_token', { logits, streams: ints(0, 1, 0, 0), counters: ints(0, 0, 1, 0), seed: 1 })[
            'tokens'
          ]!,
        );
        expect(tokens[3]).toBe(tokens[0]);
        expect(new Set([...tokens.slice(0, 3), ...reseeded.slice(0, 3)]).size).toBe(6);
      },
    },
    {
      name: 'bad rows are named, the first of them',
      check: (run) => {
        for (const [bad, text] of [
          [[Number.NaN, 1], 'logits[1, 0] is NaN'],
          [[1, Number.NaN], 'logits[1, 1] is NaN'],
          [[Number.POSITIVE_INFINITY, 0], 'of row 1 must be finite'],
          [[Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY], 'of row 1 must be finite'],
        ] as const)
          for (const temperature of [0, 1])
            expect(
              () =>
                run('sample_token', {
                  logits: { data: Float64Array.of(0, 0, ...bad, Number.NaN, 0), shape: [3, 2] },
                  streams: ints(0, 1, 2),
                  counters: ints(0, 0, 0),
                  temperature,
                }),
              text,
            ).toThrow(text);
      },
    },
  ],
  refused: [
    {
      name: 'a negative temperature',
      args: () => ({
        logits: float32s(1, 2),
        streams: Int32Array.of(0),
        counters: Int32Array.of(0),
        temperature: -1,
      }),
      code: 'ERR_INVALID_ARG',
      message: 'temperature >= 0',
    },
    {
      name: 'an infinite temperature',
      args: () => ({
        logits: float32s(1, 2),
        streams: Int32Array.of(0),
        counters: Int32Array.of(0),
        temperature: Number.POSITIVE_INFINITY,
      }),
      code: 'ERR_INVALID_ARG',
      message: 'a finite temperature',
    },
    {
      name: 'top_p 0',
      args: () => ({
        logits: float32s(1, 2),
        streams: Int32Array.of(0),
        counters: Int32Array.of(0),
        top_p: 0,
      }),
      code: 'ERR_INVALID_ARG',
      message: '0 < top_p <= 1',
    },
    {
      name: 'a row of NaN',
      args: () => ({
        logits: { data: new Float32Array(2).fill(Number.NaN), shape: [1, 2] },
        streams: Int32Array.of(0),
        counters: Int32Array.of(0),
      }),
      code: 'ERR_INVALID_ARG',
      message: 'logits[0, 0] is NaN',
    },
    {
      name: 'no columns',
      args: () => ({
        logits: float32s(1, 0),
        streams: Int32Array.of(0),
        counters: Int32Array.of(0),
      }),
      code: 'ERR_SHAPE',
      message: 'at least one column',
    },
  ],
  bench: [
    sample(32, 2048),
    sample(32, 2048, { top_k: 50 }),
    sample(32, 2048, { top_p: 0.9 }),
    sample(32, 50304),
  ],
});
