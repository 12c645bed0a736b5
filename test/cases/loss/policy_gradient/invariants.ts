/** What holds for every implementation of linear_policy_gradient, beside parity with the reference. */
import { expect } from 'vitest';

import { importanceLevels, klEstimators, policyLosses } from '../../../../src/policy/losses.js';
import { ints, type Random, reals } from '../../../helpers/random.js';
import { asFields, LOSS_FORMULAS } from '../../../policy/lossFormulas.js';
import type { CaseArgs, Invariant } from '../../define.js';
import { checkAgainstOracle, expectClose } from './expectations.js';
import { oracle } from './oracle.js';
import { computed, masked, problem, withCoefficients } from './problem.js';
import {
  column,
  filled,
  IGNORED,
  OP,
  real,
  rounded,
  rowsOf,
  type Run,
  targetsOf,
  total,
  vector,
  without,
} from './tensors.js';

type Precision = 'float32' | 'float64';

const asTranscribed: Invariant = {
  name: 'outputs, losses and gradients equal their formulas, transcribed independently',
  check: (run, random, precision) => {
    const shape = { N: 29, C: 6, V: 17 };
    const compare = (label: string, args: CaseArgs) =>
      checkAgainstOracle(run, rounded(args), precision, label);
    for (const loss of policyLosses)
      for (const kl of klEstimators)
        for (const importance of importanceLevels)
          for (const corrected of kl === 'exact' ? [false] : [false, true])
            compare(
              `${loss}, ${kl}, ${importance}, ${corrected}`,
              computed(random, shape, loss, kl, importance, { kl_bias_correction: corrected }),
            );
    for (const loss of policyLosses)
      for (const importance of importanceLevels)
        for (const variant of LOSS_FORMULAS[loss].variants ?? [{}])
          compare(
            `${loss}, ${importance}, ${JSON.stringify(variant)}`,
            computed(random, shape, loss, 'k3', importance, {
              ...asFields(variant),
              entropy_coefficients: random.normal([29], 0.5),
            }),
          );
    compare('coefficients', { ...withCoefficients(random, shape), temperature: 0.7 });
    compare('masked', masked(random, withCoefficients(random, shape), 4));
    for (const loss of policyLosses)
      for (const importance of importanceLevels)
        compare(
          `${loss}, on policy, ${importance}`,
          without(computed(random, shape, loss, 'k3', importance), 'old_logps'),
        );
  },
};

const clipFlags: Invariant = {
  name: 'both clip flags, and the unclipped branch at the bound',
  check: (run) => {
    // One token that always has logp = log ½, so that old_logps set the ratio.
    const ratio = [0.5, 0.5, 1, 2, 2, 1.25, 0.75];
    const advantages = [1, -1, 1, 1, -1, 1, -1];
    const N = ratio.length;
    const args: CaseArgs = {
      hidden: filled([N, 1], 0),
      weight: filled([2, 1], 0),
      targets: { data: new Int32Array(N), shape: [N] },
      loss: 'clip',
      epsilon_low: 0.25,
      epsilon_high: 0.25,
      advantages: reals(...advantages),
      old_logps: reals(...ratio.map((value) => -Math.LN2 - Math.log(value))),
      clipped: true,
      losses: true,
      d_bias: filled([2], 0),
    };
    const result = run(OP, args);
    // The last two lie at a bound: rounding decides on which side.
    expect([...column(result, 'clipped')].slice(0, 5)).toEqual([0, -1, 0, 1, 0]);
    const losses = Float64Array.of(-0.5, 0.75, -1, -1.25, 2, -1.25, 0.75);
    expectClose(column(result, 'losses'), losses, 1e-6, 'losses');
    // Each alone: the gradient of logp with respect to the first logit is ½, times −ρA, or 0 where clipped.
    for (let n = 0; n < 5; ++n) {
      const one = {
        ...args,
        hidden: filled([1, 1], 0),
        targets: ints(0),
        advantages: reals(advantages[n]!),
        old_logps: reals(real(args, 'old_logps')![n]!),
      };
      expect(column(run(OP, one), 'd_bias')[0]!).toBeCloseTo([-0.25, 0, -0.5, 0, 1][n]!, 6);
    }
  },
};

