/**
 * TRL's metrics under TRL's keys (docs/source/grpo_trainer.md at f2cd577), and the sentences that go with
 * them.
 */
import type { Scores } from '../../model/model.js';
import { statistics, weightedSum } from '../credit/advantages.js';
import type { ResolvedGRPOConfig } from '../config/config.js';
import { type NamedReward, rewardMetrics } from '../rewards/call.js';
import type { Rollout } from '../rollout/rollout.js';

type Numbers = Record<string, number>;

const mean = (values: ArrayLike<number>): number => (values.length === 0 ? 0 : statistics(values).mean);
/** Not Math.min(...values): an argument list has a limit, batches have none. */
const least = (values: readonly number[]): number => values.reduce((a, b) => Math.min(a, b), Infinity);
const greatest = (values: readonly number[]): number => values.reduce((a, b) => Math.max(a, b), -Infinity);

export function completionMetrics({ lengths, terminated }: Rollout): Numbers {
  const ended = lengths.filter((_, i) => terminated[i]);
  const of = (values: readonly number[], infix: string): Numbers => ({
    [`completions/mean_${infix}`]: mean(values),
    [`completions/min_${infix}`]: values.length === 0 ? 0 : least(values),
    [`completions/max_${infix}`]: values.length === 0 ? 0 : greatest(values),
  });
  return {
    ...of(lengths, 'length'),
    ...of(ended, 'terminated_length'),
    'completions/clipped_ratio': 1 - ended.length / lengths.length,
  };
}

export function rewardSummary(rewards: readonly NamedReward[], columns: readonly Float64Array[]): Numbers {
  const total = statistics(
    weightedSum(
      columns,
      rewards.map((r) => r.weight),
    ),
  );
  return { ...rewardMetrics(rewards, columns), reward: total.mean, reward_std: total.std };
}

/** Splits per-token numbers of consecutive sequences and averages each; empty sequences are left out. */
function sequenceMeans(values: ArrayLike<number>, lengths: readonly number[]): number[] {
  let n = 0;
  return lengths
    .filter((length) => length > 0)
    .map((length) => {
      let sum = 0;
      for (const end = n + length; n < end; ++n) sum += values[n]!;
      return sum / length;
    });
}

/** Of the fused pass; `lengths`: active tokens per sequence. */
export function lossMetrics(
  scores: Scores,
  lengths: readonly number[],
  config: ResolvedGRPOConfig,
  entropyCoefficients: Float32Array,
): Numbers {
  const { clipped = new Int32Array(scores.logps.length), losses = new Float32Array(0) } = scores;
  const bySequence = config.importanceSamplingLevel !== 'token';
  const share = (is: (side: number) => boolean) => {
    const flags = Float64Array.from(clipped, (side) => (is(side) ? 1 : 0));
    const perSequence = sequenceMeans(flags, lengths);
    // A sequence-level ratio is one number per sequence, however long that is.
    return { mean: mean(bySequence ? perSequence : flags), perSequence };
  };
  const bonus = scores.entropy.reduce((sum, h, n) => sum + entropyCoefficients[n]! * h, 0);
  const loss = losses.reduce((a, b) => a + b, 0);
  const [low, high, any] = [
    share((side) => side < 0),
    share((side) => side > 0),
    share((side) => side !== 0),
  ];
  return {
    loss: loss,
    policy_loss: loss + bonus,
    entropy: mean(scores.entropy),
    max_prob: mean(scores.maxProb),
    ...(config.beta > 0 && !config.klInReward && scores.kl
      ? {
          kl: mean(config.useBiasCorrectionKl ? scores.kl.map((kl, n) => kl * scores.ratio![n]!) : scores.kl),
        }
      : {}),
    ...(config.lossType === 'cispo'
      ? { cispo_clip_ratio: any.mean }
      : {
          'clip_ratio/low_mean': low.mean,
          'clip_ratio/low_min': low.perSequence.length === 0 ? 0 : least(low.perSequence),
          'clip_ratio/high_mean': high.mean,
          'clip_ratio/high_max': high.perSequence.length === 0 ? 0 : greatest(high.perSequence),
          'clip_ratio/region_mean': any.mean,
        }),
  };
}

