/**
 * The math modes tf32 and bf16 of the CUDA column, where operands of products are rounded for the tensor
 * cores.
 */
import './device.js';

import { describe, expect, it } from 'vitest';

import { allCases } from '../cases/index.js';
import type { CaseArgs } from '../cases/define.js';
import { detours } from '../helpers/detours.js';
import { derivedArgs, entry, hasEntry, numbers, relativeError, runCase } from '../helpers/kernels.js';
import { outputsOf } from '../helpers/parity.js';
import { Random, type RealTensor } from '../helpers/random.js';
import type { ArrayView } from '../../src/core/addon/contract.js';

/**
 * To nearest, as the hardware does: tf32 keeps 10 bits of the mantissa (ties away from zero), bfloat16 7
 * (ties to even).
 */
function rounded(x: number, math: 'tf32' | 'bf16'): number {
  const bits = new Uint32Array(Float32Array.of(x).buffer)[0]!;
  const tf32 = (bits + 0x1000) & ~0x1fff;
  const bf16 = (bits + 0x7fff + ((bits >>> 16) & 1)) & ~0xffff;
  const out = math === 'tf32' ? tf32 : bf16;
  return new Float32Array(Uint32Array.of(out).buffer)[0]!;
}
/** Of an array of bfloat16. */
const decoded = (view: ArrayView): Float64Array =>
  numbers(view).map((bits) => new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!);
const round = (t: RealTensor, math: 'tf32' | 'bf16'): RealTensor => ({
  ...t,
  data: t.data.map((x) => rounded(x, math)),
});

describe.each(['tf32', 'bf16'] as const)('%s', (math) => {
  it.each([
    [70, 90, 65],
    [5, 3, 4],
    [129, 40, 33],
  ])('gemm %i × %i × %i is exact products of rounded operands, added in float32', (M, K, N) => {
    const random = new Random(M);
    const [a, b] = [random.normal([M, K]), random.normal([K, N])];
    const gemm = entry('gemm');
    const inputs: CaseArgs = { a: round(a, math), b: round(b, math) };
    const expected = runCase(gemm, inputs, 'reference64')['c']!;
    const naive = relativeError(runCase(gemm, inputs, 'reference32')['c']!, expected);
    const ours = runCase(gemm, { a, b }, 'cuda', { math })['c']!;
    expect(relativeError(ours, expected)).toBeLessThanOrEqual(2 * naive + 1e-6);
  });

  // On hardware these are cuBLAS's, whose sums have an order of their own.
  it.each(detours(new Random(4)))('gemm, $name', ({ args }) => {
    const expected = runCase(
      entry('gemm'),
      { ...args, a: round(args.a, math), b: round(args.b, math) },
      'reference64',
    )['c']!;
    const error = relativeError(runCase(entry('gemm'), args, 'cuda', { math })['c']!, expected);
    expect(error).toBeLessThan(math === 'tf32' ? 2e-3 : 1e-5);
  });

  // Rounding happens between products here, so the bound is the format's: 2^-11 and 2^-9 an operand, a few of
  // them after each other.
  const bound = math === 'tf32' ? 4e-3 : 3e-2;
  it.each([
    'attention',
    'linear_policy_gradient',
    'token_gram',
    'jacobian_gram',
    'per_sample_linear',
    'sketch',
  ])('%s stays within the precision of the format, and is not exact', (op) => {
    const cases = allCases.find((c) => c.op === op)!;
    let largest = 0;
    const usual = cases.cases.filter((c) => !/±|large|1e4|−∞|mask/.test(c.name));
    // Attention has kernels of its own for bf16, by width: all of them, more than one tile, rows that are not
    // aligned.
    for (const test of op === 'attention'
      ? usual.filter((c) => !/pack|edges|no seq|only empty|long/.test(c.name))
      : usual.slice(0, 6)) {
      const random = new Random(3);
      const args = test.args(random);
      const forward = runCase(entry(op), args, 'reference64');
      for (const name of [op, `${op}_backward`, `${op}_jvp`].filter(hasEntry)) {
        const derived =
          name === op ? args : derivedArgs(entry(name), args, forward, (shape) => random.normal(shape), {});
        const expected = runCase(entry(name), derived, 'reference64');
        const ours = runCase(entry(name), derived, 'cuda', { math });
        for (const output of outputsOf(name)) {
          if (!expected[output] || entry(name).fields.find((f) => f.name === output)!.dtype === 'int32')
            continue;
          // What is exactly 0 (the slope of a softmax over one position) has no relative error.
          const exact = numbers(expected[output]!);
          const error = exact.some((x) => Math.abs(x) > 1e-12)
            ? relativeError(ours[output]!, expected[output]!)
            : Math.max(0, ...numbers(ours[output]!).map(Math.abs));
          expect(error, `${name}.${output}, ${test.name}`).toBeLessThan(bound);
          largest = Math.max(largest, error);
        }
      }
    }
    expect(largest).toBeGreaterThan(1e-5);
  });

  // As the engine calls them in bf16 math: everything stored in bfloat16, for which the kernels approximate;
  // rows that are aligned, and not.
  it
    .runIf(math === 'bf16')
    .each(
      ['gelu', 'gelu_new', 'silu_gate', 'relu'].flatMap((kind) =>
        [1032, 70].map((columns) => [kind, columns] as const),
      ),
    )('activation and its backward pass, %s, %i columns: bfloat16 in and out', (kind, columns) => {
    const random = new Random(6);
    const gated = kind === 'silu_gate';
    const tensor = (scale: number) => ({
      ...round(random.normal([3, columns], scale), math),
      bfloat16: true,
    });
    const x = tensor(3);
    const d_y = tensor(1);
    const result = () => ({ data: new Float64Array(3 * columns), shape: [3, columns], bfloat16: true });
    const inputs: CaseArgs = { x, kind, ...(gated ? { up: tensor(1) } : {}) };
    const plain = (args: CaseArgs): CaseArgs =>
      Object.fromEntries(
        Object.entries(args).map(([name, value]) => [
          name,
          typeof value === 'object' ? { ...value, bfloat16: false } : value,
        ]),
      );
    for (const [name, args, outputs] of [
      ['activation', inputs, ['y']],
      ['activation_backward', { ...inputs, d_y }, gated ? ['d_x', 'd_up'] : ['d_x']],
    ] as const) {
      const ours = runCase(
        entry(name),
        { ...args, ...Object.fromEntries(outputs.map((output) => [output, result()])) },
        'cuda',
        { math },
      );
      const exact = runCase(
        entry(name),
        { ...plain(args), ...(gated && name !== 'activation' ? { d_up: true } : {}) },
        'reference64',
      );
      for (const output of outputs) {
        const [got, wanted] = [decoded(ours[output]!), numbers(exact[output]!)];
        wanted.forEach((w, i) =>
          expect(Math.abs(got[i]! - w), `${name}.${output}[${i}]: ${got[i]} for ${w}`).toBeLessThanOrEqual(
            2 ** -8 * Math.abs(w) + 1e-6,
          ),
        );
      }
    }
  });

  // The kernels of bf16 are others than those that kernels.test.ts runs.
  const { invariants } = allCases.find((c) => c.op === 'attention')!;
  it.each(invariants!.filter((i) => /later ones|same bits|permutation/.test(i.name)))(
    'attention: $name',
    (invariant) => {
      invariant.check((name, args) => runCase(entry(name), args, 'cuda', { math }), new Random(5), 'float32');
    },
  );
});
