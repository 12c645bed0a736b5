import { expect } from 'vitest';

import type { ArrayView, KernelResult } from '../../src/core/addon/contract.js';
import { numbers } from '../helpers/kernels.js';
import { ints, reals, type IntTensor, type Random, type RealTensor } from '../helpers/random.js';
import { defineCases, type CaseArgs, type OpCase } from './define.js';

const OP = 'linear_policy_gradient';
const IGNORED = -100;
const filled = (shape: readonly number[], value: number): RealTensor => ({
  data: new Float64Array(shape.reduce((a, b) => a * b, 1)).fill(value),
  shape,
});
const real = (args: CaseArgs, name: string) => (args[name] as RealTensor | undefined)?.data;
const column = (result: KernelResult, name: string) => numbers(result[name]!);

/** Every output but the gradients. */
const reports = { entropy: true, max_prob: true, argmax: true, lse: true, ratio: true, losses: true };

interface Shape {
  N: number;
  C: number;
  V: number;
  every?: number;
  scale?: number;
}

/** hidden, weight, bias, targets (every `every`-th row ignored) and gradients that start from something. */
function problem(random: Random, { N, C, V, every = 5, scale = 1 }: Shape, gradients = true): CaseArgs {
  const targets = random.integers([N], 0, V);
  for (let n = every - 1; n < N; n += every) targets.data[n] = IGNORED;
  return {
    hidden: random.normal([N, C], scale),
    weight: random.normal([V, C], 1 / Math.sqrt(C)),
    bias: random.normal([V], 0.3),
    targets,
    ...reports,
    ...(gradients
      ? { d_hidden: true, d_weight: random.normal([V, C], 0.1), d_bias: random.normal([V], 0.1) }
      : {}),
  };
}

const withCoefficients = (random: Random, shape: Shape): CaseArgs => ({
  ...problem(random, shape),
  coefficients: random.normal([shape.N]),
  entropy_coefficients: random.normal([shape.N], 0.5),
});

/** Log-probs near those of `args`, far enough from the clipping bounds for finite differences. */
function nearLogps(random: Random, args: CaseArgs, spread: number): RealTensor {
  const { logp } = oracle({ ...args, loss: 'coefficients', kl: 'k3', beta: 0, importance: 'token' });
  return { data: Float64Array.from(logp, (l) => l + spread * random.gauss()), shape: [logp.length] };
}

/** The same call with weights that bfloat16 holds exactly, given as such. */
function inBfloat16(args: CaseArgs): CaseArgs {
  const cut = (tensor: RealTensor): RealTensor => ({
    ...tensor,
    bfloat16: true,
    data: Float64Array.from(
      tensor.data,
      (v) =>
        new Float32Array(
          Uint32Array.of(new Uint32Array(Float32Array.of(v).buffer)[0]! & 0xffff0000).buffer,
        )[0]!,
    ),
  });
  return {
    ...args,
    weight: cut(args['weight'] as RealTensor),
    ...(args['ref_weight'] ? { ref_weight: cut(args['ref_weight'] as RealTensor) } : {}),
  };
}

const offsetsOf = (N: number): IntTensor => ints(0, Math.floor(N / 3), Math.floor(N / 3), N - 2, N); // an empty sequence, too

/** loss × kl × importance, with everything on. */
function computed(
  random: Random,
  shape: Shape,
  loss: string,
  kl: string,
  importance: string,
  extra: CaseArgs = {},
): CaseArgs {
  const args: CaseArgs = {
    ...problem(random, shape),
    loss,
    kl,
    importance,
    temperature: 1.3,
    beta: 0.3,
    entropy_coef: 0.2,
    epsilon_low: 0.2,
    epsilon_high: loss === 'cispo' ? 1.1 : 0.3,
  };
  const { N, V } = shape;
  args['advantages'] = random.normal([N]);
  args['weights'] = {
    data: Float64Array.from({ length: N }, (_, n) => (n % 7 === 3 ? 0 : 0.5 + random.uniform())),
    shape: [N],
  };
  args['old_logps'] = nearLogps(random, args, 0.5);
  args['kl_out'] = true;
  args['clipped'] = true;
  if (kl === 'exact')
    Object.assign(args, {
      ref_hidden: random.normal([N, 6]),
      ref_weight: random.normal([V, 6], 0.4),
      ref_bias: random.normal([V], 0.2),
    });
  else args['ref_logps'] = nearLogps(random, args, 0.7);
  if (importance !== 'token') args['offsets'] = offsetsOf(N);
  return { ...args, ...extra };
}

interface Oracle {
  logp: Float64Array;
  entropy: Float64Array;
  kl: Float64Array;
  ratio: Float64Array;
  losses: Float64Array;
  clipped: Float64Array;
  d_hidden: Float64Array;
  d_weight: Float64Array;
  d_bias: Float64Array;
}

/**
 * The contract written down a second time, with everything materialised: log-softmax by log-sum-exp, losses
 * by their formulas, and gradients by the chain rule from ∂L/∂logp, ∂L/∂p to logits. Shares no line with
 * native/.
 */
