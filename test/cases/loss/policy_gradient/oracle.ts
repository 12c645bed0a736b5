/**
 * The contract of linear_policy_gradient written down a second time, with everything materialised:
 * log-softmax by log-sum-exp, losses by their formulas, and gradients by the chain rule from ∂L/∂log p to
 * logits. It shares no line with native/.
 */
import { LOSS_FORMULAS, parametersOf } from '../../../policy/lossFormulas.js';
import type { PolicyLossName } from '../../../../src/policy/losses.js';
import type { IntTensor, RealTensor } from '../../../helpers/random.js';
import type { CaseArgs } from '../../define.js';
import { IGNORED, number, real, targetsOf, tensor, text } from './tensors.js';

type Rows = readonly Float64Array[];

/** log softmax((hidden weightᵀ + bias) / temperature), row by row. */
function logSoftmaxRows(
  hidden: RealTensor,
  weight: RealTensor,
  bias: Float64Array | undefined,
  temperature: number,
): Rows {
  const [N, C] = hidden.shape as [number, number];
  const V = weight.shape[0]!;
  return Array.from({ length: N }, (_, n) => {
    const z = Float64Array.from({ length: V }, (_, v) => {
      let sum = bias?.[v] ?? 0;
      for (let c = 0; c < C; ++c) sum += hidden.data[n * C + c]! * weight.data[v * C + c]!;
      return sum / temperature;
    });
    const top = Math.max(...z);
    const logSum = Math.log(z.reduce((sum, value) => sum + Math.exp(value - top), 0));
    return z.map((value) => value - top - logSum);
  });
}

/** p · value, and 0 where p is 0. */
const weighted = (p: number, value: number) => (p === 0 ? 0 : p * value);
/** Σ p · value */
const mean = (p: Float64Array, value: (v: number) => number) =>
  p.reduce((sum, each, v) => sum + weighted(each, value(v)), 0);

interface Distributions {
  /** log softmax of the policy, and the probabilities. */
  readonly logs: Rows;
  readonly p: Rows;
  /** log softmax of the reference, for the exact KL. */
  readonly reference: Rows | undefined;
}

function distributionsOf(args: CaseArgs): Distributions {
  const temperature = number(args, 'temperature', 1);
  const logs = logSoftmaxRows(
    tensor(args, 'hidden'),
    tensor(args, 'weight'),
    real(args, 'bias'),
    temperature,
  );
  const exact = args['kl'] === 'exact' && args['ref_hidden'] !== undefined;
  const reference = exact
    ? logSoftmaxRows(
        tensor(args, 'ref_hidden'),
        tensor(args, 'ref_weight'),
        real(args, 'ref_bias'),
        temperature,
      )
    : undefined;
  return { logs, p: logs.map((row) => row.map(Math.exp)), reference };
}

/** A KL estimate, and its derivative by logp. */
interface Kl {
  readonly value: number;
  readonly byLogp: number;
}
/** By the estimator, with d = logp − ref_logp. */
const ESTIMATORS: Readonly<Record<string, (d: number) => Kl>> = {
  k1: (d) => ({ value: d, byLogp: 1 }),
  k2: (d) => ({ value: (d * d) / 2, byLogp: d }),
  k3: (d) => ({ value: Math.exp(-d) - 1 + d, byLogp: 1 - Math.exp(-d) }),
};

/** Which rows share a ratio; ignored rows are in none. */
function ratioGroups(args: CaseArgs): number[][] {
  const targets = targetsOf(args);
  const scored = (n: number) => targets[n] !== IGNORED;
  const rows = Array.from(targets, (_, n) => n);
  if (text(args, 'importance', 'token') === 'token') return rows.filter(scored).map((n) => [n]);
  const offsets = [...(args['offsets'] as IntTensor).data];
  return offsets.slice(1).map((end, s) => rows.slice(offsets[s], end).filter(scored));
}

/** Per row; derivatives are of L. */
interface Columns {
  readonly logp: Float64Array;
  readonly entropy: Float64Array;
  readonly kl: Float64Array;
  readonly ratio: Float64Array;
  readonly losses: Float64Array;
  readonly clipped: Float64Array;
  readonly byLogp: Float64Array;
  readonly byEntropy: Float64Array;
  readonly byExactKl: Float64Array;
}

/** What is known before any loss: log-probabilities, entropies and exact KLs. */
function emptyColumns(args: CaseArgs, { logs, p, reference }: Distributions): Columns {
  const targets = targetsOf(args);
  const N = targets.length;
  const zeros = () => new Float64Array(N);
  return {
    logp: Float64Array.from(targets, (y, n) => (y === IGNORED ? 0 : logs[n]![y]!)),
    entropy: Float64Array.from(p, (row, n) => -mean(row, (v) => logs[n]![v]!)),
    kl: Float64Array.from(p, (row, n) =>
      reference ? mean(row, (v) => logs[n]![v]! - reference[n]![v]!) : 0,
    ),
    ratio: zeros().fill(1),
    losses: zeros(),
    clipped: zeros(),
    byLogp: zeros(),
    byEntropy: zeros(),
    byExactKl: zeros(),
  };
}

