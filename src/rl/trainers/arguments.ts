/** What trainers are made from, and how it is checked. */
import { anything, nonEmptyList, object, required, rule, type Rules } from '../../core/check.js';
import { toCamelCase } from '../../core/names.js';
import { type Model, modelRule } from '../../model/model.js';
import type { Tokenizer } from '../../model/tokenizer/tokenizer.js';
import type { GRPOConfig } from '../config/options.js';
import type { Dataset, PromptRow, RewardFunc } from '../interfaces.js';
import type { RolloutSource } from '../rollout/remoteRollouts.js';

/** What every trainer is made from. */
export interface TrainerArguments<Row> {
  /** Trained in place. */
  readonly model: Model;
  /** Rows in an array, or made on demand. */
  readonly trainDataset: Dataset<Row>;
  /** Held-out rows, for evaluate() and every evalSteps steps. */
  readonly evalDataset?: readonly Row[] | undefined;
  /** Default: the model's own. Needed for text only. */
  readonly tokenizer?: Tokenizer | undefined;
}

/** What GRPOTrainer and its kin are made from. */
export interface GRPOTrainerArguments<Config = GRPOConfig> extends TrainerArguments<PromptRow> {
  /**
   * One or several; their weighted sum (rewardWeights, default 1 each) is the reward. Those of this package,
   * or your own (RewardFunc).
   */
  readonly rewardFuncs: RewardFunc | readonly RewardFunc[];
  /** Options of the method; those left out have TRL's defaults. */
  readonly config?: Config | undefined;
  /** For the KL penalty. Default: a copy of the model as it is when training starts. */
  readonly refModel?: Model | undefined;
  /** Who samples; default: the model itself. For servers: openAIRollouts, sglangRollouts. */
  readonly rollouts?: RolloutSource | undefined;
}

/** The data set and the config are judged where they are read. */
export const ARGUMENTS: Rules = {
  model: required(modelRule),
  trainDataset: anything,
  evalDataset: nonEmptyList,
  tokenizer: object,
  config: anything,
};

const isRewardFuncs = (value: unknown): boolean =>
  typeof value === 'function' || (Array.isArray(value) && value.length > 0);

export const POLICY_ARGUMENTS: Rules = {
  ...ARGUMENTS,
  refModel: modelRule,
  rewardFuncs: required(rule('a function or an array of functions that is not empty', isRewardFuncs)),
  rollouts: rule(
    'a source of completions with generate(), as openAIRollouts() makes',
    (value) => typeof (value as RolloutSource | null)?.generate === 'function',
  ),
};

/** TRL's names of arguments. */
const INSTEAD: Readonly<Record<string, string>> = {
  args: 'its name here is config',
  processingClass: 'its name here is tokenizer',
  rewardProcessingClasses: 'a reward function gets text',
  peftConfig: 'load the model with it: Model.fromPretrained(dir, { peftConfig })',
  callbacks: 'do it between two steps of trainer.steps()',
  optimizers: 'the optimizer is AdamW',
  dataCollator: 'rows are read as they are',
};

/** How trainers check their arguments. */
export const ARGUMENT = {
  argument: 'arguments',
  noun: 'argument',
  instead(name: string): string | undefined {
    const camelCase = toCamelCase(name);
    return Object.hasOwn(INSTEAD, camelCase) ? INSTEAD[camelCase] : undefined;
  },
};
