/** Plain sentences about what a reader of a step's metrics may misread. */
import { lossNote } from '../../policy/losses.js';
import type { ResolvedGRPOConfig } from '../config/config.js';

/** What the metrics alone do not say. */
export interface StepFacts {
  /** The first step of its stage. */
  readonly first: boolean;
  /** Completions on which no reward function had an opinion. */
  readonly unscorable: number;
  /** Completions that do not train. */
  readonly masked: number;
  readonly completions: number;
}

type Numbers = Readonly<Record<string, number>>;

/** A share of groups without a difference that is worth a note. */
const LITTLE_SIGNAL = 0.9;
/** Nats; with one engine for sampling and training it is below 1e-5. */
const MISMATCH = 1e-3;

const percent = (share: number): string => `${(100 * share).toFixed(share < 0.01 ? 2 : 1)} %`;

/** What a reader of the numbers would ask. */
export function explain(numbers: Numbers, config: ResolvedGRPOConfig, facts: StepFacts): string[] {
  const notes = [
    aboutUnscorable(facts),
    aboutEqualRewards(numbers, config),
    aboutLengths(numbers, facts),
    ...(facts.first ? [aboutZeroLoss(numbers, config), lossNote(config.lossType, config)] : []),
    aboutClipping(numbers),
    aboutMismatch(numbers),
  ];
  return notes.filter((note) => note !== undefined);
}

function aboutUnscorable({ unscorable, completions }: StepFacts): string | undefined {
  if (unscorable === 0) return undefined;
  return (
    `${unscorable} of ${completions} completions got null from every reward function: ` +
    'they have advantage 0 and are left out of the reward statistics.'
  );
}

/** Share of completions in groups with equal rewards, where completions of a prompt are compared. */
function equalRewards(numbers: Numbers, { advantageEstimator }: ResolvedGRPOConfig): number | undefined {
  const comparesGroups = advantageEstimator === 'grpo' || advantageEstimator === 'rloo';
  return comparesGroups ? numbers['frac_reward_zero_std'] : undefined;
}

function aboutEqualRewards(numbers: Numbers, config: ResolvedGRPOConfig): string | undefined {
  const share = equalRewards(numbers, config);
  if (share === 1)
    return (
      `All completions of every prompt got the same reward (mean ${numbers['reward']!.toPrecision(3)}), ` +
      'so all advantages are 0 and the rewards teach nothing in this step. ' +
      'Look at the reward function, the difficulty of the prompts and the temperature.'
    );
  if (share !== undefined && share >= LITTLE_SIGNAL)
    return `${percent(share)} of the completions are in groups with equal rewards: little signal in this step.`;
  return undefined;
}

function aboutLengths(numbers: Numbers, { masked, completions }: StepFacts): string | undefined {
  if (masked > 0 && masked === completions)
    return (
      'maskTruncatedCompletions masked every completion, so this step has no gradient. ' +
      'Raise maxCompletionLength.'
    );
  if (numbers['completions/clipped_ratio'] === 1)
    return (
      'Every completion was cut off by length; none ended by itself. ' +
      'Raise maxCompletionLength, or check the stop token.'
    );
  return undefined;
}

function aboutZeroLoss(numbers: Numbers, config: ResolvedGRPOConfig): string | undefined {
  const isOnPolicy = config.numIterations === 1;
  const isAdvantageAlone = config.beta === 0 && config.advantageEstimator !== 'gae';
  if (!isOnPolicy || !isAdvantageAlone || equalRewards(numbers, config) === 1) return undefined;
  return (
    'On-policy, the loss is close to 0 by construction (advantages average to about 0 and the ratio is 1); ' +
    'its gradient is not. Watch reward and grad_norm.'
  );
}

function aboutClipping(numbers: Numbers): string | undefined {
  const low = numbers['clip_ratio/low_mean'] ?? 0;
  const high = numbers['clip_ratio/high_mean'] ?? 0;
  // Also false for NaN.
  if (!(low + high > 0)) return undefined;
  return (
    `Clipping stopped ${percent(low + high)} of the tokens: ` +
    `${percent(low)} at the lower bound (bad tokens already made rarer), ` +
    `${percent(high)} at the upper (good ones already made likelier).`
  );
}

function aboutMismatch(numbers: Numbers): string | undefined {
  const mismatch = numbers['sampling/sampling_logp_difference/max'] ?? 0;
  if (!(mismatch > MISMATCH)) return undefined;
  return (
    `Sampling and training disagree about a log-probability by ${mismatch.toPrecision(2)} nats; ` +
    'with one engine this should be below 1e-5.'
  );
}