function oracle(args: CaseArgs): Oracle {
  const h = args['hidden'] as RealTensor,
    w = args['weight'] as RealTensor;
  const [N, C] = h.shape as [number, number],
    V = w.shape[0]!;
  const tau = (args['temperature'] as number | undefined) ?? 1;
  const targets = (args['targets'] as IntTensor).data;
  const logSoftmax = (x: RealTensor, m: RealTensor, bias: Float64Array | undefined, n: number) => {
    const K = m.shape[1]!;
    const z = Float64Array.from({ length: V }, (_, v) => {
      let sum = bias?.[v] ?? 0;
      for (let k = 0; k < K; ++k) sum += x.data[n * K + k]! * m.data[v * K + k]!;
      return sum / tau;
    });
    const top = Math.max(...z);
    const logSum = Math.log(z.reduce((s, value) => s + Math.exp(value - top), 0));
    return z.map((value) => value - top - logSum);
  };
  const logs = Array.from({ length: N }, (_, n) => logSoftmax(h, w, real(args, 'bias'), n));
  const p = logs.map((row) => row.map(Math.exp));
  const xlogx = (probability: number, value: number) => (probability === 0 ? 0 : probability * value);
  const scored = (n: number) => targets[n] !== IGNORED;
  const logp = Float64Array.from({ length: N }, (_, n) => (scored(n) ? logs[n]![targets[n]!]! : 0));
  const entropy = Float64Array.from(
    p,
    (row, n) => -row.reduce((s, value, v) => s + xlogx(value, logs[n]![v]!), 0),
  );

  const exact = args['kl'] === 'exact' && args['ref_hidden'] !== undefined;
  const q = exact
    ? logs.map((_, n) =>
        logSoftmax(
          args['ref_hidden'] as RealTensor,
          args['ref_weight'] as RealTensor,
          real(args, 'ref_bias'),
          n,
        ),
      )
    : [];
  const [old, ref, advantages, weights] = ['old_logps', 'ref_logps', 'advantages', 'weights'].map((name) =>
    real(args, name),
  );
  const [kl, ratio, losses, clipped] = [0, 1, 0, 0].map((value) => new Float64Array(N).fill(value)) as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  const dKl = new Float64Array(N); // ∂kl/∂logp
  for (let n = 0; n < N; ++n) {
    if (exact) kl[n] = p[n]!.reduce((s, value, v) => s + xlogx(value, logs[n]![v]! - q[n]![v]!), 0);
    else if (ref && scored(n)) {
      const d = logp[n]! - ref[n]!;
      const kind = (args['kl'] as string | undefined) ?? 'k3';
      kl[n] = kind === 'k1' ? d : kind === 'k2' ? (d * d) / 2 : Math.exp(-d) - 1 + d;
      dKl[n] = kind === 'k1' ? 1 : kind === 'k2' ? d : 1 - Math.exp(-d);
    }
  }

  // Which rows share a ratio.
  const sequences: number[][] = [];
  const offsets = (args['offsets'] as IntTensor | undefined)?.data;
  if (['sequence', 'product'].includes(args['importance'] as string))
    for (let s = 0; s + 1 < offsets!.length; ++s)
      sequences.push(
        Array.from({ length: offsets![s + 1]! - offsets![s]! }, (_, i) => offsets![s]! + i).filter(scored),
      );
  else for (let n = 0; n < N; ++n) if (scored(n)) sequences.push([n]);

  const dLogp = new Float64Array(N),
    dEntropy = new Float64Array(N),
    dExact = new Float64Array(N); // ∂L/∂·
  const loss = (args['loss'] as string | undefined) ?? 'coefficients';
  const number = (name: string, fallback: number) => (args[name] as number | undefined) ?? fallback;
  const beta = number('beta', 0),
    bonus = number('entropy_coef', 0),
    low = 1 - number('epsilon_low', 0.2),
    high = 1 + number('epsilon_high', 0.2);
  for (const rows of sequences) {
    const shares = args['importance'] === 'product' ? 1 : rows.length;
    const rho = Math.exp(old ? rows.reduce((s, n) => s + logp[n]! - old[n]!, 0) / shares : 0);
    for (const n of rows) {
      ratio[n] = rho;
      if (loss === 'coefficients') {
        const c = real(args, 'coefficients')?.[n] ?? 0,
          e = real(args, 'entropy_coefficients')?.[n] ?? 0;
        losses[n] = (c === 0 ? 0 : -c * logp[n]!) - e * entropy[n]!;
        (dLogp[n] = -c), (dEntropy[n] = -e);
        continue;
      }
      const A = advantages![n]!,
        weight = weights?.[n] ?? 1;
      let value: number;
      let dRho = 0; // ∂ℓ/∂ρ
      if (loss === 'clip') {
        const capped = Math.min(rho, number('delta', 0) || Infinity);
        value = -Math.min(capped * A, Math.min(Math.max(rho, low), high) * A);
        if (value === -rho * A) dRho = -A;
        clipped[n] = rho < low && A < 0 ? -1 : rho > high && A > 0 ? 1 : 0;
      } else {
        const cap = Math.min(rho, high - 1);
        value = -cap * A * logp[n]!;
        dLogp[n]! -= weight * cap * A;
        clipped[n] = rho > high - 1 && A > 0 ? 1 : 0;
      }
      const corrected = args['kl_bias_correction'] === true;
      const own = real(args, 'entropy_coefficients')?.[n] ?? 0;
      value += beta * kl[n]! * (corrected ? rho : 1) - bonus * entropy[n]!;
      if (corrected) dRho += beta * kl[n]!;
      dLogp[n]! += weight * beta * dKl[n]! * (corrected ? rho : 1);
      dEntropy[n] = -weight * bonus - own;
      if (exact) dExact[n] = weight * beta;
      for (const m of rows) dLogp[m]! += (weight * dRho * rho) / shares;
      losses[n] = weight * value - own * entropy[n]!;
    }
  }

  const d_hidden = new Float64Array(N * C),
    d_weight = new Float64Array(V * C),
    d_bias = new Float64Array(V);
  for (let n = 0; n < N; ++n) {
    if (!scored(n)) continue;
    // ∂L/∂log p_v of everything that is a sum over v, then through log-softmax: ∂/∂z_v = u_v − p_v Σ u.
    const u = p[n]!.map((value, v) => {
      if (value === 0 && v !== targets[n]) return 0;
      let du = v === targets[n] ? dLogp[n]! : 0;
      if (value === 0) return du;
      du -= dEntropy[n]! * value * (logs[n]![v]! + 1); // H = −Σ e^l l
      if (exact) du += dExact[n]! * value * (logs[n]![v]! - q[n]![v]! + 1);
      return du;
    });
    const total = u.reduce((a, b) => a + b, 0);
    for (let v = 0; v < V; ++v) {
      const g = (u[v]! - p[n]![v]! * total) / tau;
      d_bias[v]! += g;
      for (let c = 0; c < C; ++c) {
        d_hidden[n * C + c]! += g * w.data[v * C + c]!;
        d_weight[v * C + c]! += g * h.data[n * C + c]!;
      }
    }
  }
  return { logp, entropy, kl, ratio, losses, clipped, d_hidden, d_weight, d_bias };
}

