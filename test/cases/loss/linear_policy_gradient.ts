/**
 * Cases of the fused policy gradient; its invariants, refusals and random problems are in policy_gradient/.
 */
import type { KernelResult } from '../../../src/core/addon/contract.js';
import {
  importanceLevels,
  klEstimators,
  POLICY_LOSSES,
  policyLosses,
  type PolicyLossName,
} from '../../../src/policy/losses.js';
import type { Random } from '../../helpers/random.js';
import { LOSS_FORMULAS, parametersOf } from '../../policy/lossFormulas.js';
import { type CaseArgs, defineCases, type OpCase } from '../define.js';
import { invariants } from './policy_gradient/invariants.js';
import {
  computed,
  inBfloat16,
  masked,
  nearLogps,
  problem,
  withCoefficients,
} from './policy_gradient/problem.js';
import { refused } from './policy_gradient/refused.js';
import { column, filled, IGNORED, OP, real, targetsOf, total, without } from './policy_gradient/tensors.js';

/**
 * What the gradients are the gradient of, as a function of a moved call: Σ losses. Where a loss holds the
 * ratio fixed, its value is that at the unmoved call's ratio.
 */
function objective(base: KernelResult, args: CaseArgs): (result: KernelResult) => number {
  const loss = args['loss'] as PolicyLossName | undefined;
  if (loss === undefined || POLICY_LOSSES[loss].throughRatio)
    return (result) => total(column(result, 'losses'));
  const parameters = parametersOf(args);
  const fixed = column(base, 'ratio');
  return (result) => {
    const [losses, moved, logps] = ['losses', 'ratio', 'logps'].map((name) => column(result, name));
    const corrections = losses!.map((_, n) => {
      if (targetsOf(args)[n] === IGNORED) return 0;
      const weight = real(args, 'weights')![n]!;
      const valueAt = (ratio: number) => {
        const token = { ratio, advantage: real(args, 'advantages')![n]!, logp: logps![n]! };
        return LOSS_FORMULAS[loss].of(token, parameters).value;
      };
      return weight * (valueAt(fixed[n]!) - valueAt(moved![n]!));
    });
    return total(losses!) + total(corrections);
  };
}

/** Every loss with every KL estimator at every importance level. */
const combinations: OpCase[] = policyLosses.flatMap((loss) =>
  klEstimators.flatMap((kl) =>
    importanceLevels.map((importance) => ({
      name: `${loss}, ${kl}, ${importance}`,
      args: (r: Random) => computed(r, { N: 23, C: 7, V: 13 }, loss, kl, importance),
      objective,
    })),
  ),
);

const corrected: OpCase[] = (['k1', 'k3'] as const).flatMap((kl) =>
  importanceLevels.map((importance) => ({
    name: `clip, bias-corrected ${kl}, ${importance}`,
    args: (r: Random) =>
      computed(r, { N: 20, C: 5, V: 11 }, 'clip', kl, importance, { kl_bias_correction: true }),
    objective,
  })),
);

const capped: OpCase[] = importanceLevels.map((importance) => ({
  name: `clip with a cap and entropy coefficients, ${importance}`,
  args: (r: Random) =>
    computed(r, { N: 20, C: 5, V: 11 }, 'clip', 'k3', importance, {
      delta: 1.6,
      entropy_coefficients: r.normal([20], 0.5),
    }),
  objective,
}));

const coefficients: OpCase[] = [
  {
    name: 'coefficients and entropy coefficients',
    args: (r) => withCoefficients(r, { N: 19, C: 9, V: 31 }),
    objective,
  },
  {
    name: 'coefficients with KL and ratio reported',
    args: (r) => {
      const args = withCoefficients(r, { N: 19, C: 9, V: 31 });
      const old_logps = nearLogps(r, args, 0.3);
      return { ...args, old_logps, ref_logps: nearLogps(r, args, 0.3), kl: 'k1', kl_out: true };
    },
  },
];

const sizes: OpCase[] = [
  { name: 'V = 1', args: (r) => withCoefficients(r, { N: 6, C: 3, V: 1 }) },
  { name: 'V = 2', args: (r) => withCoefficients(r, { N: 7, C: 5, V: 2 }), objective },
  { name: 'V = 97, odd N and C', args: (r) => withCoefficients(r, { N: 131, C: 33, V: 97 }) },
  { name: 'C = 1', args: (r) => withCoefficients(r, { N: 9, C: 1, V: 20 }), objective },
  { name: 'N = 1', args: (r) => withCoefficients(r, { N: 1, C: 8, V: 10 }), objective },
  { name: 'no rows', args: (r) => withCoefficients(r, { N: 0, C: 8, V: 10 }) },
  { name: 'one ignored row', args: (r) => withCoefficients(r, { N: 1, C: 8, V: 10, every: 1 }) },
  { name: 'all rows ignored', args: (r) => withCoefficients(r, { N: 40, C: 17, V: 61, every: 1 }) },
  {
    name: 'all rows ignored, sequence level',
    args: (r) => computed(r, { N: 10, C: 7, V: 61, every: 1 }, 'clip', 'exact', 'sequence'),
  },
  {
    name: 'several vocabulary tiles and row chunks',
    args: (r) => computed(r, { N: 300, C: 24, V: 2600 }, 'clip', 'k3', 'token'),
  },
  {
    name: 'several tiles and chunks, exact KL, sequences',
    args: (r) => computed(r, { N: 290, C: 11, V: 1537 }, 'clip', 'exact', 'sequence'),
  },
  { name: 'V = 50304', args: (r) => computed(r, { N: 4, C: 3, V: 50304 }, 'clip', 'exact', 'token') },
  {
    name: 'V = 50304, coefficients without entropy',
    args: (r) => without(withCoefficients(r, { N: 3, C: 5, V: 50304 }), 'entropy_coefficients'),
  },
  {
    name: 'several tiles and chunks, no entropy term',
    args: (r) => without(withCoefficients(r, { N: 300, C: 5, V: 4100, scale: 3 }), 'entropy_coefficients'),
  },
];

