/**
 * The policy-gradient losses, the options that they read, the KL estimators and the importance levels: the
 * only place on the TypeScript side that knows one loss from another. Types, option checks, defaults, the
 * trainers' weights, docs/options.md and the tests are derived from these tables.
 *
 * The kernel has its own table, native/ops/loss/losses.h, which says how a loss and its derivative are
 * computed; test/policy/losses.test.ts compares the two. Any loss goes with any KL estimator and any
 * importance level: all that a loss sees of a token is its ratio, its advantage and its log-probability.
 */
import type { NativeLoss } from '../core/addon/contract.js';
import { choice, finite, flag, nonNegative, rule, type Rule } from '../core/check.js';

/** A number that losses read. */
interface LossOption {
  /** Its name in policyGradient() and model.accumulateGradients(). */
  readonly parameter: string;
  readonly default: number;
  readonly least: number;
  /** Infinity: any finite number. */
  readonly most: number;
  /**
   * A trainer's option that may be null, and is unless it is given: what that stands for, another option's
   * value or a number.
   */
  readonly nullMeans?: string | number;
}

/** By their names among the trainers' options; a docstring here is the option's text in docs/options.md. */
export const LOSS_OPTIONS = {
  /** The ratio is clipped below 1 − epsilon. */
  epsilon: { parameter: 'epsilonLow', default: 0.2, least: 0, most: 1 },
  /**
   * And above 1 + epsilonHigh. null: epsilon. For cispo the cap itself, as in TRL (the paper's 1 + ε is 5
   * there).
   */
  epsilonHigh: { parameter: 'epsilonHigh', default: 0.2, least: 0, most: Infinity, nullMeans: 'epsilon' },
  /** Caps the ratio for bad tokens too (two-sided clipping); at least 1 + epsilonHigh. */
  delta: { parameter: 'delta', default: 0, least: 0, most: Infinity, nullMeans: 0 },
} as const satisfies Readonly<Record<string, LossOption>>;

type LossOptionName = keyof typeof LOSS_OPTIONS;
/** A value for every option, null replaced by what it stands for. */
type LossValues = Readonly<Record<LossOptionName, number>>;

/** A number that the log of a step gets from the loss: a share of its tokens. */
export interface ClipMetric {
  /** Which tokens count: those that the lower bound stopped, those that the upper one did, or both. */
  readonly side: 'low' | 'high' | 'any';
  /** The share of all tokens, or of one completion's: the one with the smallest or the largest share. */
  readonly of: 'mean' | 'least' | 'greatest';
  readonly meaning: string;
}

/** What a token's loss is. */
interface PolicyLossRow {
  readonly meaning: string;
  readonly source: string;
  readonly reads: readonly LossOptionName[];
  /**
   * Whether the gradient is that of the value. If not, the ratio is a constant in it (stop_gradient), and the
   * gradient goes through the log-probability alone.
   */
  readonly throughRatio: boolean;
  /** By TRL's keys. */
  readonly metrics: Readonly<Record<string, ClipMetric>>;
  /** Why these values do not go together, if they do not. */
  readonly refusal?: (values: LossValues) => string | undefined;
  /** What a user of these values should know, if anything. */
  readonly note?: (values: LossValues) => string | undefined;
}

/** The losses of the kernel. ρ is the ratio, A the advantage. */
export const POLICY_LOSSES = {
  clip: {
    meaning: '−min(ρ A, clip(ρ, 1 − epsilon, 1 + epsilonHigh) A); with delta the first ρ is at most delta',
    source: 'PPO 1707.06347, delta 2505.07291',
    reads: ['epsilon', 'epsilonHigh', 'delta'],
    throughRatio: true,
    refusal: ({ delta, epsilonHigh }) =>
      delta === 0 || delta >= 1 + epsilonHigh
        ? undefined
        : `delta must be at least 1 + epsilonHigh (${1 + epsilonHigh}), got ${delta}`,
    metrics: {
      'clip_ratio/low_mean': { side: 'low', of: 'mean', meaning: 'tokens with A < 0 below 1 − epsilon' },
      'clip_ratio/low_min': { side: 'low', of: 'least', meaning: 'the same, in the completion with fewest' },
      'clip_ratio/high_mean': {
        side: 'high',
        of: 'mean',
        meaning: 'tokens with A > 0 above 1 + epsilonHigh',
      },
      'clip_ratio/high_max': {
        side: 'high',
        of: 'greatest',
        meaning: 'the same, in the completion with most',
      },
      'clip_ratio/region_mean': { side: 'any', of: 'mean', meaning: 'both together' },
    },
  },
  cispo: {
    meaning: '−min(ρ, epsilonHigh) A log π, where ρ is a constant for the gradient',
    source: 'MiniMax-M1 2506.13585',
    reads: ['epsilonHigh'],
    throughRatio: false,
    metrics: {
      cispo_clip_ratio: { side: 'any', of: 'mean', meaning: 'tokens with A > 0 above epsilonHigh' },
    },
    note: ({ epsilonHigh }) =>
      epsilonHigh >= 1
        ? undefined
        : `cispo caps the ratio at epsilonHigh itself, here ${epsilonHigh}: below 1 it scales every update ` +
          "down. TRL's documentation uses 5.",
  },
} as const satisfies Readonly<Record<string, PolicyLossRow>>;