/** Σ losses as a function of a moved call; a stopped gradient holds min(ρ, cap) A of the unmoved one. */
const objective = (base: KernelResult, args: CaseArgs) => {
  if (args['loss'] !== 'cispo')
    return (result: KernelResult) => column(result, 'losses').reduce((a, b) => a + b, 0);
  const fixed = column(base, 'ratio').map(
    (ratio, n) => Math.min(ratio, args['epsilon_high'] as number) * real(args, 'advantages')![n]!,
  );
  const targets = (args['targets'] as IntTensor).data,
    weights = real(args, 'weights')!;
  return (result: KernelResult) => {
    const [losses, ratio, logps] = ['losses', 'ratio', 'logps'].map((name) => column(result, name)) as [
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    return losses.reduce((sum, loss, n) => {
      if (targets[n] === IGNORED) return sum;
      const moved = Math.min(ratio[n]!, args['epsilon_high'] as number) * real(args, 'advantages')![n]!;
      return sum + loss + weights[n]! * (moved - fixed[n]!) * logps[n]!;
    }, 0);
  };
};

const losses = ['clip', 'cispo'] as const;
const estimators = ['k1', 'k2', 'k3', 'exact'] as const;
const levels = ['token', 'sequence', 'product'] as const;
const combinations: OpCase[] = losses.flatMap((loss) =>
  estimators.flatMap((kl) =>
    levels.map((importance) => ({
      name: `${loss}, ${kl}, ${importance}`,
      args: (r: Random) => computed(r, { N: 23, C: 7, V: 13 }, loss, kl, importance),
      objective,
    })),
  ),
);

function masked(random: Random, args: CaseArgs, every: number): CaseArgs {
  const bias = args['bias'] as RealTensor,
    targets = (args['targets'] as IntTensor).data;
  for (let v = 0; v < bias.data.length; ++v) if (v % every !== 0) bias.data[v] = -Infinity;
  for (let n = 0; n < targets.length; ++n)
    if (targets[n] !== IGNORED) targets[n] = every * Math.floor(targets[n]! / every);
  if (args['ref_bias']) {
    const other = args['ref_bias'] as RealTensor;
    bias.data.forEach((value, v) => {
      if (value === -Infinity && random.uniform() < 0.5) other.data[v] = -Infinity;
    });
  }
  return args;
}

function expectClose(actual: Float64Array, expected: Float64Array, tolerance: number, label: string): void {
  const norm = Math.sqrt(expected.reduce((s, v) => s + v * v, 0) / Math.max(1, expected.length));
  expect(actual.length, label).toBe(expected.length);
  actual.forEach((value, i) => {
    if (Math.abs(value - expected[i]!) > tolerance * (norm + Math.abs(expected[i]!) + 1e-2))
      expect.fail(`${label}[${i}]: ${value}, expected ${expected[i]}`);
    if (!Number.isFinite(value) && value !== expected[i])
      expect.fail(`${label}[${i}] is ${value}, expected ${expected[i]}`);
  });
}

/** The call's gradients without what they were accumulated onto. */
function gradient(result: KernelResult, args: CaseArgs, name: string): Float64Array {
  const start = typeof args[name] === 'object' ? real(args, name)! : undefined;
  return column(result, name).map((value, i) => value - (start?.[i] ?? 0));
}

function checkAgainstOracle(
  run: (entry: string, args: CaseArgs) => KernelResult,
  args: CaseArgs,
  precision: 'float32' | 'float64',
  label: string,
): void {
  const expected = oracle(args);
  const result = run(OP, args);
  const tolerance = precision === 'float64' ? 1e-12 : 2e-5;
  const outputs: [string, Float64Array][] = [
    ['logps', expected.logp],
    ['entropy', expected.entropy],
    ['losses', expected.losses],
    ['ratio', expected.ratio],
    ['kl_out', expected.kl],
  ];
  for (const [name, values] of outputs)
    if (result[name]) expectClose(column(result, name), values, tolerance, `${label}: ${name}`);
  if (result['clipped']) expect(column(result, 'clipped'), `${label}: clipped`).toEqual(expected.clipped);
  for (const name of ['d_hidden', 'd_weight', 'd_bias'] as const)
    if (result[name])
      expectClose(gradient(result, args, name), expected[name], tolerance, `${label}: ${name}`);
}

/** The oracle must see the float32 numbers that the harness hands over. */
const rounded = (args: CaseArgs): CaseArgs =>
  Object.fromEntries(
    Object.entries(args).map(([name, value]) => [
      name,
      typeof value === 'object' && value.data instanceof Float64Array
        ? { ...value, data: value.data.map(Math.fround) }
        : value,
    ]),
  );

const softmax = (z: Float64Array) => {
  const top = Math.max(...z),
    e = z.map((v) => Math.exp(v - top)),
    sum = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / sum);
};

const f32 = (shape: number[], fill = 0.5) => ({
  data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(fill),
  shape,
});
const small = (extra: Record<string, unknown> = {}) =>
  ({
    hidden: f32([3, 2]),
    weight: f32([4, 2]),
    targets: Int32Array.of(0, 1, 3),
    ...extra,
  }) as unknown as Record<string, ArrayView>;
