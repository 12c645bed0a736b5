/** The math modes tf32 and bf16 of the CUDA column, where operands of products are rounded for the tensor cores. */
import './device.js';

import { describe, expect, it } from 'vitest';

import { allCases } from '../cases/index.js';
import type { CaseArgs } from '../cases/define.js';
import { detours } from '../helpers/detours.js';
import { derivedArgs, entry, hasEntry, numbers, relativeError, runCase } from '../helpers/kernels.js';
import { outputsOf } from '../helpers/parity.js';
import { Random, type RealTensor } from '../helpers/random.js';

/** To nearest, as the hardware does: tf32 keeps 10 bits of the mantissa (ties away from zero), bfloat16 7 (ties to even). */
function rounded(x: number, math: 'tf32' | 'bf16'): number {
  const bits = new Uint32Array(Float32Array.of(x).buffer)[0]!;
  const out = math === 'tf32' ? (bits + 0x1000) & ~0x1fff : (bits + 0x7fff + ((bits >>> 16) & 1)) & ~0xffff;
  return new Float32Array(Uint32Array.of(out).buffer)[0]!;
}
const round = (t: RealTensor, math: 'tf32' | 'bf16'): RealTensor => ({ ...t, data: t.data.map((x) => rounded(x, math)) });

describe.each(['tf32', 'bf16'] as const)('%s', (math) => {
  it.each([[70, 90, 65], [5, 3, 4], [129, 40, 33]])('gemm %i × %i × %i is exact products of rounded operands, added in float32', (M, K, N) => {
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
    const expected = runCase(entry('gemm'), { ...args, a: round(args.a, math), b: round(args.b, math) }, 'reference64')['c']!;
    const error = relativeError(runCase(entry('gemm'), args, 'cuda', { math })['c']!, expected);
    expect(error).toBeLessThan(math === 'tf32' ? 2e-3 : 1e-5);
  });

  // Rounding happens between products here, so the bound is the format's: 2^-11 and 2^-9 an operand, a few of them after each other.
  const bound = math === 'tf32' ? 4e-3 : 3e-2;
  it.each(['attention', 'linear_policy_gradient', 'token_gram', 'jacobian_gram', 'per_sample_linear', 'sketch'])('%s stays within the precision of the format, and is not exact', (op) => {
    const cases = allCases.find((c) => c.op === op)!;
    let largest = 0;
    const usual = cases.cases.filter((c) => !/±|large|1e4|−∞|mask/.test(c.name));
    // Attention has kernels of its own for bf16, by width: all of them, more than one tile, rows that are not aligned.
    for (const test of op === 'attention' ? usual.filter((c) => !/pack|edges|no seq|only empty|long/.test(c.name)) : usual.slice(0, 6)) {
      const random = new Random(3);
      const args = test.args(random);
      const forward = runCase(entry(op), args, 'reference64');
      for (const name of [op, `${op}_backward`, `${op}_jvp`].filter(hasEntry)) {
        const derived = name === op ? args : derivedArgs(entry(name), entry(op), args, forward, (shape) => random.normal(shape), {});
        const expected = runCase(entry(name), derived, 'reference64'), ours = runCase(entry(name), derived, 'cuda', { math });
        for (const output of outputsOf(name)) {
          if (!expected[output] || entry(name).fields.find((f) => f.name === output)!.dtype === 'int32') continue;
          // What is exactly 0 (the slope of a softmax over one position) has no relative error.
          const exact = numbers(expected[output]!);
          const error = exact.some((x) => Math.abs(x) > 1e-12) ? relativeError(ours[output]!, expected[output]!) : Math.max(0, ...numbers(ours[output]!).map(Math.abs));
          expect(error, `${name}.${output}, ${test.name}`).toBeLessThan(bound);
          largest = Math.max(largest, error);
        }
      }
    }
    expect(largest).toBeGreaterThan(1e-5);
  });

  // The kernels of bf16 are others than those that kernels.test.ts runs.
  const { invariants } = allCases.find((c) => c.op === 'attention')!;
  it.each(invariants!.filter((i) => /later ones|same bits|permutation/.test(i.name)))('attention: $name', (invariant) => {
    invariant.check((name, args) => runCase(entry(name), args, 'cuda', { math }), new Random(5), 'float32');
  });
});