/** The step's completions, as the averages of their tokens' losses see them. */
export interface Completions {
  /** Active tokens of each; 0 for a masked completion, which still counts as one. */
  readonly lengths: readonly number[];
  readonly maxCompletionLength: number;
  /** Completions of a micro-batch; micro-batches are consecutive completions. */
  readonly perDeviceTrainBatchSize: number;
}

/** The mean of all tokens of the step, or of means over completions or micro-batches, or a fixed length. */
export type TokenAverage = 'step' | 'completion' | 'microBatch' | 'maxLength';

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** The weight of each token, one number per completion. */
type TokenWeights = (completions: Completions) => readonly number[];

/**
 * How the tokens' losses are averaged (trl/trainer/grpo_trainer.py at f2cd577, _compute_loss, accumulation
 * included). Micro-batches change nothing but the average that is named after them.
 */
export const TOKEN_AVERAGES: Readonly<Record<TokenAverage, TokenWeights>> = {
  step: ({ lengths }) => {
    const weight = 1 / Math.max(sum(lengths), 1);
    return lengths.map(() => weight);
  },
  completion: ({ lengths }) => lengths.map((length) => 1 / (lengths.length * Math.max(length, 1))),
  microBatch: ({ lengths, perDeviceTrainBatchSize: size }) => {
    const microBatches = Math.ceil(lengths.length / size);
    return lengths.map((_, c) => {
      const begin = c - (c % size);
      return 1 / (microBatches * Math.max(sum(lengths.slice(begin, begin + size)), 1));
    });
  },
  maxLength: ({ lengths, maxCompletionLength }) =>
    lengths.map(() => 1 / (lengths.length * maxCompletionLength)),
};

/** What a trainer's lossType is: a loss of the kernel, and an average over tokens. */
interface LossTypeRow {
  readonly loss: keyof typeof POLICY_LOSSES;
  readonly average: TokenAverage;
  readonly meaning: string;
  readonly source: string;
}

/** The trainers' option lossType; names are TRL's. */
export const LOSS_TYPES = {
  grpo: {
    loss: 'clip',
    average: 'completion',
    meaning: 'mean over completions of the mean over their tokens',
    source: 'GRPO 2402.03300',
  },
  bnpo: {
    loss: 'clip',
    average: 'microBatch',
    meaning: 'mean over the tokens of a micro-batch, then over micro-batches',
    source: 'TRL',
  },
  dr_grpo: {
    loss: 'clip',
    average: 'maxLength',
    meaning: 'sum over tokens / (completions · maxCompletionLength)',
    source: 'Dr. GRPO 2503.20783',
  },
  dapo: {
    loss: 'clip',
    average: 'step',
    meaning: 'mean over the tokens of the step',
    source: 'DAPO 2503.14476',
  },
  cispo: {
    loss: 'cispo',
    average: 'step',
    meaning: 'mean over the tokens of the step',
    source: 'MiniMax-M1 2506.13585',
  },
} as const satisfies Readonly<Record<string, LossTypeRow>>;

/** Estimators of KL(π‖π_ref) at a token; d = log π − log π_ref. */
export const KL_ESTIMATORS = {
  k1: 'd',
  k2: 'd²/2',
  k3: 'e^(−d) − 1 + d',
  exact: 'Σ π (log π − log π_ref) over the vocabulary',
} as const;

/** Whose ratio a token has. */
export const IMPORTANCE_LEVELS = {
  token: "the token's own",
  sequence: "that of its sequence: exp of the mean of the tokens' log-ratios (GSPO 2507.18071)",
  product: "that of its sequence: the product of the tokens' ratios (RLOO 2402.14740)",
} as const;

// ---- types ------------------------------------------------------------------------------------------------

/** A loss that is computed from ratio and advantage. */
export type PolicyLossName = keyof typeof POLICY_LOSSES;
/** How the tokens' losses are averaged, and what they are. */
export type LossType = keyof typeof LOSS_TYPES;
/** How the KL penalty is estimated. */
export type KlEstimator = keyof typeof KL_ESTIMATORS;
/** Whose ratio a token has. */
export type ImportanceLevel = keyof typeof IMPORTANCE_LEVELS;