const refusal = (name: string, extra: Record<string, unknown>, code: string, message: string) => ({
  name,
  args: () => small(extra),
  code,
  message,
});
const three = (...values: number[]) => Float32Array.from(values);

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

export const linearPolicyGradient = defineCases({
  op: OP,
  cases: [
    ...combinations,
    ...(['k1', 'k3'] as const).flatMap((kl) =>
      levels.map((importance) => ({
        name: `clip, bias-corrected ${kl}, ${importance}`,
        args: (r: Random) =>
          computed(r, { N: 20, C: 5, V: 11 }, 'clip', kl, importance, { kl_bias_correction: true }),
        objective,
      })),
    ),
    ...levels.map((importance) => ({
      name: `clip with a cap and entropy coefficients, ${importance}`,
      args: (r: Random) =>
        computed(r, { N: 20, C: 5, V: 11 }, 'clip', 'k3', importance, {
          delta: 1.6,
          entropy_coefficients: r.normal([20], 0.5),
        }),
      objective,
    })),
    {
      name: 'coefficients and entropy coefficients',
      args: (r) => withCoefficients(r, { N: 19, C: 9, V: 31 }),
      objective,
    },
    {
      name: 'coefficients with KL and ratio reported',
      args: (r) => {
        const a = withCoefficients(r, { N: 19, C: 9, V: 31 });
        return {
          ...a,
          old_logps: nearLogps(r, a, 0.3),
          ref_logps: nearLogps(r, a, 0.3),
          kl: 'k1',
          kl_out: true,
        };
      },
    },
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
      args: (r) => {
        const { entropy_coefficients: _, ...a } = withCoefficients(r, { N: 3, C: 5, V: 50304 });
        return a;
      },
    },
    {
      name: 'several tiles and chunks, no entropy term',
      args: (r) => {
        const { entropy_coefficients: _, ...a } = withCoefficients(r, { N: 300, C: 5, V: 4100, scale: 3 });
        return a;
      },
    },
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
        const a = withCoefficients(r, { N: 11, C: 6, V: 3000 });
        (a['bias'] as RealTensor).data.fill(-Infinity, 0, 2500);
        const t = (a['targets'] as IntTensor).data;
        t.forEach((y, n) => {
          if (y !== IGNORED) t[n] = 2500 + (y % 500);
        });
        return a;
      },
    },
    {
      name: 'a masked target',
      args: (r) => {
        const a = withCoefficients(r, { N: 9, C: 6, V: 40 });
        (a['targets'] as IntTensor).data[0] = 3;
        (a['bias'] as RealTensor).data[3] = -Infinity;
        real(a, 'coefficients')![0] = 0;
        return a;
      },
    },
    { name: 'forward only', args: (r) => ({ ...problem(r, { N: 70, C: 19, V: 1300 }, false) }) },
    {
      name: 'd_weight only',
      args: (r) => {
        const { d_hidden: _, ...a } = withCoefficients(r, { N: 70, C: 19, V: 1300 });
        return a;
      },
    },
    {
      name: 'd_hidden only',
      args: (r) => {
        const { d_weight: _, d_bias: __, bias: ___, ...a } = withCoefficients(r, { N: 70, C: 19, V: 1300 });
        return a;
      },
    },
    {
      name: 'd_bias only',
      args: (r) => {
        const { d_hidden: _, d_weight: __, ...a } = withCoefficients(r, { N: 70, C: 19, V: 1300 });
        return a;
      },
    },
    {
      name: 'no old log-probs, no weights',
      args: (r) => {
        const {
          old_logps: _,
          weights: __,
          ...a
        } = computed(r, { N: 25, C: 6, V: 19 }, 'clip', 'k2', 'sequence');
        return a;
      },
    },
  ],
  invariants: [
    {
      name: 'outputs, losses and gradients equal their formulas, transcribed independently',
      check: (run, random, precision) => {
        for (const loss of losses)
          for (const kl of estimators)
            for (const importance of levels)
              for (const corrected of kl === 'exact' ? [false] : [false, true])
                checkAgainstOracle(
                  run,
                  rounded(
                    computed(random, { N: 29, C: 6, V: 17 }, loss, kl, importance, {
                      kl_bias_correction: corrected,
                    }),
                  ),
                  precision,
                  `${loss}, ${kl}, ${importance}, ${corrected}`,
                );
        for (const loss of losses)
          for (const importance of levels)
            for (const delta of loss === 'clip' ? [0, 1.35, 1.6] : [0])
              checkAgainstOracle(
                run,
                rounded(
                  computed(random, { N: 29, C: 6, V: 17 }, loss, 'k3', importance, {
                    delta,
                    entropy_coefficients: random.normal([29], 0.5),
                  }),
                ),
                precision,
                `${loss}, ${importance}, delta ${delta}`,
              );
        checkAgainstOracle(
          run,
          rounded({ ...withCoefficients(random, { N: 29, C: 6, V: 17 }), temperature: 0.7 }),
          precision,
          'coefficients',
        );
        checkAgainstOracle(
          run,
          rounded(masked(random, withCoefficients(random, { N: 29, C: 6, V: 17 }), 4)),
          precision,
          'masked',
        );
        for (const importance of levels) {
          const { old_logps: _, ...onPolicy } = computed(
            random,
            { N: 29, C: 6, V: 17 },
            'clip',
            'k3',
            importance,
          );
          checkAgainstOracle(run, rounded(onPolicy), precision, `on policy, ${importance}`);
        }
      },
    },
    {
      name: 'both clip flags, and the unclipped branch at the bound',
      check: (run) => {
        // One token that always has logp = log ½, so that old_logps set the ratio.
        const ratio = [0.5, 0.5, 1, 2, 2, 1.25, 0.75],
          advantages = [1, -1, 1, 1, -1, 1, -1];
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
        expect([...column(result, 'clipped')]).toEqual(
          [0, -1, 0, 1, 0, 0, 0].map((value, n) => (n < 5 ? value : column(result, 'clipped')[n]!)),
        );
        expectClose(
          column(result, 'losses'),
          Float64Array.from([-0.5, 0.75, -1, -1.25, 2, -1.25, 0.75]),
          1e-6,
          'losses',
        );
        // Each alone: the gradient of logp with respect to the first logit is ½, times −ρA, or 0 where
        // clipped.
        for (let n = 0; n < 5; ++n) {
          const one = {
            ...args,
            hidden: filled([1, 1], 0),
            targets: ints(0),
            advantages: reals(advantages[n]!),
            old_logps: reals(real(args, 'old_logps')![n]!),
          };
          const g = column(run(OP, one), 'd_bias')[0]!;
          expect(g).toBeCloseTo([-0.25, 0, -0.5, 0, 1][n]!, 6);
        }
      },
    },
    {
      name: 'exactly on policy the ratio is 1 and the gradient flows at the tie',
      check: (run, random) => {
        const args = {
          ...problem(random, { N: 12, C: 5, V: 9 }),
          loss: 'clip',
          epsilon_low: 0,
          epsilon_high: 0,
          advantages: random.normal([12]),
          clipped: true,
        } as CaseArgs;
        const absent = run(OP, args);
        const given = run(OP, { ...args, old_logps: { data: column(absent, 'logps'), shape: [12] } });
        const given64 = column(given, 'ratio');
        if (given64.every((value) => value === 1))
          expect(column(given, 'd_hidden')).toEqual(column(absent, 'd_hidden'));
        const { advantages, loss: _, epsilon_low: __, epsilon_high: ___, clipped: ____, ...rest } = args;
        const plain = run(OP, { ...rest, coefficients: advantages! });
        expect(column(absent, 'd_hidden')).toEqual(column(plain, 'd_hidden'));
        expect(column(absent, 'd_weight')).toEqual(column(plain, 'd_weight'));
        expect([...column(absent, 'clipped')].every((value) => value === 0)).toBe(true);
      },
    },
    {
      name: 'expected on-policy KL gradients, by enumeration over the vocabulary',
      check: (run, random, precision) => {
        const V = 9,
          C = 4;
        const h = random.normal([C]).data.map(Math.fround),
          weight = { data: random.normal([V, C], 0.7).data.map(Math.fround), shape: [V, C] };
        const z = Float64Array.from({ length: V }, (_, v) =>
          h.reduce((s, x, c) => s + x * weight.data[v * C + c]!, 0),
        );
        const p = softmax(z);
        const zq = random.normal([V], 1.2).data.map(Math.fround),
          q = softmax(zq);
        const KL = p.reduce((s, value, v) => s + value * Math.log(value / q[v]!), 0);
        const forwards = p.map((value, v) => value * (Math.log(value / q[v]!) - KL)); // ∇_z KL(π‖π_ref)
        const backwards = p.map((value, v) => value - q[v]!); //                         ∇_z KL(π_ref‖π)
        const all: CaseArgs = {
          hidden: { data: Float64Array.from({ length: V * C }, (_, i) => h[i % C]!), shape: [V, C] },
          weight,
          targets: ints(...Array.from({ length: V }, (_, v) => v)),
          weights: { data: p, shape: [V] },
          loss: 'clip',
          beta: 1,
          d_bias: filled([V], 0), // every token once, weighted by its probability
        };
        const none = filled([V], 0),
          ref_logps = { data: q.map(Math.log), shape: [V] };
        const tolerance = precision === 'float64' ? 1e-6 : 1e-5; // p and log q are rounded to float32 on their way in
        const expected = (extra: CaseArgs) => column(run(OP, { ...all, ...extra }), 'd_bias');
        const zero = new Float64Array(V);
        expectClose(expected({ advantages: none, kl: 'k1', ref_logps }), zero, 1e-4, 'k1 in the loss');
        expectClose(
          expected({ advantages: none, kl: 'k2', ref_logps }),
          forwards,
          tolerance * 10,
          'k2 in the loss',
        );
        expectClose(
          expected({ advantages: none, kl: 'k3', ref_logps }),
          backwards,
          tolerance * 10,
          'k3 in the loss',
        );
        expectClose(
          expected({
            advantages: none,
            kl: 'exact',
            ref_hidden: { data: new Float64Array(V).fill(1), shape: [V, 1] },
            ref_weight: { data: zq, shape: [V, 1] },
          }),
          forwards,
          tolerance * 10,
          'exact',
        );
        expectClose(
          expected({
            advantages: { data: p.map((value, v) => -Math.log(value / q[v]!)), shape: [V] },
            beta: 0,
          }),
          forwards,
          tolerance * 10,
          'k1 in the reward',
        );
        for (const kl of ['k1', 'k3'])
          expectClose(
            expected({ advantages: none, kl, ref_logps, kl_bias_correction: true }),
            forwards,
            tolerance * 10,
            `bias-corrected ${kl}`,
          );
      },
    },
    {
      name: 'Σ_v g = 0 with every term on',
      check: (run, random, precision) => {
        for (const V of [1, 2, 97, 1500]) {
          const args = {
            ...computed(random, { N: 40, C: 5, V }, 'clip', 'exact', 'token'),
            d_bias: filled([V], 0),
          };
          const g = column(run(OP, args), 'd_bias');
          const size = g.reduce((s, value) => s + Math.abs(value), 0);
          expect(Math.abs(g.reduce((s, value) => s + value, 0)) / Math.max(size, 1e-3)).toBeLessThan(
            precision === 'float64' ? 1e-12 : 2e-5,
          );
        }
      },
    },
    {
      name: 'a row has the same bits whatever rows it is called with, and gradients add up',
      check: (run, random) => {
        const N = 330,
          C = 13,
          V = 1100;
        const { d_weight: _, d_bias: __, ...args } = computed(random, { N, C, V }, 'clip', 'exact', 'token');
        const zeros = { d_weight: filled([V, C], 0), d_bias: filled([V], 0) };
        const whole = run(OP, { ...args, ...zeros });
        const part = (begin: number, end: number): CaseArgs =>
          Object.fromEntries(
            Object.entries(args).map(([name, value]) => {
              if (typeof value !== 'object' || value.shape[0] !== N) return [name, value];
              const width = value.data.length / N;
              return [
                name,
                {
                  data: value.data.slice(begin * width, end * width),
                  shape: [end - begin, ...value.shape.slice(1)],
                } as RealTensor,
              ];
            }),
          );
        let d_weight: RealTensor = zeros.d_weight;
        for (const [begin, end] of [
          [0, 1],
          [1, 100],
          [100, 101],
          [101, 330],
        ] as const) {
          const piece = run(OP, { ...part(begin, end), d_weight, d_bias: filled([V], 0) });
          d_weight = { data: column(piece, 'd_weight'), shape: [V, C] };
          for (const name of [
            'logps',
            'entropy',
            'max_prob',
            'argmax',
            'lse',
            'kl_out',
            'ratio',
            'losses',
            'clipped',
          ])
            expect(column(piece, name), name).toEqual(column(whole, name).slice(begin, end));
          expect(column(piece, 'd_hidden'), 'd_hidden').toEqual(
            column(whole, 'd_hidden').slice(begin * C, end * C),
          );
        }
        expectClose(d_weight.data, column(whole, 'd_weight'), 1e-5, 'd_weight'); // the harness hands it back in float32
      },
    },
    {
      name: 'a sequence gives the same whatever batch it is in',
      check: (run, random, precision) => {
        const N = 24,
          C = 5,
          V = 12;
        const {
          d_weight: _,
          d_bias: __,
          ...args
        } = computed(random, { N, C, V }, 'clip', 'k3', 'sequence', { offsets: ints(0, 9, N) });
        const whole = run(OP, args);
        const first = run(OP, {
          ...Object.fromEntries(
            Object.entries(args).map(([name, value]) => {
              if (typeof value !== 'object' || value.shape[0] !== N) return [name, value];
              return [
                name,
                {
                  data: value.data.slice(0, 9 * (value.data.length / N)),
                  shape: [9, ...value.shape.slice(1)],
                } as RealTensor,
              ];
            }),
          ),
          offsets: ints(0, 9),
        });
        for (const name of ['logps', 'ratio', 'losses', 'clipped'])
          expect(column(first, name), name).toEqual(column(whole, name).slice(0, 9));
        expectClose(
          column(first, 'd_hidden'),
          column(whole, 'd_hidden').slice(0, 9 * C),
          precision === 'float64' ? 0 : 1e-6,
          'd_hidden',
        );
        expect(new Set(column(first, 'ratio')).size, 'ignored rows have ratio 1, the others one value').toBe(
          2,
        );
      },
    },
    {
      name: 'ignored rows change nothing, whatever they hold',
      check: (run, random) => {
        const args = computed(random, { N: 20, C: 5, V: 12 }, 'clip', 'k3', 'token');
        const before = run(OP, args);
        const spoiled = { ...args };
        for (const name of ['advantages', 'old_logps', 'ref_logps', 'weights']) {
          const data = real(args, name)!.slice();
          (args['targets'] as IntTensor).data.forEach((y, n) => {
            if (y === IGNORED) data[n] = Number.NaN;
          });
          spoiled[name] = { data, shape: [20] };
        }
        const after = run(OP, spoiled);
        for (const name of Object.keys(before))
          expect(column(after, name), name).toEqual(column(before, name));
      },
    },
    {
      name: 'large ratios and k3 spikes stay finite',
      check: (run, random) => {
        const args = computed(random, { N: 10, C: 5, V: 12 }, 'clip', 'k3', 'token');
        args['old_logps'] = filled([10], -500);
        args['ref_logps'] = filled([10], 400);
        const result = run(OP, args);
        for (const name of Object.keys(result))
          expect(column(result, name).every(Number.isFinite), name).toBe(true);
      },
    },
    {
      name: 'a masked target in a call with coefficients: log-prob −∞, everything else finite, zero coefficients cost nothing',
      check: (run, random) => {
        const args = withCoefficients(random, { N: 4, C: 3, V: 6 });
        (args['bias'] as RealTensor).data[2] = -Infinity;
        (args['targets'] as IntTensor).data.set([2, 2, 1, 0]);
        real(args, 'coefficients')!.set([0, 0.5, 1, 1]);
        const result = run(OP, args);
        expect([...column(result, 'logps')].map((value) => value === -Infinity)).toEqual([
          true,
          true,
          false,
          false,
        ]);
        expect(Number.isFinite(column(result, 'losses')[0]!)).toBe(true);
        expect(column(result, 'losses')[1]).toBe(Infinity);
        for (const name of ['entropy', 'd_hidden', 'd_weight', 'd_bias', 'lse', 'max_prob'])
          expect(column(result, name).every(Number.isFinite), name).toBe(true);
      },
    },
    {
      name: 'd_weight over 1,000 chunks of rows does not lose precision',
      check: (run, random, precision) => {
        // Same-signed contributions, the worst case for a running sum: a float32 sum over single rows would
        // be off by 1e-5.
        const N = 64_000,
          C = 3,
          V = 5;
        const args: CaseArgs = {
          hidden: { data: random.normal([N, C], 0.3, 1).data, shape: [N, C] },
          weight: random.normal([V, C], 0.1),
          targets: { data: new Int32Array(N).fill(2), shape: [N] },
          coefficients: { data: Float64Array.from({ length: N }, () => 0.5 + random.uniform()), shape: [N] },
        };
        const once = column(run(OP, { ...args, d_weight: filled([V, C], 0) }), 'd_weight');
        let d_weight = filled([V, C], 0);
        for (let begin = 0; begin < N; begin += 64)
          d_weight = {
            data: column(
              run(OP, {
                hidden: { data: real(args, 'hidden')!.slice(begin * C, (begin + 64) * C), shape: [64, C] },
                weight: args['weight']!,
                targets: { data: new Int32Array(64).fill(2), shape: [64] },
                coefficients: { data: real(args, 'coefficients')!.slice(begin, begin + 64), shape: [64] },
                d_weight,
              }),
              'd_weight',
            ),
            shape: [V, C],
          };
        const expected = oracle(rounded(args)).d_weight;
        const error = (actual: Float64Array) =>
          Math.sqrt(
            actual.reduce((s, value, i) => s + (value - expected[i]!) ** 2, 0) /
              expected.reduce((s, value) => s + value * value, 0),
          );
        expect(error(once), 'one call').toBeLessThan(precision === 'float64' ? 1e-12 : 1e-6);
        expect(error(d_weight.data), '1,000 calls').toBeLessThan(2e-6); // handed back in float32
      },
    },
  ],
  refused: [
    refusal('weight of another width', { weight: f32([4, 3]) }, 'ERR_SHAPE', 'weight'),
    refusal(
      'an empty vocabulary',
      { weight: f32([0, 2]), targets: Int32Array.of(-100, -100, -100) },
      'ERR_SHAPE',
      'at least one row',
    ),
    refusal('targets of another length', { targets: Int32Array.of(0, 1) }, 'ERR_SHAPE', 'targets'),
    refusal('real targets', { targets: three(0, 1, 2) }, 'ERR_DTYPE', 'targets must be int32'),
    refusal(
      'a target beyond the vocabulary',
      { targets: Int32Array.of(0, 4, 1) },
      'ERR_INVALID_ARG',
      'in [0, 4), got 4 in row 1',
    ),
    refusal('a negative target', { targets: Int32Array.of(0, 1, -1) }, 'ERR_INVALID_ARG', 'got -1 in row 2'),
    refusal(
      'a NaN coefficient',
      { coefficients: three(0, NaN, 1) },
      'ERR_INVALID_ARG',
      'coefficients must be finite, got nan in row 1',
    ),
    refusal(
      'an infinite entropy coefficient',
      { entropy_coefficients: three(0, 1, Infinity) },
      'ERR_INVALID_ARG',
      'entropy_coefficients must be finite, got inf in row 2',
    ),
    refusal(
      'an infinite advantage',
      { loss: 'clip', advantages: three(-Infinity, 0, 1) },
      'ERR_INVALID_ARG',
      'advantages must be finite, got -inf in row 0',
    ),
    refusal(
      'a NaN old log-prob',
      { loss: 'clip', advantages: three(0, 0, 1), old_logps: three(0, NaN, 1) },
      'ERR_INVALID_ARG',
      'old_logps must be finite, got nan in row 1',
    ),
    refusal(
      'a NaN reference log-prob',
      { loss: 'clip', advantages: three(0, 0, 1), beta: 1, ref_logps: three(NaN, 0, 1) },
      'ERR_INVALID_ARG',
      'ref_logps must be finite',
    ),
    refusal(
      'a NaN weight',
      { loss: 'cispo', advantages: three(0, 0, 1), weights: three(0, 0, NaN) },
      'ERR_INVALID_ARG',
      'weights must be finite, got nan in row 2',
    ),
    refusal(
      'clip without advantages',
      { loss: 'clip' },
      'ERR_INVALID_ARG',
      "advantages of shape (N) are required by loss 'clip'",
    ),
    refusal(
      'advantages without a loss',
      { advantages: three(0, 1, 2) },
      'ERR_INVALID_ARG',
      "advantages is not used by loss 'coefficients'",
    ),
    refusal('weights without a loss', { weights: three(0, 1, 2) }, 'ERR_INVALID_ARG', 'weights is not used'),
    refusal('clip flags without a loss', { clipped: true }, 'ERR_INVALID_ARG', 'clipped is not used'),
    refusal(
      'coefficients beside a loss',
      { loss: 'clip', advantages: three(0, 1, 2), coefficients: three(0, 1, 2) },
      'ERR_INVALID_ARG',
      'coefficients is not used',
    ),
    refusal(
      'beta beside coefficients',
      { coefficients: three(0, 1, 2), beta: 0.1 },
      'ERR_INVALID_ARG',
      'beta needs loss',
    ),
    refusal(
      'entropy_coef beside coefficients',
      { coefficients: three(0, 1, 2), entropy_coef: 0.1 },
      'ERR_INVALID_ARG',
      'give entropy_coefficients',
    ),
    refusal('gradients of nothing', { d_hidden: true }, 'ERR_INVALID_ARG', 'gradients need coefficients'),
    refusal(
      'beta without a reference',
      { loss: 'clip', advantages: three(0, 1, 2), beta: 0.1 },
      'ERR_INVALID_ARG',
      'need ref_logps',
    ),
    refusal('kl_out without a reference', { kl_out: true }, 'ERR_INVALID_ARG', 'need ref_logps'),
    refusal(
      'exact KL without the reference model',
      { kl: 'exact', kl_out: true },
      'ERR_INVALID_ARG',
      'needs ref_hidden and ref_weight',
    ),
    refusal(
      'half a reference model',
      { kl: 'exact', ref_hidden: f32([3, 2]) },
      'ERR_INVALID_ARG',
      'go together',
    ),
    refusal(
      'a reference model for k3',
      { ref_hidden: f32([3, 2]), ref_weight: f32([4, 2]) },
      'ERR_INVALID_ARG',
      'ref_hidden is not used',
    ),
    refusal(
      'a reference vocabulary of another size',
      { kl: 'exact', ref_hidden: f32([3, 2]), ref_weight: f32([5, 2]) },
      'ERR_SHAPE',
      'ref_weight',
    ),
    refusal(
      'bias correction of the exact KL',
      {
        loss: 'clip',
        advantages: three(0, 1, 2),
        kl: 'exact',
        beta: 1,
        kl_bias_correction: true,
        ref_hidden: f32([3, 2]),
        ref_weight: f32([4, 2]),
      },
      'ERR_INVALID_ARG',
      'has no bias',
    ),
    refusal(
      'sequences without offsets',
      { loss: 'clip', advantages: three(0, 1, 2), importance: 'sequence' },
      'ERR_INVALID_ARG',
      'offsets of shape (S+1) are required',
    ),
    refusal(
      'sequence level with coefficients',
      { coefficients: three(0, 1, 2), importance: 'sequence', offsets: Int32Array.of(0, 3) },
      'ERR_INVALID_ARG',
      "importance 'sequence' or 'product' needs loss",
    ),
    refusal(
      'offsets at token level',
      { offsets: Int32Array.of(0, 3) },
      'ERR_INVALID_ARG',
      'offsets is not used',
    ),
    refusal(
      'offsets that leave rows out',
      { loss: 'clip', advantages: three(0, 1, 2), importance: 'sequence', offsets: Int32Array.of(0, 2) },
      'ERR_INVALID_ARG',
      'from 0 to the 3 rows',
    ),
    refusal(
      'offsets that descend',
      {
        loss: 'clip',
        advantages: three(0, 1, 2),
        importance: 'sequence',
        offsets: Int32Array.of(0, 2, 1, 3),
      },
      'ERR_INVALID_ARG',
      'must ascend, got 1 after 2',
    ),
    refusal('temperature 0', { temperature: 0 }, 'ERR_INVALID_ARG', 'temperature must be positive'),
    refusal('a NaN temperature', { temperature: NaN }, 'ERR_INVALID_ARG', 'temperature must be positive'),
    refusal(
      'epsilon_low above 1',
      { loss: 'clip', advantages: three(0, 1, 2), epsilon_low: 1.5 },
      'ERR_INVALID_ARG',
      'epsilon_low',
    ),
    refusal(
      'a negative epsilon_high',
      { loss: 'clip', advantages: three(0, 1, 2), epsilon_high: -0.1 },
      'ERR_INVALID_ARG',
      'epsilon_high',
    ),
    refusal(
      'an infinite beta',
      { loss: 'clip', advantages: three(0, 1, 2), beta: Infinity, ref_logps: three(0, 0, 0) },
      'ERR_INVALID_ARG',
      'beta must be finite',
    ),
    refusal(
      'delta below the clip',
      { loss: 'clip', advantages: three(0, 1, 2), delta: 1.1 },
      'ERR_INVALID_ARG',
      'delta must be 0 (no cap) or at least 1 + epsilon_high',
    ),
    refusal(
      'delta for cispo',
      { loss: 'cispo', advantages: three(0, 1, 2), delta: 2 },
      'ERR_INVALID_ARG',
      "delta needs loss 'clip'",
    ),
    refusal(
      'a NaN bias',
      { bias: three(0, NaN, 0, 0) },
      'ERR_INVALID_ARG',
      'bias must be finite or -Infinity',
    ),
    refusal(
      'a mask of everything',
      { bias: three(-Infinity, -Infinity, -Infinity, -Infinity) },
      'ERR_INVALID_ARG',
      'masks every token',
    ),
    refusal(
      'a masked target in a loss',
      { loss: 'clip', advantages: three(0, 1, 2), bias: three(0, -Infinity, 0, 0) },
      'ERR_INVALID_ARG',
      'target 1 of row 1 is masked',
    ),
    refusal(
      'a mask of the reference alone',
      {
        kl: 'exact',
        kl_out: true,
        ref_hidden: f32([3, 2]),
        ref_weight: f32([4, 2]),
        ref_bias: three(0, 0, -Infinity, 0),
      },
      'ERR_INVALID_ARG',
      'ref_bias masks token 2',
    ),
    {
      name: 'an output that is an input',
      args: () => {
        const data = new Float32Array(3).fill(1);
        return small({ coefficients: data, logps: data });
      },
      code: 'ERR_INVALID_ARG',
      message: 'overlaps',
    },
    {
      name: 'd_hidden inside hidden',
      args: () => {
        const hidden = f32([3, 2]);
        return small({ hidden, coefficients: three(0, 1, 2), d_hidden: hidden });
      },
      code: 'ERR_INVALID_ARG',
      message: 'overlaps',
    },
    {
      name: 'two outputs in one buffer',
      args: () => {
        const data = new Float32Array(5);
        return small({ logps: { data, shape: [3] }, entropy: { data, shape: [3], offset: 2 } });
      },
      code: 'ERR_INVALID_ARG',
      message: 'overlaps',
    },
  ],
  bench: [
    benchmark(
      2048,
      512,
      50304,
      { d_hidden: true, d_weight: filled([50304, 512], 0) },
      'forward and backward',
    ),
    benchmark(2048, 512, 50304, { d_weight: filled([50304, 512], 0) }, 'd_weight only'),
    benchmark(2048, 512, 50304, {}, 'forward only'),
    benchmark(2048, 256, 2048, { d_hidden: true, d_weight: filled([2048, 256], 0) }, 'forward and backward'),
    benchmark(2048, 64, 256, { d_hidden: true, d_weight: filled([256, 64], 0) }, 'forward and backward'),
  ],
});