const onPolicy: Invariant = {
  name: 'exactly on policy the ratio is 1 and the gradient flows at the tie',
  check: (run, random) => {
    const plain = problem(random, { N: 12, C: 5, V: 9 });
    const advantages = random.normal([12]);
    const args: CaseArgs = {
      ...plain,
      loss: 'clip',
      epsilon_low: 0,
      epsilon_high: 0,
      advantages,
      clipped: true,
    };
    const absent = run(OP, args);
    const given = run(OP, { ...args, old_logps: vector(column(absent, 'logps')) });
    if (column(given, 'ratio').every((value) => value === 1))
      expect(column(given, 'd_hidden')).toEqual(column(absent, 'd_hidden'));
    const coefficients = run(OP, { ...plain, coefficients: advantages });
    expect(column(absent, 'd_hidden')).toEqual(column(coefficients, 'd_hidden'));
    expect(column(absent, 'd_weight')).toEqual(column(coefficients, 'd_weight'));
    expect([...column(absent, 'clipped')].every((value) => value === 0)).toBe(true);
  },
};

function softmax(z: Float64Array): Float64Array {
  const top = Math.max(...z);
  const e = z.map((v) => Math.exp(v - top));
  const sum = total(e);
  return e.map((v) => v / sum);
}

const klGradients: Invariant = {
  name: 'expected on-policy KL gradients, by enumeration over the vocabulary',
  check: (run, random, precision) => {
    const [V, C] = [9, 4];
    const h = random.normal([C]).data.map(Math.fround);
    const weight = { data: random.normal([V, C], 0.7).data.map(Math.fround), shape: [V, C] };
    const z = Float64Array.from({ length: V }, (_, v) =>
      h.reduce((sum, x, c) => sum + x * weight.data[v * C + c]!, 0),
    );
    const p = softmax(z);
    const refZ = random.normal([V], 1.2).data.map(Math.fround);
    const q = softmax(refZ);
    const divergence = p.reduce((sum, value, v) => sum + value * Math.log(value / q[v]!), 0);
    const ofPolicy = p.map((value, v) => value * (Math.log(value / q[v]!) - divergence)); // ∇_z KL(π‖π_ref)
    const ofReference = p.map((value, v) => value - q[v]!); // ∇_z KL(π_ref‖π)

    // Every token once, weighted by its probability: sums over rows are expectations.
    const all: CaseArgs = {
      hidden: { data: Float64Array.from({ length: V * C }, (_, i) => h[i % C]!), shape: [V, C] },
      weight,
      targets: ints(...Array.from({ length: V }, (_, v) => v)),
      weights: vector(p),
      loss: 'clip',
      advantages: filled([V], 0),
      beta: 1,
      d_bias: filled([V], 0),
    };
    const expected = (extra: CaseArgs) => column(run(OP, { ...all, ...extra }), 'd_bias');
    const ref_logps = vector(q.map(Math.log));
    // p and log q are rounded to float32 on their way in.
    const tolerance = precision === 'float64' ? 1e-5 : 1e-4;
    expectClose(expected({ kl: 'k1', ref_logps }), new Float64Array(V), 1e-4, 'k1 in the loss');
    expectClose(expected({ kl: 'k2', ref_logps }), ofPolicy, tolerance, 'k2 in the loss');
    expectClose(expected({ kl: 'k3', ref_logps }), ofReference, tolerance, 'k3 in the loss');
    const reference = {
      ref_hidden: { data: new Float64Array(V).fill(1), shape: [V, 1] },
      ref_weight: { data: refZ, shape: [V, 1] },
    };
    expectClose(expected({ kl: 'exact', ...reference }), ofPolicy, tolerance, 'exact');
    const k1Rewards = vector(p.map((value, v) => -Math.log(value / q[v]!)));
    expectClose(expected({ advantages: k1Rewards, beta: 0 }), ofPolicy, tolerance, 'k1 in the reward');
    for (const kl of ['k1', 'k3'])
      expectClose(
        expected({ kl, ref_logps, kl_bias_correction: true }),
        ofPolicy,
        tolerance,
        `bias-corrected ${kl}`,
      );
  },
};

