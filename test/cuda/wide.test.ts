/**
 * The products that only Hopper runs (native/backends/cuda/wide.h): sizes from which they take over, against
 * the double reference. On a GPU only.
 */
import { onHardware } from './device.js';

import { describe, expect, it } from 'vitest';

import type { CaseArgs } from '../cases/define.js';
import { entry, relativeError, runCase } from '../helpers/kernels.js';
import { pairs, second } from '../helpers/pairs.js';
import { ints, Random, type RealTensor } from '../helpers/random.js';

/** Values that bfloat16 holds exactly, so that products are exact and what is left is the order of sums. */
function exact(t: RealTensor): RealTensor {
  const upperHalf = (x: number) => {
    const bits = new Uint32Array(Float32Array.of(x).buffer)[0]!;
    return new Float32Array(Uint32Array.of(bits & 0xffff0000).buffer)[0]!;
  };
  return { ...t, data: t.data.map(upperHalf) };
}

const reports = { entropy: true, max_prob: true, argmax: true, lse: true };
/** Of every output in bf16 math, relative to the double reference. */
function errors(op: string, args: CaseArgs): Record<string, number> {
  const expected = runCase(entry(op), args, 'reference64');
  const ours = runCase(entry(op), args, 'cuda', { math: 'bf16' });
  return Object.fromEntries(
    Object.keys(ours).map((name) => [name, relativeError(ours[name]!, expected[name]!)]),
  );
}

describe.skipIf(!onHardware)('wide products', () => {
  it.each([
    [1030, 200, 1100, { temperature: 0.7 }],
    [1500, 64, 777, {}],
    [130, 136, 20000, {}],
    [4500, 72, 300, {}],
  ] as const)('linear_policy_gradient %i × %i × %i', (N, C, V, extra) => {
    const random = new Random(N);
    const targets = random.integers([N], 0, V);
    for (let n = 4; n < N; n += 5) targets.data[n] = -100;
    const hidden = exact(random.normal([N, C]));
    const weight = exact(random.normal([V, C], 2 / Math.sqrt(C)));
    const args: CaseArgs = {
      hidden,
      weight,
      targets,
      ...reports,
      ...extra,
      coefficients: random.normal([N]),
      entropy_coefficients: random.normal([N], 0.5),
      d_hidden: true,
      d_weight: random.normal([V, C], 0.1),
    };
    for (const [name, error] of Object.entries(errors('linear_policy_gradient', args)))
      expect(error, name).toBeLessThan(name.startsWith('d_') ? 1e-2 : name === 'argmax' ? 1e-9 : 2e-6);
    const forward: CaseArgs = { hidden, weight, targets, ...reports, ...extra, bias: random.normal([V]) };
    for (const [name, error] of Object.entries(errors('linear_policy_gradient', forward)))
      expect(error, name).toBeLessThan(name === 'argmax' ? 1e-9 : 2e-6);
  });

  it('exact KL to a reference, sequences, and weights of bfloat16', () => {
    const random = new Random(8);
    const [N, C, V] = [1100, 96, 1000];
    const args: CaseArgs = {
      hidden: exact(random.normal([N, C])),
      weight: { ...exact(random.normal([V, C], 0.2)), bfloat16: true },
      targets: random.integers([N], 0, V),
      ref_hidden: exact(random.normal([N, C])),
      ref_weight: exact(random.normal([V, C], 0.2)),
      kl: 'exact',
      loss: 'clip',
      importance: 'sequence',
      beta: 0.3,
      entropy_coef: 0.1,
      offsets: ints(0, 300, 300, 900, N),
      advantages: random.normal([N]),
      old_logps: random.normal([N], 0.3, -7),
      kl_out: true,
      losses: true,
      d_hidden: true,
      d_weight: true,
      ...reports,
    };
    // The exact KL is a sum over kept logits: float16 below their tile's maximum.
    for (const [name, error] of Object.entries(errors('linear_policy_gradient', args)))
      expect(error, name).toBeLessThan(name.startsWith('d_') ? 1e-2 : /kl|losses/.test(name) ? 3e-4 : 1e-5);
  });

  it.each([
    [64, 64],
    [200, 136],
    [72, 65],
  ])('token_gram, widths %i and %i: symmetric, rectangular, ragged, shared rows', (I, O) => {
    const random = new Random(I);
    const lengths = [
      ...Array<number>(30).fill(32),
      7,
      0,
      300,
      129,
      64,
      1,
      255,
      256,
      ...Array<number>(20).fill(9),
    ];
    const one = pairs(random, lengths, I, O);
    const two = pairs(random, [900, 31, 1000, 200, 40], I, O);
    const bound = 5e-3;
    for (const bias of [false, true]) {
      expect(errors('token_gram', { ...one, bias })['gram'], 'symmetric').toBeLessThan(bound);
      expect(errors('token_gram', { ...one, ...second(two), bias })['gram'], 'rectangular').toBeLessThan(
        bound,
      );
    }
    const rows = lengths.reduce((a, b) => a + b, 0);
    const shared = { ...one, a: random.normal([500, I]), a_rows: random.integers([rows], 0, 500) };
    expect(
      errors('token_gram', {
        ...shared,
        accumulate: true,
        gram: random.normal([lengths.length, lengths.length]),
      })['gram'],
      'shared rows',
    ).toBeLessThan(bound);
    expect(errors('token_gram', { d: one.d, offsets: one.offsets })['gram'], 'without a').toBeLessThan(bound);
  });

  it.each([
    [768, 768],
    [200, 1032],
    [771, 130],
  ])('jacobian_gram, %i × %i: uniform, ragged, rectangular, bias, shared rows, accumulated', (I, O) => {
    const random = new Random(O);
    const uniform = pairs(random, Array<number>(24).fill(64), I, O);
    const ragged = pairs(random, [300, 64, 64, 64, 0, 1, 7, 255, 256, 256, 129, 0], I, O);
    const bound = 1e-2;
    for (const bias of [false, true]) {
      expect(errors('jacobian_gram', { ...uniform, bias })['gram'], 'uniform').toBeLessThan(bound);
      expect(errors('jacobian_gram', { ...ragged, bias, max_bytes: 1 << 28 })['gram'], 'ragged').toBeLessThan(
        bound,
      );
      expect(
        errors('jacobian_gram', { ...uniform, ...second(ragged), bias })['gram'],
        'rectangular',
      ).toBeLessThan(bound);
    }
    const shared = {
      ...uniform,
      a: random.normal([500, I]),
      a_rows: random.integers([24 * 64], 0, 500),
      accumulate: true,
      gram: random.normal([24, 24], 1e3),
    };
    expect(errors('jacobian_gram', shared)['gram'], 'shared rows').toBeLessThan(bound);
  });

  it('jacobian_gram of more functions than a tile of their Gram matrix', () => {
    const random = new Random(5);
    const many = pairs(random, Array<number>(150).fill(16), 192, 192);
    const few = pairs(random, Array<number>(70).fill(16), 192, 192);
    expect(errors('jacobian_gram', { ...many })['gram'], 'symmetric').toBeLessThan(1e-2);
    expect(errors('jacobian_gram', { ...many, ...second(few) })['gram'], 'rectangular').toBeLessThan(1e-2);
  });
});