type NullOf<Option> = Option extends { readonly nullMeans: string | number } ? null : never;
/** The trainers' options that losses read: docs/options.md. */
export type LossOptions = {
  -readonly [Name in LossOptionName]?: number | NullOf<(typeof LOSS_OPTIONS)[Name]> | undefined;
};
/** The same with defaults filled in. */
export type ResolvedLossOptions = {
  [Name in LossOptionName]: number | NullOf<(typeof LOSS_OPTIONS)[Name]>;
};
/** The numbers that losses read, by the names of the kernel; docs/options.md has their meaning. */
export type LossParameters = {
  readonly [Name in LossOptionName as (typeof LOSS_OPTIONS)[Name]['parameter']]?: number;
};

/** A loss of native/ops/loss/linear_policy_gradient.h: the equations are there. */
export interface TokenLoss extends NativeLoss, LossParameters {
  /**
   * 'coefficients': L = −Σ coefficients·logp − Σ entropyCoefficients·H. Otherwise the loss of that name, of
   * ratio and advantage.
   */
  readonly loss: 'coefficients' | PolicyLossName;
  /** Estimator of the penalty that beta weighs. Default 'k3'. */
  readonly kl?: KlEstimator;
  /** Whose ratio a token has. Default 'token'. */
  readonly importance?: ImportanceLevel;
}

// ---- rules and conversions --------------------------------------------------------------------------------

const keysOf = <Name extends string>(table: Readonly<Record<Name, unknown>>) => Object.keys(table) as Name[];

export const lossTypes = keysOf(LOSS_TYPES);
export const policyLosses = keysOf(POLICY_LOSSES);
export const klEstimators = keysOf(KL_ESTIMATORS);
export const importanceLevels = keysOf(IMPORTANCE_LEVELS);
export const lossOptions = Object.entries(LOSS_OPTIONS) as [LossOptionName, LossOption][];

/** Of the kernel's parameters. */
export const lossDefaults = Object.fromEntries(
  lossOptions.map(([, option]) => [option.parameter, option.default]),
) as Required<LossParameters>;

function within({ least, most }: LossOption): Rule {
  const bounds = most === Infinity ? `≥ ${least}` : `in [${least}, ${most}]`;
  const accepts = (value: unknown) =>
    finite.accepts(value) && least <= (value as number) && (value as number) <= most;
  return rule(`a number ${bounds}`, accepts);
}

/** Of a loss, besides its arrays. */
export const LOSS_RULES = {
  ...(Object.fromEntries(lossOptions.map(([, option]) => [option.parameter, within(option)])) as Record<
    keyof LossParameters,
    Rule
  >),
  loss: choice('coefficients', ...policyLosses),
  entropyCoef: finite,
  beta: nonNegative,
  kl: choice(...klEstimators),
  klBiasCorrection: flag,
  importance: choice(...importanceLevels),
};

/** The kernel's loss of a lossType. */
export const policyLossOf = (lossType: LossType): PolicyLossRow & { readonly name: PolicyLossName } => {
  const name = LOSS_TYPES[lossType].loss;
  return { name, ...POLICY_LOSSES[name] };
};

/** The value of one option, with what null stands for. */
function optionValue(name: LossOptionName, options: ResolvedLossOptions): number {
  const { nullMeans = LOSS_OPTIONS[name].default }: LossOption = LOSS_OPTIONS[name];
  const given = options[name];
  if (given !== null) return given;
  return typeof nullMeans === 'number' ? nullMeans : optionValue(nullMeans as LossOptionName, options);
}
const valuesOf = (options: ResolvedLossOptions): LossValues =>
  Object.fromEntries(lossOptions.map(([name]) => [name, optionValue(name, options)])) as LossValues;

/** The numbers that the kernel's loss of `lossType` reads, by the kernel's names. */
export function lossParameters(lossType: LossType, options: ResolvedLossOptions): LossParameters {
  const { reads } = policyLossOf(lossType);
  return Object.fromEntries(reads.map((name) => [LOSS_OPTIONS[name].parameter, optionValue(name, options)]));
}

/** What a user of these options should know, if anything. */
export const lossNote = (lossType: LossType, options: ResolvedLossOptions): string | undefined =>
  policyLossOf(lossType).note?.(valuesOf(options));

/** Why these options do not go with the loss or with each other, if they do not. */
export function lossRefusal(lossType: LossType, options: ResolvedLossOptions): string | undefined {
  const { reads, refusal } = policyLossOf(lossType);
  const values = valuesOf(options);
  for (const [name, option] of lossOptions) {
    const offByDefault = option.default === 0;
    if (offByDefault && values[name] !== 0 && !reads.includes(name))
      return `${name} is not read by lossType '${lossType}', which has ${reads.join(', ') || 'no such option'}; leave it out`;
  }
  return refusal?.(values);
}