const sumsToZero: Invariant = {
  name: 'Σ_v g = 0 with every term on',
  check: (run, random, precision) => {
    for (const V of [1, 2, 97, 1500]) {
      const args = {
        ...computed(random, { N: 40, C: 5, V }, 'clip', 'exact', 'token'),
        d_bias: filled([V], 0),
      };
      const g = column(run(OP, args), 'd_bias');
      const size = total(g.map(Math.abs));
      const bound = precision === 'float64' ? 1e-12 : 2e-5;
      expect(Math.abs(total(g)) / Math.max(size, 1e-3)).toBeLessThan(bound);
    }
  },
};

/** Outputs that have one entry per row. */
const ROW_OUTPUTS = 'logps entropy max_prob argmax lse kl_out ratio losses clipped'.split(' ');

const rowsAlone: Invariant = {
  name: 'a row has the same bits whatever rows it is called with, and gradients add up',
  check: (run, random) => {
    const [N, C, V] = [330, 13, 1100];
    const args = without(computed(random, { N, C, V }, 'clip', 'exact', 'token'), 'd_weight', 'd_bias');
    const zeros = () => ({ d_weight: filled([V, C], 0), d_bias: filled([V], 0) });
    const whole = run(OP, { ...args, ...zeros() });
    let { d_weight } = zeros();
    const cuts = [0, 1, 100, 101, N];
    for (const [i, end] of cuts.slice(1).entries()) {
      const begin = cuts[i]!;
      const piece = run(OP, { ...rowsOf(args, begin, end), d_weight, d_bias: filled([V], 0) });
      d_weight = { data: column(piece, 'd_weight'), shape: [V, C] };
      for (const name of ROW_OUTPUTS)
        expect(column(piece, name), name).toEqual(column(whole, name).slice(begin, end));
      const rows = column(whole, 'd_hidden').slice(begin * C, end * C);
      expect(column(piece, 'd_hidden'), 'd_hidden').toEqual(rows);
    }
    // The harness hands it back in float32.
    expectClose(d_weight.data, column(whole, 'd_weight'), 1e-5, 'd_weight');
  },
};

const sequencesAlone: Invariant = {
  name: 'a sequence gives the same whatever batch it is in',
  check: (run, random, precision) => {
    const [N, C, V] = [24, 5, 12];
    const offsets = ints(0, 9, N);
    const all = computed(random, { N, C, V }, 'clip', 'k3', 'sequence', { offsets });
    const args = without(all, 'd_weight', 'd_bias');
    const whole = run(OP, args);
    const first = run(OP, { ...rowsOf(args, 0, 9), offsets: ints(0, 9) });
    for (const name of ['logps', 'ratio', 'losses', 'clipped'])
      expect(column(first, name), name).toEqual(column(whole, name).slice(0, 9));
    expectClose(
      column(first, 'd_hidden'),
      column(whole, 'd_hidden').slice(0, 9 * C),
      precision === 'float64' ? 0 : 1e-6,
      'd_hidden',
    );
    const ratios = new Set(column(first, 'ratio'));
    expect(ratios.size, 'ignored rows have ratio 1, the others one value').toBe(2);
  },
};

const ignoredRows: Invariant = {
  name: 'ignored rows change nothing, whatever they hold',
  check: (run, random) => {
    const args = computed(random, { N: 20, C: 5, V: 12 }, 'clip', 'k3', 'token');
    const before = run(OP, args);
    const spoiled = { ...args };
    for (const name of ['advantages', 'old_logps', 'ref_logps', 'weights']) {
      const data = real(args, name)!.slice();
      targetsOf(args).forEach((y, n) => {
        if (y === IGNORED) data[n] = Number.NaN;
      });
      spoiled[name] = vector(data);
    }
    const after = run(OP, spoiled);
    for (const name of Object.keys(before)) expect(column(after, name), name).toEqual(column(before, name));
  },
};

