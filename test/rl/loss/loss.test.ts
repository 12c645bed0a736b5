import { beforeAll, describe, expect, it } from 'vitest';

import { Random } from '../../../src/core/random.js';
import type { GradientOptions, Model, Sample } from '../../../src/index.js';
import { type ResolvedGRPOConfig, resolveConfig } from '../../../src/rl/config/config.js';
import type { GRPOConfig } from '../../../src/rl/index.js';
import { perToken, planLoss, sequenceWeights } from '../../../src/rl/loss/loss.js';
import { lossMetrics } from '../../../src/rl/run/metrics.js';
import { tinyModel, VOCABULARY } from '../helpers.js';

const random = new Random(11);
const PROMPT = 2;
/** Completion lengths; sequence 3 is masked. */
const FULL = [3, 1, 5, 4, 2, 6, 3, 2];
const LENGTHS = FULL.map((length, s) => (s === 3 ? 0 : length));
const all: Sample[] = FULL.map((length) => ({
  inputIds: Array.from({ length: PROMPT + length }, () => random.integer(VOCABULARY)),
  scoreFrom: PROMPT,
}));
const samples = all.filter((_, s) => LENGTHS[s]! > 0);
const advantages = all.map((_, s) => (s % 2 === 0 ? -1 : 1) * (0.2 + random.uniform()));
const noise = () => 2 * (random.uniform() - 0.5);

/**
 * TRL's _compute_loss (f2cd577) in its own order, on padded [B, T] arrays in double, micro-batch after
 * micro-batch.
 */
function trlLoss(
  c: ResolvedGRPOConfig,
  logps: number[][],
  entropies: number[][],
  old: number[][],
  ref: number[][],
): number {
  const T = Math.max(...FULL);
  const pad = (rows: number[][]) => rows.map((row) => Array.from({ length: T }, (_, t) => row[t] ?? 0));
  const mask = LENGTHS.map((length) => Array.from({ length: T }, (_, t) => (t < length ? 1 : 0)));
  const [lp, h, lo, lr] = [pad(logps), pad(entropies), pad(old), pad(ref)];
  const accumulation = FULL.length / c.perDeviceTrainBatchSize;
  const total = mask.flat().reduce<number>((a, b) => a + b, 0);
  let sum = 0;
  for (let begin = 0; begin < FULL.length; begin += c.perDeviceTrainBatchSize) {
    const rows = Array.from({ length: c.perDeviceTrainBatchSize }, (_, i) => begin + i);
    const perToken = rows.map((s) => {
      const active = Math.max(
        mask[s]!.reduce<number>((a, b) => a + b, 0),
        1,
      );
      const logRatio = lp[s]!.map((x, t) => x - lo[s]![t]!);
      const total = logRatio.reduce((a, x, t) => a + x * mask[s]![t]!, 0);
      return logRatio.map((x, t) => {
        const ratio = Math.exp(
          c.importanceSamplingLevel === 'token'
            ? x
            : c.importanceSamplingLevel === 'sequence'
              ? total / active
              : total,
        );
        const coef1 = Math.min(ratio, c.delta ?? Infinity);
        const A = advantages[s]!;
        const high = c.epsilonHigh ?? c.epsilon;
        let loss =
          c.lossType === 'cispo'
            ? -Math.min(coef1, high) * A * lp[s]![t]!
            : -Math.min(coef1 * A, Math.min(Math.max(ratio, 1 - c.epsilon), 1 + high) * A);
        const d = lp[s]![t]! - lr[s]![t]!;
        if (c.beta > 0)
          loss +=
            (c.useBiasCorrectionKl ? ratio : 1) *
            c.beta *
            (c.klEstimator === 'k1' ? d : c.klEstimator === 'k2' ? (d * d) / 2 : Math.exp(-d) + d - 1);
        return loss;
      });
    });
    const masked = (values: number[][]) =>
      rows.map((s, i) => values[i]!.reduce((a, x, t) => a + x * mask[s]![t]!, 0));
    const counts = rows.map((s) => mask[s]!.reduce<number>((a, b) => a + b, 0));
    const add = (values: number[]) => values.reduce((a, b) => a + b, 0);
    const tokens = Math.max(add(counts), 1);
    let normalizer = accumulation;
    let loss: number;
    switch (c.lossType) {
      case 'grpo':
        loss = add(masked(perToken).map((x, i) => x / Math.max(counts[i]!, 1))) / rows.length / normalizer;
        break;
      case 'bnpo':
        loss = add(masked(perToken)) / tokens / normalizer;
        break;
      case 'dr_grpo':
        loss = add(masked(perToken)) / (rows.length * c.maxCompletionLength) / normalizer;
        break;
      default:
        normalizer = total;
        loss = add(masked(perToken)) / normalizer;
    }
    const entropySum = add(masked(rows.map((s) => h[s]!)));
    // For dr_grpo, grpo and bnpo TRL averages within the micro-batch; over a step that is the step's mean
    // when they are equally long.
    const entropy =
      c.lossType === 'dapo' || c.lossType === 'cispo'
        ? entropySum / normalizer
        : c.lossType === 'bnpo'
          ? entropySum / tokens / normalizer
          : entropySum / total;
    sum += loss - c.entropyCoef * entropy;
  }
  return sum;
}

