import { beforeAll, describe, expect, it } from 'vitest';

import { Random } from '../../../src/core/random.js';
import type { GradientOptions, Model, Sample } from '../../../src/index.js';
import { type ResolvedGRPOConfig, resolveConfig } from '../../../src/rl/config/config.js';
import type { GRPOConfig } from '../../../src/rl/index.js';
import {
  importanceLevels,
  klEstimators,
  LOSS_TYPES,
  lossDefaults,
  lossTypes,
  policyLossOf,
  type TokenAverage,
} from '../../../src/policy/losses.js';
import { perToken, planLoss, sequenceWeights } from '../../../src/rl/loss/loss.js';
import { lossMetrics } from '../../../src/rl/run/metrics.js';
import { LOSS_FORMULAS } from '../../policy/lossFormulas.js';
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

/** Rows of different lengths as one [B, T] array. */
type Padded = readonly (readonly number[])[];
const T = Math.max(...FULL);
const pad = (rows: number[][]): Padded => rows.map((row) => Array.from({ length: T }, (_, t) => row[t] ?? 0));
const mask = LENGTHS.map((length) => Array.from({ length: T }, (_, t) => (t < length ? 1 : 0)));
const add = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
const count = (s: number) => add(mask[s]!);
const maskedSum = (values: Padded, s: number) => add(values[s]!.map((x, t) => x * mask[s]![t]!));

/** The ratio of each token of sequence s, by the level. */
function ratios(c: ResolvedGRPOConfig, logps: Padded, old: Padded, s: number): number[] {
  const logRatio = logps[s]!.map((x, t) => x - old[s]![t]!);
  const total = add(logRatio.map((x, t) => x * mask[s]![t]!));
  const level = { token: undefined, sequence: total / Math.max(count(s), 1), product: total };
  return logRatio.map((own) => Math.exp(level[c.importanceSamplingLevel] ?? own));
}

const ESTIMATORS: Readonly<Record<string, (d: number) => number>> = {
  k1: (d) => d,
  k2: (d) => (d * d) / 2,
  k3: (d) => Math.exp(-d) + d - 1,
};

/** The loss of every token, before masks and averages. */
function tokenLosses(c: ResolvedGRPOConfig, logps: Padded, old: Padded, ref: Padded): Padded {
  const { name } = policyLossOf(c.lossType);
  const high = c.epsilonHigh ?? c.epsilon;
  const parameters = { ...lossDefaults, epsilonLow: c.epsilon, epsilonHigh: high, delta: c.delta ?? 0 };
  return logps.map((row, s) => {
    const ratio = ratios(c, logps, old, s);
    return row.map((logp, t) => {
      const token = { ratio: ratio[t]!, advantage: advantages[s]!, logp };
      const policy = LOSS_FORMULAS[name].of(token, parameters).value;
      if (c.beta === 0) return policy;
      const penalty = ESTIMATORS[c.klEstimator]!(logp - ref[s]![t]!);
      return policy + (c.useBiasCorrectionKl ? ratio[t]! : 1) * c.beta * penalty;
    });
  });
}

/** A micro-batch of TRL's: its sequences, and how many micro-batches a step has. */
interface MicroBatch {
  readonly rows: readonly number[];
  readonly accumulation: number;
  readonly config: ResolvedGRPOConfig;
}
const tokensOf = (rows: readonly number[]) => Math.max(add(rows.map(count)), 1);
const stepTokens = add(mask.flat());
/** TRL's average of a micro-batch's token losses, divided as for accumulation. */
const AVERAGES: Readonly<Record<TokenAverage, (losses: Padded, batch: MicroBatch) => number>> = {
  completion: (losses, { rows, accumulation }) =>
    add(rows.map((s) => maskedSum(losses, s) / Math.max(count(s), 1))) / rows.length / accumulation,
  microBatch: (losses, { rows, accumulation }) =>
    add(rows.map((s) => maskedSum(losses, s))) / tokensOf(rows) / accumulation,
  maxLength: (losses, { rows, accumulation, config }) =>
    add(rows.map((s) => maskedSum(losses, s))) / (rows.length * config.maxCompletionLength) / accumulation,
  step: (losses, { rows }) => add(rows.map((s) => maskedSum(losses, s))) / stepTokens,
};