const staysFinite: Invariant = {
  name: 'large ratios and k3 spikes stay finite',
  check: (run, random) => {
    for (const loss of policyLosses) {
      const args = computed(random, { N: 10, C: 5, V: 12 }, loss, 'k3', 'token');
      args['old_logps'] = filled([10], -500);
      args['ref_logps'] = filled([10], 400);
      const result = run(OP, args);
      for (const name of Object.keys(result))
        expect(column(result, name).every(Number.isFinite), `${loss}: ${name}`).toBe(true);
    }
  },
};

const maskedTarget: Invariant = {
  name:
    'a masked target in a call with coefficients: log-prob −∞, everything else finite, ' +
    'zero coefficients cost nothing',
  check: (run, random) => {
    const args = withCoefficients(random, { N: 4, C: 3, V: 6 });
    real(args, 'bias')![2] = -Infinity;
    targetsOf(args).set([2, 2, 1, 0]);
    real(args, 'coefficients')!.set([0, 0.5, 1, 1]);
    const result = run(OP, args);
    const impossible = [...column(result, 'logps')].map((value) => value === -Infinity);
    expect(impossible).toEqual([true, true, false, false]);
    expect(Number.isFinite(column(result, 'losses')[0]!)).toBe(true);
    expect(column(result, 'losses')[1]).toBe(Infinity);
    for (const name of ['entropy', 'd_hidden', 'd_weight', 'd_bias', 'lse', 'max_prob'])
      expect(column(result, name).every(Number.isFinite), name).toBe(true);
  },
};

/** d_weight of N rows of same-signed contributions, in calls of `rows` rows each. */
function accumulated(run: Run, args: CaseArgs, rows: number): Float64Array {
  const [V, C] = (args['weight'] as { shape: readonly number[] }).shape as [number, number];
  const N = targetsOf(args).length;
  let d_weight = filled([V, C], 0);
  for (let begin = 0; begin < N; begin += rows) {
    const result = run(OP, { ...rowsOf(args, begin, begin + rows), d_weight });
    d_weight = { data: column(result, 'd_weight'), shape: [V, C] };
  }
  return d_weight.data;
}

const manyChunks: Invariant = {
  name: 'd_weight over 1,000 chunks of rows does not lose precision',
  check: (run, random: Random, precision: Precision) => {
    // The worst case for a running sum: a float32 sum over single rows would be off by 1e-5.
    const [N, C, V] = [64_000, 3, 5];
    const args: CaseArgs = {
      hidden: random.normal([N, C], 0.3, 1),
      weight: random.normal([V, C], 0.1),
      targets: { data: new Int32Array(N).fill(2), shape: [N] },
      coefficients: vector(Float64Array.from({ length: N }, () => 0.5 + random.uniform())),
    };
    const expected = oracle(rounded(args)).d_weight;
    const error = (actual: Float64Array) => {
      const differences = actual.map((value, i) => (value - expected[i]!) ** 2);
      return Math.sqrt(total(differences) / total(expected.map((value) => value * value)));
    };
    const once = accumulated(run, args, N);
    expect(error(once), 'one call').toBeLessThan(precision === 'float64' ? 1e-12 : 1e-6);
    const often = accumulated(run, args, 64);
    expect(error(often), '1,000 calls').toBeLessThan(2e-6); // handed back in float32
  },
};

export const invariants: readonly Invariant[] = [
  asTranscribed,
  clipFlags,
  onPolicy,
  klGradients,
  sumsToZero,
  rowsAlone,
  sequencesAlone,
  ignoredRows,
  staysFinite,
  maskedTarget,
  manyChunks,
];