let model: Model;
let old: number[][];
let ref: number[][];
beforeAll(async () => {
  model = await tinyModel({ math: 'fp64' });
  // The classifier starts near 0: make the distribution uneven.
  const w = await model.getParameter('lm_head.weight');
  await model.setParameter(
    'lm_head.weight',
    Float64Array.from(w, () => 1.5 * (random.uniform() - 0.5)),
  );
  const { logps } = await split();
  [old, ref] = [logps, logps].map((rows) => rows.map((row) => row.map((x) => x + noise()))) as [
    number[][],
    number[][],
  ];
});

async function split() {
  const { logps, entropy } = await model.score(samples, { temperature: 1 });
  let n = 0;
  const rows = LENGTHS.map((length) => [n, (n += length)] as const);
  const cut = (x: ArrayLike<number>) => rows.map(([a, b]) => Array.from(x).slice(a, b));
  return { logps: cut(logps), entropies: cut(entropy) };
}

const cases: GRPOConfig[] = (['grpo', 'bnpo', 'dr_grpo', 'dapo', 'cispo'] as const).flatMap((lossType) =>
  (['token', 'sequence', 'product'] as const).map((importanceSamplingLevel) => ({
    lossType,
    importanceSamplingLevel,
  })),
);
cases.push(
  ...(['k1', 'k2', 'k3'] as const).map((klEstimator) => ({
    lossType: 'grpo' as const,
    beta: 0.3,
    klEstimator,
  })),
);
cases.push(
  ...(['grpo', 'bnpo', 'dr_grpo', 'dapo', 'cispo'] as const).map((lossType) => ({
    lossType,
    beta: 0.1,
    entropyCoef: 0.2,
  })),
);
cases.push(
  { lossType: 'dapo', epsilonHigh: 0.05, epsilon: 0.3 },
  { lossType: 'grpo', delta: 1.3 },
  { lossType: 'dapo', delta: 1.3, importanceSamplingLevel: 'sequence' },
);
cases.push(
  ...(['k1', 'k2', 'k3'] as const).map((klEstimator) => ({
    lossType: 'bnpo' as const,
    beta: 0.3,
    klEstimator,
    useBiasCorrectionKl: true,
  })),
);