/**
 * TRL's _compute_loss (f2cd577) in its own order, on padded [B, T] arrays in double, micro-batch after
 * micro-batch.
 */
function trlLoss(
  config: ResolvedGRPOConfig,
  logps: number[][],
  entropies: number[][],
  old: number[][],
  ref: number[][],
): number {
  const losses = tokenLosses(config, pad(logps), pad(old), pad(ref));
  const entropy = pad(entropies);
  const { average } = LOSS_TYPES[config.lossType];
  const size = config.perDeviceTrainBatchSize;
  const accumulation = FULL.length / size;
  let sum = 0;
  for (let begin = 0; begin < FULL.length; begin += size) {
    const rows = Array.from({ length: size }, (_, i) => begin + i);
    const entropySum = add(rows.map((s) => maskedSum(entropy, s)));
    // TRL averages the entropy within the micro-batch where it does so with the loss; over a step of
    // micro-batches of equal length that is the step's mean.
    const meanEntropy =
      average === 'microBatch' ? entropySum / tokensOf(rows) / accumulation : entropySum / stepTokens;
    sum += AVERAGES[average](losses, { rows, accumulation, config }) - config.entropyCoef * meanEntropy;
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
  const begins = LENGTHS.map((_, i) => add(LENGTHS.slice(0, i)));
  const cut = (x: ArrayLike<number>) =>
    LENGTHS.map((length, i) => Array.from(x).slice(begins[i], begins[i]! + length));
  return { logps: cut(logps), entropies: cut(entropy) };
}

const SAMPLED = klEstimators.filter((kl) => kl !== 'exact');
const cases: GRPOConfig[] = [
  ...lossTypes.flatMap((lossType) =>
    importanceLevels.map((importanceSamplingLevel) => ({ lossType, importanceSamplingLevel })),
  ),
  ...SAMPLED.map((klEstimator) => ({ lossType: 'grpo' as const, beta: 0.3, klEstimator })),
  ...lossTypes.map((lossType) => ({ lossType, beta: 0.1, entropyCoef: 0.2 })),
  { lossType: 'dapo', epsilonHigh: 0.05, epsilon: 0.3 },
  { lossType: 'grpo', delta: 1.3 },
  { lossType: 'dapo', delta: 1.3, importanceSamplingLevel: 'sequence' },
  ...SAMPLED.map((klEstimator) => ({
    lossType: 'bnpo' as const,
    beta: 0.3,
    klEstimator,
    useBiasCorrectionKl: true,
  })),
];

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
    if (!policyLossOf(c.lossType).throughRatio) return; // the gradient is not that of the value
    // Scores come back in single precision, so the difference quotient needs a wide step; it still sees a
    // wrong sign, factor or mask.
    const directions = new Random(23); // of the case alone: another loss must not move the others
    for (const name of ['lm_head.weight', 'layers.1.mlp.down.weight']) {
      const [theta, gradient] = [
        Float64Array.from(await model.getParameter(name)),
        Float64Array.from(await model.getGradient(name)),
      ];
      const direction = theta.map(() => directions.uniform() - 0.5);
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
  const splitFree = lossTypes.filter((lossType) => LOSS_TYPES[lossType].average !== 'microBatch');
  it.each(splitFree)('%s does not depend on the accumulation split', (lossType) =>
    expect(weights(lossType, 2)).toEqual(weights(lossType, 8)),
  );
  it('dr_grpo counts masked sequences and not tokens', () =>
    expect(weights('dr_grpo', 8)).toEqual(LENGTHS.map(() => 1 / (8 * 7))));
  it('dapo counts active tokens of the step', () => expect(weights('dapo', 2)[0]).toBe(1 / 22));
});
