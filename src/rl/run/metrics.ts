/** TRL's metrics under TRL's keys (docs/source/grpo_trainer.md at f2cd577). */
import type { Scores } from '../../model/model.js';
import { type ClipMetric, policyLossOf } from '../../policy/losses.js';
import type { ResolvedGRPOConfig } from '../config/config.js';
import { statistics } from '../rewards/statistics.js';
import type { Rollout } from '../rollout/sample.js';
import { type ByCompletion, type ByToken, entriesOf, plain, tokenRanges } from '../spaces.js';

type Numbers = Record<string, number>;

const mean = (values: Iterable<number> & { readonly length: number }): number =>
  values.length === 0 ? 0 : statistics(values).mean;
// Not Math.min(...values): an argument list has a limit, batches have none.
const least = (values: readonly number[]): number => values.reduce((a, b) => Math.min(a, b), Infinity);
const greatest = (values: readonly number[]): number => values.reduce((a, b) => Math.max(a, b), -Infinity);

export function completionMetrics({ lengths, terminated }: Rollout): Numbers {
  const all = [...lengths];
  const ended: number[] = [];
  for (const [completion, length] of entriesOf(lengths)) if (terminated[completion]) ended.push(length);
  const summary = (values: readonly number[], infix: string): Numbers => ({
    [`completions/mean_${infix}`]: mean(values),
    [`completions/min_${infix}`]: values.length === 0 ? 0 : least(values),
    [`completions/max_${infix}`]: values.length === 0 ? 0 : greatest(values),
  });
  return {
    ...summary(all, 'length'),
    ...summary(ended, 'terminated_length'),
    'completions/clipped_ratio': 1 - ended.length / all.length,
  };
}

/** The mean over each completion's tokens; completions without active tokens are left out. */
function completionMeans(values: ByToken<number>, lengths: ByCompletion<number>): number[] {
  const means: number[] = [];
  for (const { begin, end } of tokenRanges(lengths)) {
    if (begin === end) continue;
    let sum = 0;
    for (let token = begin; token < end; ++token) sum += values[token]!;
    means.push(sum / (end - begin));
  }
  return means;
}

/** How many tokens a bound stopped, and the same share within each completion. */
interface ClipShare {
  readonly mean: number;
  readonly perCompletion: readonly number[];
}

/** Which tokens a bound stopped, by the loss's table of metrics. */
function clipMetrics(
  clipped: Int32Array,
  lengths: ByCompletion<number>,
  { lossType, importanceSamplingLevel }: ResolvedGRPOConfig,
): Numbers {
  const share = (isClipped: (side: number) => boolean): ClipShare => {
    const flags = Float64Array.from(clipped, (side) => (isClipped(side) ? 1 : 0));
    const perCompletion = completionMeans(flags, lengths);
    // A ratio of sequences is one number per completion, however long that is.
    return { mean: mean(importanceSamplingLevel === 'token' ? flags : perCompletion), perCompletion };
  };
  const shares = {
    low: share((side) => side < 0),
    high: share((side) => side > 0),
    any: share((side) => side !== 0),
  };
  const value = ({ side, of }: ClipMetric): number => {
    const { mean: all, perCompletion } = shares[side];
    if (of === 'mean') return all;
    if (perCompletion.length === 0) return 0;
    return of === 'least' ? least(perCompletion) : greatest(perCompletion);
  };
  const { metrics } = policyLossOf(lossType);
  return Object.fromEntries(Object.entries(metrics).map(([key, metric]) => [key, value(metric)]));
}

/** Of a KL penalty in the loss, as it acts there. */
function lossKl({ kl, ratio }: Scores, config: ResolvedGRPOConfig): number | undefined {
  if (config.beta === 0 || config.klInReward || !kl) return undefined;
  return mean(config.useBiasCorrectionKl ? kl.map((value, n) => value * ratio![n]!) : kl);
}

/** Of the fused pass; `lengths`: active tokens per completion. */
export function lossMetrics(
  scores: Scores,
  lengths: ByCompletion<number>,
  config: ResolvedGRPOConfig,
  entropyCoefficients: Float32Array,
): Numbers {
  const { clipped = new Int32Array(scores.logps.length), losses = new Float32Array(0) } = scores;
  const bonus = scores.entropy.reduce((sum, entropy, n) => sum + entropyCoefficients[n]! * entropy, 0);
  const loss = losses.reduce((a, b) => a + b, 0);
  const kl = lossKl(scores, config);
  return {
    loss,
    policy_loss: loss + bonus,
    entropy: mean(scores.entropy),
    max_prob: mean(scores.maxProb),
    ...(kl === undefined ? {} : { kl }),
    ...clipMetrics(clipped, lengths, config),
  };
}

/** Of the weights for rollouts made elsewhere. */
export function importanceMetrics(weights: ByToken<number>): Numbers {
  if (weights.length === 0) return {};
  const all = [...weights];
  return {
    'sampling/importance_sampling_ratio/min': least(all),
    'sampling/importance_sampling_ratio/mean': mean(all),
    'sampling/importance_sampling_ratio/max': greatest(all),
  };
}

/** |training − rollout| log-probabilities of the active tokens, where both are of the same distribution. */
export function mismatchMetrics(training: ByToken<number>, sampling: ByToken<number>): Numbers {
  const sampled = plain(sampling);
  const differences = Array.from(training, (logp, n) => Math.abs(logp - sampled[n]!));
  return {
    'sampling/sampling_logp_difference/mean': mean(differences),
    'sampling/sampling_logp_difference/max': differences.length === 0 ? 0 : greatest(differences),
  };
}