describe('the loss equals TRL’s formula in double', () => {
  it.each(cases)('%j: value and gradient', async (options) => {
    const c = resolveConfig('GRPOConfig', {
      perDeviceTrainBatchSize: 4,
      gradientAccumulationSteps: 2,
      numGenerations: 4,
      maxCompletionLength: 7,
      ...options,
    });
    const flat = (rows: number[][]) => Float32Array.from(rows.flat());
    // Single precision carries the given log-probabilities: use what the engine sees.
    const [oldRows, refRows] = [old, ref].map((rows) => rows.map((row) => row.map(Math.fround))) as [
      number[][],
      number[][],
    ];
    const plan = planLoss(
      {
        lengths: LENGTHS,
        advantages: perToken(advantages, LENGTHS),
        entropyCoef: c.entropyCoef,
        oldLogps: flat(oldRows),
        refLogps: flat(refRows),
      },
      c,
    );
    await model.zeroGradients();
    const scores = await model.accumulateGradients(samples, plan.options);
    const value = async () => {
      const { logps, entropies } = await split();
      return trlLoss(c, logps, entropies, oldRows, refRows);
    };
    const metrics = lossMetrics(scores, LENGTHS, c, plan.entropyCoefficients);
    expect(metrics['loss']).toBeCloseTo(await value(), 5);
    if (c.lossType === 'cispo') return; // its gradient is not that of its value: the ratio is held fixed
    // Scores come back in single precision, so the difference quotient needs a wide step; it still sees a
    // wrong sign, factor or mask.
    for (const name of ['lm_head.weight', 'layers.1.mlp.down.weight']) {
      const [theta, gradient] = [
        Float64Array.from(await model.getParameter(name)),
        Float64Array.from(await model.getGradient(name)),
      ];
      const direction = theta.map(() => random.uniform() - 0.5);
      const at = async (step: number) => {
        await model.setParameter(
          name,
          theta.map((x, i) => x + step * direction[i]!),
        );
        return value();
      };
      const step = 2e-3;
      const slope = ((await at(step)) - (await at(-step))) / (2 * step);
      await model.setParameter(name, theta);
      const dot = gradient.reduce((sum, g, i) => sum + g * direction[i]!, 0);
      const scale = Math.sqrt(gradient.reduce((sum, g) => sum + g * g, 0));
      expect(Math.abs(slope - dot), name).toBeLessThan(0.01 * scale + 1e-4);
    }
  });
});

describe('what the gradients of the KL estimators mean, on policy, by summing over the whole vocabulary', () => {
  const prompt = [3, 7];
  /** Σ_v p_v · ∇(estimator of token v): every token of the vocabulary is sampled with its probability. */
  async function expected(kl: 'k1' | 'k2' | 'k3', klBiasCorrection: boolean): Promise<Float64Array> {
    const each = Array.from({ length: VOCABULARY }, (_, v) => ({ inputIds: [...prompt, v], scoreFrom: 2 }));
    const [{ logps }, { logps: refLogps }] = [await model.score(each), await reference.score(each)];
    return gradientOf(each, {
      loss: 'clip',
      kl,
      klBiasCorrection,
      beta: 1,
      advantages: new Float64Array(VOCABULARY),
      weights: Float64Array.from(logps, Math.exp),
      refLogps,
    });
  }
  async function gradientOf(given: Sample[], options: GradientOptions): Promise<Float64Array> {
    await model.zeroGradients();
    await model.accumulateGradients(given, options);
    return Float64Array.from(await model.getGradient('lm_head.weight'));
  }
  let reference: Model;
  let [reverse, forward]: Float64Array[] = [];
  beforeAll(async () => {
    reference = await model.clone();
    const w = await reference.getParameter('lm_head.weight');
    await reference.setParameter(
      'lm_head.weight',
      Float64Array.from(w, (x) => x + 0.6 * noise()),
    );
    const one = [{ inputIds: [...prompt, 0], scoreFrom: 2 }];
    // KL(π‖π_ref) over the vocabulary natively; ∇KL(π_ref‖π) = −Σ_v q_v ∇log π_v.
    reverse = await gradientOf(one, {
      loss: 'clip',
      kl: 'exact',
      beta: 1,
      advantages: new Float64Array(1),
      reference,
    });
    const each = Array.from({ length: VOCABULARY }, (_, v) => ({ inputIds: [...prompt, v], scoreFrom: 2 }));
    forward = await gradientOf(each, {
      loss: 'coefficients',
      coefficients: Float64Array.from((await reference.score(each)).logps, Math.exp),
    });
  });
  const near = (a: Float64Array, b: ArrayLike<number>) => {
    const size = Math.sqrt(reverse!.reduce((sum, g) => sum + g * g, 0));
    return Math.sqrt(a.reduce((sum, g, i) => sum + (g - b[i]!) ** 2, 0)) / size;
  };
  it('the two divergences differ', () => expect(near(reverse!, forward!)).toBeGreaterThan(0.1));
  it('k1 in the loss: nothing at all', async () =>
    expect(near(await expected('k1', false), new Float64Array(reverse!.length))).toBeLessThan(1e-9));
  it('k2: KL(π‖π_ref)', async () => expect(near(await expected('k2', false), reverse!)).toBeLessThan(1e-9));
  it('k3: KL(π_ref‖π)', async () => expect(near(await expected('k3', false), forward!)).toBeLessThan(1e-9));
  it.each(['k1', 'k3'] as const)('%s with useBiasCorrectionKl: KL(π‖π_ref)', async (kl) =>
    expect(near(await expected(kl, true), reverse!)).toBeLessThan(1e-9),
  );
});

