/**
 * What one update of a policy must be, written down a second time: TRL's formulas (grpo_trainer.py at
 * f2cd577; docs/training.md) in double and in the plainest form, one completion after the other. Nothing of
 * src/rl computes here.
 */
import { LOSS_TYPES, lossDefaults, lossParameters, policyLossOf } from '../../../src/policy/losses.js';
import type { ResolvedGRPOConfig } from '../../../src/rl/config/config.js';
import { LOSS_FORMULAS } from '../../policy/lossFormulas.js';

/** One array per completion that is not masked, one number per token of it; [] for a masked completion. */
export type Tokens = readonly (readonly number[])[];

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const mean = (values: readonly number[]): number => sum(values) / values.length;
/** With n − 1. */
const std = (values: readonly number[]): number =>
  Math.sqrt(sum(values.map((x) => (x - mean(values)) ** 2)) / (values.length - 1));
const isNumber = (value: number | null): value is number => value !== null;

/** Each completion's advantage from its reward; null: no reward function had an opinion. */
export function advantagesOf(rewards: readonly (number | null)[], c: ResolvedGRPOConfig): number[] {
  const clip = (r: number) =>
    c.rewardClipRange ? Math.min(Math.max(r, c.rewardClipRange[0]), c.rewardClipRange[1]) : r;
  const clipped = rewards.map((r) => (r === null ? null : clip(r)));
  const batch = clipped.filter(isNumber);
  const advantages = clipped.map((reward, i) => {
    if (reward === null) return null;
    const begin = i - (i % c.numGenerations);
    const group = clipped.slice(begin, begin + c.numGenerations).filter(isNumber);
    switch (c.advantageEstimator) {
      case 'grpo': {
        const scale = { group: std(group) + 1e-4, batch: std(batch) + 1e-4, none: 1 }[c.scaleRewards];
        return (reward - mean(group)) / scale;
      }
      case 'rloo':
        return reward - (sum(group) - reward) / (group.length - 1);
      case 'reinforce':
        return c.reinforceBaseline === 'none' ? reward : reward - mean(batch);
      default:
        return reward;
    }
  });
  if (!c.normalizeAdvantages) return advantages.map((a) => a ?? 0);
  const scored = advantages.filter(isNumber);
  return advantages.map((a) => (a === null ? 0 : (a - mean(scored)) / (std(scored) + 1e-4)));
}

/** The weight of each token of completion s in the step's loss. */
function tokenWeight(lengths: readonly number[], s: number, c: ResolvedGRPOConfig): number {
  const size = c.perDeviceTrainBatchSize;
  switch (LOSS_TYPES[c.lossType].average) {
    case 'completion':
      return 1 / lengths.length / Math.max(lengths[s]!, 1);
    case 'maxLength':
      return 1 / (lengths.length * c.maxCompletionLength);
    case 'microBatch': {
      const begin = s - (s % size);
      const microBatch = lengths.slice(begin, begin + size);
      return 1 / (lengths.length / size) / Math.max(sum(microBatch), 1);
    }
    case 'step':
      return 1 / sum(lengths);
  }
}

/** What the update is about. */
export interface Given {
  /** Per token. */
  readonly advantages: Tokens;
  /** Of the model before this update. */
  readonly logps: Tokens;
  readonly entropies: Tokens;
  /** Of the model before the first update of the batch. */
  readonly oldLogps: Tokens;
  /** For a KL term. */
  readonly refLogps?: Tokens;
  /** Of the entropy bonus in this update. */
  readonly entropyCoef: number;
  /** 0: the token trains neither the policy nor the bonus. Absent: all do. */
  readonly mask?: Tokens;
}

export interface Expected {
  readonly loss: number;
  readonly policyLoss: number;
  /** Mean of the penalty over tokens, before beta. */
  readonly kl: number;
  /** Share of tokens (or, with one ratio per completion, of completions) stopped below, and above. */
  readonly clippedLow: number;
  readonly clippedHigh: number;
  /** −∂L/∂ log π of each token. */
  readonly coefficients: Tokens;
  /** −∂L/∂H of each token. */
  readonly entropyCoefficients: Tokens;
}

/** An estimator k of the KL divergence at d = log π − log π_ref, and dk/dd. */
function klAt(d: number, estimator: ResolvedGRPOConfig['klEstimator']): [number, number] {
  switch (estimator) {
    case 'k1':
      return [d, 1];
    case 'k2':
      return [(d * d) / 2, d];
    default:
      return [Math.exp(-d) + d - 1, 1 - Math.exp(-d)];
  }
}