/** Of the weights for rollouts made elsewhere. */
export const importanceMetrics = (weights: Float64Array): Numbers =>
  weights.length === 0
    ? {}
    : {
        'sampling/importance_sampling_ratio/min': least([...weights]),
        'sampling/importance_sampling_ratio/mean': mean(weights),
        'sampling/importance_sampling_ratio/max': greatest([...weights]),
      };

/** |training − rollout| log-probabilities of the active tokens, where both are of the same distribution. */
export function mismatchMetrics(training: Float32Array, sampling: Float32Array): Numbers {
  const differences = Array.from(training, (logp, n) => Math.abs(logp - sampling[n]!));
  return {
    'sampling/sampling_logp_difference/mean': mean(differences),
    'sampling/sampling_logp_difference/max': differences.length === 0 ? 0 : greatest(differences),
  };
}

const percent = (share: number) => `${(100 * share).toFixed(share < 0.01 ? 2 : 1)} %`;

/** What a reader of the numbers would ask. `first`: of a stage. */
export function explain(
  numbers: Numbers,
  config: ResolvedGRPOConfig,
  facts: {
    readonly first: boolean;
    readonly unscorable: number;
    readonly masked: number;
    readonly completions: number;
  },
): string[] {
  const notes: string[] = [];
  const { unscorable, masked, completions } = facts;
  if (unscorable > 0)
    notes.push(
      `${unscorable} of ${completions} completions got null from every reward function: they have advantage 0 and are left out of the reward statistics.`,
    );
  // Where completions of a prompt are compared with each other.
  const grouped = config.advantageEstimator === 'grpo' || config.advantageEstimator === 'rloo';
  const zeroStd = grouped ? numbers['frac_reward_zero_std'] : undefined;
  if (zeroStd === 1)
    notes.push(
      `All completions of every prompt got the same reward (mean ${numbers['reward']!.toPrecision(3)}), so all advantages are 0 and the rewards teach nothing in this step. Look at the reward function, the difficulty of the prompts and the temperature.`,
    );
  else if (zeroStd !== undefined && zeroStd >= 0.9)
    notes.push(
      `${percent(zeroStd)} of the completions are in groups with equal rewards: little signal in this step.`,
    );
  if (masked > 0 && masked === completions)
    notes.push(
      'maskTruncatedCompletions masked every completion, so this step has no gradient. Raise maxCompletionLength.',
    );
  else if (numbers['completions/clipped_ratio'] === 1)
    notes.push(
      'Every completion was cut off by length; none ended by itself. Raise maxCompletionLength, or check the stop token.',
    );
  if (
    facts.first &&
    config.numIterations === 1 &&
    config.beta === 0 &&
    config.advantageEstimator !== 'gae' &&
    zeroStd !== 1
  )
    notes.push(
      'On-policy, the loss is close to 0 by construction (advantages average to about 0 and the ratio is 1); its gradient is not. Watch reward and grad_norm.',
    );
  if (facts.first && config.lossType === 'cispo' && (config.epsilonHigh ?? config.epsilon) < 1)
    notes.push(
      `cispo caps the ratio at epsilonHigh itself, here ${config.epsilonHigh ?? config.epsilon}: below 1 it scales every update down. TRL's documentation uses 5.`,
    );
  const [low, high] = [numbers['clip_ratio/low_mean'] ?? 0, numbers['clip_ratio/high_mean'] ?? 0];
  if (low + high > 0)
    notes.push(
      `Clipping stopped ${percent(low + high)} of the tokens: ${percent(low)} at the lower bound (bad tokens already made rarer), ${percent(high)} at the upper (good ones already made likelier).`,
    );
  const mismatch = numbers['sampling/sampling_logp_difference/max'] ?? 0;
  if (mismatch > 1e-3)
    notes.push(
      `Sampling and training disagree about a log-probability by ${mismatch.toPrecision(2)} nats; with one engine this should be below 1e-5.`,
    );
  return notes;
}