describe('invariance', () => {
  it.each([
    { lossType: 'grpo' },
    { lossType: 'dapo', beta: 0.1, entropyCoef: 0.1 },
    { lossType: 'cispo', epsilonHigh: 5 },
    { lossType: 'grpo', importanceSamplingLevel: 'sequence' },
  ] as GRPOConfig[])(
    '%j: the order of sequences and the blocks they are held in change no gradient',
    async (options) => {
      const c = resolveConfig('GRPOConfig', {
        perDeviceTrainBatchSize: 8,
        numGenerations: 4,
        maxCompletionLength: 7,
        ...options,
      });
      const gradient = async (order: number[], maxTokens?: number) => {
        const pick = (rows: number[][]) => Float32Array.from(order.flatMap((s) => rows[s]!));
        const lengths = order.map((s) => LENGTHS[s]!);
        const plan = planLoss(
          {
            lengths,
            advantages: perToken(
              order.map((s) => advantages[s]!),
              lengths,
            ),
            entropyCoef: c.entropyCoef,
            oldLogps: pick(old),
            refLogps: pick(ref),
          },
          c,
        );
        await model.zeroGradients();
        await model.accumulateGradients(
          order.filter((s) => LENGTHS[s]! > 0).map((s) => all[s]!),
          { ...plan.options, ...(maxTokens ? { maxTokens } : {}) },
        );
        return Float64Array.from(
          (await Promise.all(model.parameters().map(({ name }) => model.getGradient(name)))).flatMap((g) => [
            ...g,
          ]),
        );
      };
      const whole = await gradient([0, 1, 2, 3, 4, 5, 6, 7]);
      const norm = Math.sqrt(whole.reduce((sum, g) => sum + g * g, 0));
      for (const other of [
        await gradient([5, 3, 0, 7, 6, 1, 4, 2]),
        await gradient([0, 1, 2, 3, 4, 5, 6, 7], 8),
      ])
        expect(Math.sqrt(other.reduce((sum, g, i) => sum + (g - whole[i]!) ** 2, 0)) / norm).toBeLessThan(
          1e-6,
        );
      expect(norm).toBeGreaterThan(1e-3);
    },
  );
});

describe('normalisers', () => {
  const weights = (lossType: ResolvedGRPOConfig['lossType'], perDeviceTrainBatchSize: number) => [
    ...sequenceWeights(LENGTHS, { lossType, maxCompletionLength: 7, perDeviceTrainBatchSize }),
  ];
  it.each(['grpo', 'dr_grpo', 'dapo', 'cispo'] as const)(
    '%s does not depend on the accumulation split',
    (lossType) => {
      expect(weights(lossType, 2)).toEqual(weights(lossType, 8));
    },
  );
  it('dr_grpo counts masked sequences and not tokens', () =>
    expect(weights('dr_grpo', 8)).toEqual(LENGTHS.map(() => 1 / (8 * 7))));
  it('dapo counts active tokens of the step', () => expect(weights('dapo', 2)[0]).toBe(1 / 22));
});