/** L = −Σ coefficients·logp − Σ entropy_coefficients·H */
function addGivenLoss(args: CaseArgs, columns: Columns, n: number): void {
  const coefficient = real(args, 'coefficients')?.[n] ?? 0;
  const bonus = real(args, 'entropy_coefficients')?.[n] ?? 0;
  const byLogp = coefficient === 0 ? 0 : -coefficient * columns.logp[n]!;
  columns.losses[n] = byLogp - bonus * columns.entropy[n]!;
  columns.byLogp[n] = -coefficient;
  columns.byEntropy[n] = -bonus;
}

/** A token's share of L by name; `group` are the rows that have its ratio. */
function addLoss(args: CaseArgs, loss: PolicyLossName, columns: Columns, n: number, group: number[]): void {
  const { logp, entropy, kl, ratio } = columns;
  const weight = real(args, 'weights')?.[n] ?? 1;
  const token = { ratio: ratio[n]!, advantage: real(args, 'advantages')![n]!, logp: logp[n]! };
  const policy = LOSS_FORMULAS[loss].of(token, parametersOf(args));
  columns.clipped[n] = policy.clipped;

  const exact = args['kl'] === 'exact';
  const beta = number(args, 'beta', 0);
  const reference = real(args, 'ref_logps')?.[n];
  const estimate: Kl =
    exact || reference === undefined
      ? { value: kl[n]!, byLogp: 0 }
      : ESTIMATORS[text(args, 'kl', 'k3')]!(logp[n]! - reference);
  const corrected = args['kl_bias_correction'] === true;
  const correction = corrected ? ratio[n]! : 1;

  const coefficient = number(args, 'entropy_coef', 0);
  const bonus = real(args, 'entropy_coefficients')?.[n] ?? 0;
  const value = policy.value + beta * estimate.value * correction - coefficient * entropy[n]!;
  columns.losses[n] = weight * value - bonus * entropy[n]!;

  columns.byLogp[n]! += weight * (policy.byLogp + beta * estimate.byLogp * correction);
  columns.byEntropy[n] = -weight * coefficient - bonus;
  if (exact) columns.byExactKl[n] = weight * beta;
  const byRatio = policy.byRatio + (corrected ? beta * estimate.value : 0);
  const shares = args['importance'] === 'product' ? 1 : group.length;
  for (const m of group) columns.byLogp[m]! += (weight * byRatio * ratio[n]!) / shares;
}

function columnsOf(args: CaseArgs, distributions: Distributions): Columns {
  const columns = emptyColumns(args, distributions);
  const loss = text(args, 'loss', 'coefficients');
  const old = real(args, 'old_logps');
  for (const group of ratioGroups(args)) {
    const shares = args['importance'] === 'product' ? 1 : group.length;
    const logRatio = old ? group.reduce((sum, n) => sum + columns.logp[n]! - old[n]!, 0) / shares : 0;
    for (const n of group) {
      columns.ratio[n] = Math.exp(logRatio);
      const reference = real(args, 'ref_logps')?.[n];
      if (loss === 'coefficients') addGivenLoss(args, columns, n);
      else addLoss(args, loss as PolicyLossName, columns, n, group);
      if (reference !== undefined && args['kl'] !== 'exact')
        columns.kl[n] = ESTIMATORS[text(args, 'kl', 'k3')]!(columns.logp[n]! - reference).value;
    }
  }
  return columns;
}

/**
 * ∂L/∂z of a row: ∂L/∂log p_v of everything that is a sum over v, then through log-softmax, u_v − p_v Σ u.
 */
function logitGradient(
  { logs, p, reference }: Distributions,
  columns: Columns,
  n: number,
  target: number,
): Float64Array {
  const byLogs = p[n]!.map((probability, v) => {
    const own = v === target ? columns.byLogp[n]! : 0;
    if (probability === 0) return own;
    const log = logs[n]![v]!;
    let rest = -columns.byEntropy[n]! * probability * (log + 1); // H = −Σ e^l l
    if (reference) rest += columns.byExactKl[n]! * probability * (log - reference[n]![v]! + 1);
    return own + rest;
  });
  const total = byLogs.reduce((a, b) => a + b, 0);
  return byLogs.map((each, v) => each - p[n]![v]! * total);
}

export interface Oracle extends Pick<Columns, 'logp' | 'entropy' | 'kl' | 'ratio' | 'losses' | 'clipped'> {
  readonly d_hidden: Float64Array;
  readonly d_weight: Float64Array;
  readonly d_bias: Float64Array;
}

export function oracle(args: CaseArgs): Oracle {
  const [hidden, weight] = [tensor(args, 'hidden'), tensor(args, 'weight')];
  const [N, C] = hidden.shape as [number, number];
  const V = weight.shape[0]!;
  const distributions = distributionsOf(args);
  const columns = columnsOf(args, distributions);
  const d_hidden = new Float64Array(N * C);
  const d_weight = new Float64Array(V * C);
  const d_bias = new Float64Array(V);
  targetsOf(args).forEach((target, n) => {
    if (target === IGNORED) return;
    logitGradient(distributions, columns, n, target).forEach((byLogit, v) => {
      const g = byLogit / number(args, 'temperature', 1);
      d_bias[v]! += g;
      for (let c = 0; c < C; ++c) {
        d_hidden[n * C + c]! += g * weight.data[v * C + c]!;
        d_weight[v * C + c]! += g * hidden.data[n * C + c]!;
      }
    });
  });
  return { ...columns, d_hidden, d_weight, d_bias };
}