export function expectedUpdate(given: Given, c: ResolvedGRPOConfig): Expected {
  const { logps, oldLogps, entropies, advantages, refLogps, mask, entropyCoef } = given;
  const lengths = logps.map((row) => row.length);
  const level = c.importanceSamplingLevel;
  const parameters = {
    ...lossDefaults,
    ...lossParameters(c.lossType, c),
    epsilonLow: c.epsilon,
    epsilonHigh: c.epsilonHigh ?? c.epsilon,
    delta: c.delta ?? 0,
  };
  const lossKl = c.beta > 0 && !c.klInReward ? refLogps : undefined;
  const kls: number[] = [];
  const sides: number[][] = [];
  let policyLoss = 0;

  const coefficients = logps.map((row, s) => {
    const w = tokenWeight(lengths, s, c);
    const logRatios = row.map((logp, t) => logp - oldLogps[s]![t]!);
    // How the ratio of a token moves with the log-probability of token u of its completion, over the ratio.
    const share = { token: 0, sequence: 1 / row.length, product: 1 }[level];
    const ratios = logRatios.map((x) =>
      Math.exp(level === 'token' ? x : level === 'product' ? sum(logRatios) : mean(logRatios)),
    );
    const slopes = row.map(() => 0);
    sides[s] = [];
    for (const [t, logp] of row.entries()) {
      const kept = mask ? mask[s]![t]! : 1;
      const A = advantages[s]![t]! * kept;
      const ratio = ratios[t]!;
      // d ratio of t → every token of the completion, or t itself.
      const addThroughRatio = (slope: number) => {
        if (level === 'token') slopes[t]! += slope * ratio;
        else for (let u = 0; u < row.length; ++u) slopes[u]! += slope * ratio * share;
      };
      const policy = LOSS_FORMULAS[policyLossOf(c.lossType).name].of(
        { ratio, advantage: A, logp },
        parameters,
      );
      policyLoss += w * policy.value;
      slopes[t]! += w * policy.byLogp;
      addThroughRatio(w * policy.byRatio);
      sides[s]!.push(policy.clipped);
      if (!lossKl) continue;
      const [kl, slope] = klAt(logp - lossKl[s]![t]!, c.klEstimator);
      const biasCorrection = c.useBiasCorrectionKl ? ratio : 1;
      kls.push(biasCorrection * kl);
      policyLoss += w * c.beta * biasCorrection * kl;
      slopes[t]! += w * c.beta * biasCorrection * slope;
      if (c.useBiasCorrectionKl) addThroughRatio(w * c.beta * kl);
    }
    return slopes.map((slope) => -slope);
  });

  const entropyCoefficients = bonusCoefficients(lengths, entropyCoef, mask, c);
  const bonus = sum(entropies.flatMap((row, s) => row.map((h, t) => h * entropyCoefficients[s]![t]!)));
  const trained = sides.filter((row) => row.length > 0);
  const share = (side: number) => {
    const flags = trained.map((row) => row.map((x) => (x === side ? 1 : 0)));
    return mean(level === 'token' ? flags.flat() : flags.map((row) => mean(row)));
  };
  return {
    loss: policyLoss - bonus,
    policyLoss,
    kl: kls.length === 0 ? 0 : mean(kls),
    clippedLow: share(-1),
    clippedHigh: share(1),
    coefficients,
    entropyCoefficients,
  };
}

/**
 * The bonus is the mean entropy of the tokens that the mask leaves: over the step, for bnpo over each
 * micro-batch. dapo and cispo divide by all tokens, masked ones too.
 */
function bonusCoefficients(
  lengths: readonly number[],
  entropyCoef: number,
  mask: Tokens | undefined,
  c: ResolvedGRPOConfig,
): Tokens {
  const rows = lengths.map((length, s) => mask?.[s] ?? new Array<number>(length).fill(1));
  const { average } = LOSS_TYPES[c.lossType];
  const counts = average === 'step' ? lengths : rows.map(sum);
  return rows.map((row, s) => {
    const meanOverTokens =
      average === 'microBatch' ? tokenWeight(counts, s, c) : 1 / Math.max(sum(counts), 1);
    return row.map((kept) => kept * entropyCoef * meanOverTokens);
  });
}

/** Discounted sums of each token's reward, then mean 0 and variance 1 over the scorable tokens. */
export function whitened(values: Tokens, scorable: readonly boolean[]): Tokens {
  const counted = values.filter((_, s) => scorable[s]).flat();
  const scale = Math.sqrt(std(counted) ** 2 + 1e-8);
  return values.map((row, s) => row.map((x) => (scorable[s] ? (x - mean(counted)) / scale : 0)));
}