const numbers: OpCase[] = [
  { name: 'logits ±1e4', args: (r) => withCoefficients(r, { N: 257, C: 8, V: 97, scale: 4000 }) },
  {
    name: 'logits ±1e4, exact KL',
    args: (r) => computed(r, { N: 257, C: 8, V: 97, scale: 4000 }, 'clip', 'exact', 'token'),
  },
  { name: 'bfloat16 weights', args: (r) => inBfloat16(withCoefficients(r, { N: 19, C: 9, V: 31 })) },
  {
    name: 'bfloat16 weights of policy and reference, several tiles and chunks',
    args: (r) => inBfloat16(computed(r, { N: 290, C: 11, V: 1537 }, 'clip', 'exact', 'token')),
  },
  {
    name: 'temperature 0.1',
    args: (r) => ({ ...withCoefficients(r, { N: 33, C: 12, V: 97 }), temperature: 0.1 }),
  },
  {
    name: 'temperature 10',
    args: (r) => ({ ...withCoefficients(r, { N: 33, C: 12, V: 97 }), temperature: 10 }),
    objective,
  },
];

const masks: OpCase[] = [
  {
    name: 'a masked vocabulary',
    args: (r) => masked(r, withCoefficients(r, { N: 21, C: 6, V: 50 }), 5),
    objective,
  },
  {
    name: 'a masked vocabulary, exact KL',
    args: (r) => masked(r, computed(r, { N: 21, C: 6, V: 50 }, 'clip', 'exact', 'token'), 3),
    objective,
  },
  {
    name: 'all but one token masked',
    args: (r) => masked(r, computed(r, { N: 21, C: 6, V: 50 }, 'clip', 'exact', 'token'), 50),
  },
  {
    name: 'a masked tile',
    args: (r) => {
      const args = withCoefficients(r, { N: 11, C: 6, V: 3000 });
      real(args, 'bias')!.fill(-Infinity, 0, 2500);
      const targets = targetsOf(args);
      targets.forEach((y, n) => {
        if (y !== IGNORED) targets[n] = 2500 + (y % 500);
      });
      return args;
    },
  },
  {
    name: 'a masked target',
    args: (r) => {
      const args = withCoefficients(r, { N: 9, C: 6, V: 40 });
      targetsOf(args)[0] = 3;
      real(args, 'bias')![3] = -Infinity;
      real(args, 'coefficients')![0] = 0;
      return args;
    },
  },
];

/** A call with some arguments and outputs left out. */
const leftOut = (name: string, ...names: string[]): OpCase => ({
  name,
  args: (r) => without(withCoefficients(r, { N: 70, C: 19, V: 1300 }), ...names),
});
const optional: OpCase[] = [
  { name: 'forward only', args: (r) => problem(r, { N: 70, C: 19, V: 1300 }, false) },
  leftOut('d_weight only', 'd_hidden'),
  leftOut('d_hidden only', 'd_weight', 'd_bias', 'bias'),
  leftOut('d_bias only', 'd_hidden', 'd_weight'),
  {
    name: 'no old log-probs, no weights',
    args: (r) =>
      without(computed(r, { N: 25, C: 6, V: 19 }, 'clip', 'k2', 'sequence'), 'old_logps', 'weights'),
  },
];

const benchmark = (N: number, C: number, V: number, gradients: CaseArgs, name: string): OpCase => ({
  name: `${N}×${C}×${V} ${name}`,
  args: (r) => ({
    hidden: r.normal([N, C]),
    weight: r.normal([V, C], 0.05),
    targets: r.integers([N], 0, V),
    coefficients: r.normal([N], 1 / N),
    ...gradients,
  }),
});
/** Both gradients of a model of width C with V tokens. */
const both = (C: number, V: number) => ({ d_hidden: true, d_weight: filled([V, C], 0) });

export const linearPolicyGradient = defineCases({
  op: OP,
  cases: [
    ...combinations,
    ...corrected,
    ...capped,
    ...coefficients,
    ...sizes,
    ...numbers,
    ...masks,
    ...optional,
  ],
  invariants,
  refused,
  bench: [
    benchmark(2048, 512, 50304, both(512, 50304), 'forward and backward'),
    benchmark(2048, 512, 50304, { d_weight: filled([50304, 512], 0) }, 'd_weight only'),
    benchmark(2048, 512, 50304, {}, 'forward only'),
    benchmark(2048, 256, 2048, both(256, 2048), 'forward and backward'),
    benchmark(2048, 64, 256, both(64, 256), 'forward and backward'),
  ],
});
