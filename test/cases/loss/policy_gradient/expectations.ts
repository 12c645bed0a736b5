/** Comparisons that the invariants of linear_policy_gradient share. */
import { expect } from 'vitest';

import type { KernelResult } from '../../../../src/core/addon/contract.js';
import type { CaseArgs } from '../../define.js';
import { oracle } from './oracle.js';
import { column, OP, real, type Run } from './tensors.js';

/** Entry by entry, in units of the column's size. */
export function expectClose(
  actual: Float64Array,
  expected: Float64Array,
  tolerance: number,
  label: string,
): void {
  const squares = expected.reduce((sum, value) => sum + value * value, 0);
  const size = Math.sqrt(squares / Math.max(1, expected.length));
  expect(actual.length, label).toBe(expected.length);
  actual.forEach((value, i) => {
    const wanted = expected[i]!;
    if (Math.abs(value - wanted) > tolerance * (size + Math.abs(wanted) + 1e-2))
      expect.fail(`${label}[${i}]: ${value}, expected ${wanted}`);
    if (!Number.isFinite(value) && value !== wanted)
      expect.fail(`${label}[${i}] is ${value}, expected ${wanted}`);
  });
}

/** The call's gradient without what it was accumulated onto. */
function gradient(result: KernelResult, args: CaseArgs, name: string): Float64Array {
  const start = typeof args[name] === 'object' ? real(args, name) : undefined;
  return column(result, name).map((value, i) => value - (start?.[i] ?? 0));
}

/** Every output of the call that the oracle has. */
export function checkAgainstOracle(
  run: Run,
  args: CaseArgs,
  precision: 'float32' | 'float64',
  label: string,
): void {
  const expected = oracle(args);
  const result = run(OP, args);
  const tolerance = precision === 'float64' ? 1e-12 : 2e-5;
  const outputs = {
    logps: expected.logp,
    entropy: expected.entropy,
    losses: expected.losses,
    ratio: expected.ratio,
    kl_out: expected.kl,
  };
  for (const [name, values] of Object.entries(outputs))
    if (result[name]) expectClose(column(result, name), values, tolerance, `${label}: ${name}`);
  if (result['clipped']) expect(column(result, 'clipped'), `${label}: clipped`).toEqual(expected.clipped);
  for (const name of ['d_hidden', 'd_weight', 'd_bias'] as const)
    if (result[name])
      expectClose(gradient(result, args, name), expected[name], tolerance, `${label}: ${name}`);
}