/** r_t = −beta · kl_t, and the completion's reward on its last token. */
export function rewardsOfTokens(rewards: readonly (number | null)[], kl: Tokens, beta: number): Tokens {
  return kl.map((row, s) =>
    row.map((value, t) => -beta * value + (t === row.length - 1 ? (rewards[s] ?? 0) : 0)),
  );
}

/** GAE by its definition, as a sum over the tokens that follow. */
export function gae(rewards: Tokens, values: Tokens, gamma: number, lam: number): Tokens {
  return rewards.map((row, s) =>
    row.map((_, t) => {
      const value = (u: number) => (u < row.length ? values[s]![u]! : 0);
      return sum(
        row.slice(t).map((r, i) => {
          const u = t + i;
          return (gamma * lam) ** i * (r + gamma * value(u + 1) - value(u));
        }),
      );
    }),
  );
}

/** PPO's value function V = w·φ + b, its clipped loss, and how they learn. */
export class ExpectedValueHead {
  weight: number[];
  readonly #optimizer: ExpectedAdamW;
  /** Of the batch: V before its first update, and what V should have been. */
  #old: readonly number[] = [];
  #returns: readonly number[] = [];

  constructor(hiddenSize: number) {
    this.weight = new Array<number>(hiddenSize + 1).fill(0);
    this.#optimizer = new ExpectedAdamW(hiddenSize + 1);
  }

  /** One number per row of features. */
  values(features: readonly (readonly number[])[]): number[] {
    return features.map((phi) => this.weight.at(-1)! + sum(phi.map((x, i) => x * this.weight[i]!)));
  }

  beginBatch(old: readonly number[], returns: readonly number[]): void {
    this.#old = old;
    this.#returns = returns;
  }

  /**
   * ½ mean of the larger of (V − R)² and (V clipped to V_old ± cliprangeValue − R)², and its gradient by V.
   */
  loss(features: readonly (readonly number[])[], c: ResolvedGRPOConfig) {
    const terms = this.values(features).map((v, n) => {
      const target = this.#returns[n]!;
      const old = this.#old[n]!;
      const clipped = Math.min(Math.max(v, old - c.cliprangeValue), old + c.cliprangeValue);
      const isClipped = (clipped - target) ** 2 > (v - target) ** 2;
      return {
        loss: 0.5 * Math.max((v - target) ** 2, (clipped - target) ** 2),
        isClipped,
        slope: isClipped ? 0 : v - target,
      };
    });
    return {
      loss: mean(terms.map((term) => term.loss)),
      clipFraction: mean(terms.map((term) => (term.isClipped ? 1 : 0))),
      /** Of vfCoef times the loss. */
      gradient: terms.map((term) => (c.vfCoef * term.slope) / terms.length),
    };
  }

  update(features: readonly (readonly number[])[], gradient: readonly number[], c: ResolvedGRPOConfig) {
    const dWeight = this.weight.map((_, i) =>
      sum(gradient.map((d, n) => d * (i < this.weight.length - 1 ? features[n]![i]! : 1))),
    );
    this.weight = this.#optimizer.update(this.weight, dWeight, c.learningRate, c.adamEpsilon);
  }
}

/** torch.quantile. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = q * (sorted.length - 1);
  const below = sorted[Math.floor(at)]!;
  const above = sorted[Math.ceil(at)]!;
  return below + (above - below) * (at - Math.floor(at));
}

/** torch.optim.AdamW without weight decay, for one array of parameters; moments start at 0. */
export class ExpectedAdamW {
  readonly #m: number[];
  readonly #v: number[];
  #step = 0;
  constructor(size: number) {
    this.#m = new Array<number>(size).fill(0);
    this.#v = new Array<number>(size).fill(0);
  }
  update(weights: readonly number[], gradient: readonly number[], lr: number, eps: number): number[] {
    const step = ++this.#step;
    return weights.map((p, i) => {
      const g = gradient[i]!;
      this.#m[i] = 0.9 * this.#m[i]! + 0.1 * g;
      this.#v[i] = 0.999 * this.#v[i]! + 0.001 * g * g;
      const m = this.#m[i]! / (1 - 0.9 ** step);
      const v = this.#v[i]! / (1 - 0.999 ** step);
      return p - (lr * m) / (Math.sqrt(v) + eps);
    });
  }
}
