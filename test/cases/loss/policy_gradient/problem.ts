/** Random calls of linear_policy_gradient. */
import type { ImportanceLevel, KlEstimator, PolicyLossName } from '../../../../src/policy/losses.js';
import { ints, type IntTensor, type Random, type RealTensor } from '../../../helpers/random.js';
import { asFields, LOSS_FORMULAS } from '../../../policy/lossFormulas.js';
import type { CaseArgs } from '../../define.js';
import { oracle } from './oracle.js';
import { IGNORED, real, targetsOf, tensor, vector } from './tensors.js';

/** Every output but the gradients. */
const REPORTS = { entropy: true, max_prob: true, argmax: true, lse: true, ratio: true, losses: true };

export interface Shape {
  readonly N: number;
  readonly C: number;
  readonly V: number;
  /** Every so many rows one is ignored. */
  readonly every?: number;
  /** Standard deviation of hidden. */
  readonly scale?: number;
}

/** hidden, weight, bias, targets, and gradients that start from something. */
export function problem(random: Random, shape: Shape, gradients = true): CaseArgs {
  const { N, C, V, every = 5, scale = 1 } = shape;
  const targets = random.integers([N], 0, V);
  for (let n = every - 1; n < N; n += every) targets.data[n] = IGNORED;
  return {
    hidden: random.normal([N, C], scale),
    weight: random.normal([V, C], 1 / Math.sqrt(C)),
    bias: random.normal([V], 0.3),
    targets,
    ...REPORTS,
    ...(gradients
      ? { d_hidden: true, d_weight: random.normal([V, C], 0.1), d_bias: random.normal([V], 0.1) }
      : {}),
  };
}

export const withCoefficients = (random: Random, shape: Shape): CaseArgs => ({
  ...problem(random, shape),
  coefficients: random.normal([shape.N]),
  entropy_coefficients: random.normal([shape.N], 0.5),
});

/** Log-probs near those of `args`, far enough from the clipping bounds for finite differences. */
export function nearLogps(random: Random, args: CaseArgs, spread: number): RealTensor {
  const { logp } = oracle({ ...args, loss: 'coefficients', kl: 'k3', beta: 0, importance: 'token' });
  return vector(logp.map((value) => value + spread * random.gauss()));
}

/** Three sequences and an empty one. */
const offsetsOf = (N: number): IntTensor => ints(0, Math.floor(N / 3), Math.floor(N / 3), N - 2, N);

function reference(random: Random, args: CaseArgs, { N, V }: Shape, kl: KlEstimator): CaseArgs {
  if (kl !== 'exact') return { ref_logps: nearLogps(random, args, 0.7) };
  return {
    ref_hidden: random.normal([N, 6]),
    ref_weight: random.normal([V, 6], 0.4),
    ref_bias: random.normal([V], 0.2),
  };
}

/** A loss with a KL estimator at an importance level, with everything on. */
export function computed(
  random: Random,
  shape: Shape,
  loss: PolicyLossName,
  kl: KlEstimator,
  importance: ImportanceLevel,
  extra: CaseArgs = {},
): CaseArgs {
  const { N } = shape;
  const args: CaseArgs = {
    ...problem(random, shape),
    loss,
    kl,
    importance,
    temperature: 1.3,
    beta: 0.3,
    entropy_coef: 0.2,
    ...asFields(LOSS_FORMULAS[loss].parameters),
  };
  args['advantages'] = random.normal([N]);
  const weight = (n: number) => (n % 7 === 3 ? 0 : 0.5 + random.uniform());
  args['weights'] = vector(Float64Array.from({ length: N }, (_, n) => weight(n)));
  args['old_logps'] = nearLogps(random, args, 0.5);
  args['kl_out'] = true;
  args['clipped'] = true;
  Object.assign(args, reference(random, args, shape, kl));
  if (importance !== 'token') args['offsets'] = offsetsOf(N);
  return { ...args, ...extra };
}

/** The same call with weights that bfloat16 holds exactly, given as such. */
export function inBfloat16(args: CaseArgs): CaseArgs {
  const cut = (value: number) => {
    const bits = new Uint32Array(Float32Array.of(value).buffer)[0]! & 0xffff0000;
    return new Float32Array(Uint32Array.of(bits).buffer)[0]!;
  };
  const cutTensor = (given: RealTensor): RealTensor => ({
    ...given,
    bfloat16: true,
    data: given.data.map(cut),
  });
  return {
    ...args,
    weight: cutTensor(tensor(args, 'weight')),
    ...(args['ref_weight'] ? { ref_weight: cutTensor(tensor(args, 'ref_weight')) } : {}),
  };
}

/**
 * The same call with all but every `every`-th token masked by the bias, some of them in the reference too.
 */
export function masked(random: Random, args: CaseArgs, every: number): CaseArgs {
  const bias = real(args, 'bias')!;
  const targets = targetsOf(args);
  const referenceBias = real(args, 'ref_bias');
  for (let v = 0; v < bias.length; ++v) if (v % every !== 0) bias[v] = -Infinity;
  for (let n = 0; n < targets.length; ++n)
    if (targets[n] !== IGNORED) targets[n] = every * Math.floor(targets[n]! / every);
  if (referenceBias)
    bias.forEach((value, v) => {
      if (value === -Infinity && random.uniform() < 0.5) referenceBias[v] = -Infinity;
    });
  return args;
}
