/**
 * What the trainers' options mean. config.ts has their ranges and defaults (the compiler checks that both
 * name the same options with the same types), `npm run build:options` makes docs/options.md from the two.
 */

import type { ImportanceLevel, KlEstimator, LossOptions, LossType } from '../../policy/losses.js';

/** Learning rate over a stage's steps, as transformers has them. */
export type LrScheduler = 'constant' | 'constant_with_warmup' | 'linear' | 'cosine' | 'cosine_with_min_lr';

/** What some schedulers take. */
export interface LrSchedulerKwargs {
  /** cosine, cosine_with_min_lr: waves over the stage. Absent: 0.5, which falls to the end. */
  numCycles?: number | undefined;
  /** cosine_with_min_lr: the floor. */
  minLr?: number | undefined;
  /** cosine_with_min_lr: the floor as a share of the learning rate. */
  minLrRate?: number | undefined;
}

/**
 * One entry of the option `stages`: a phase with parameters, learning rate, schedule and optimizer of its
 * own. What is absent is the trainer's.
 */
export interface StageConfig {
  /** In metrics. */
  name: string;
  /** Optimizer steps. */
  steps: number;
  /** 'all', 'classifier', 'body' or a pattern of parameter names. */
  trainable: string | RegExp;
  /** Its peak. */
  learningRate: number;
  /** As the trainer's. */
  lrSchedulerType?: LrScheduler | undefined;
  /** As the trainer's. */
  lrSchedulerKwargs?: LrSchedulerKwargs | undefined;
  /** As the trainer's. */
  warmupSteps?: number | undefined;
  /** As the trainer's. */
  classifierLearningRateMultiplier?: number | undefined;
}

/**
 * What all trainers' options have in common. Names are TRL's in camelCase (snake_case works too), defaults
 * TRL's unless said otherwise.
 */
export interface TrainingOptions {
  /** Where metrics, completions and checkpoints go. Absent: nothing is written (TRL: 'trainer_output'). */
  outputDir?: string | undefined;
  /** Start anew in an outputDir that holds a run; its files are removed. */
  overwriteOutputDir?: boolean | undefined;
  /** Of data order and sampling. */
  seed?: number | undefined;

  /** Optimizer steps; −1: numTrainEpochs decides. */
  maxSteps?: number | undefined;
  /** Passes over the data set, where maxSteps is −1. */
  numTrainEpochs?: number | undefined;
  /** Completions (SFT: rows) of a step, times gradientAccumulationSteps. */
  perDeviceTrainBatchSize?: number | undefined;
  /** A step has so many batches. How its completions are split changes no result. */
  gradientAccumulationSteps?: number | undefined;
  /** Each epoch in an order of its own. */
  shuffleDataset?: boolean | undefined;
  /**
   * Variables for the chat template, where prompts are messages (e.g. { enable_thinking: false }); its keys
   * stay as they are.
   */
  chatTemplateKwargs?: Record<string, unknown> | undefined;

  /** Peak of the learning rate. */
  learningRate?: number | undefined;
  /** How the learning rate changes over a stage's steps. */
  lrSchedulerType?: LrScheduler | undefined;
  /** For cosine: numCycles; for cosine_with_min_lr: minLr or minLrRate. */
  lrSchedulerKwargs?: LrSchedulerKwargs | undefined;
  /**
   * Below 1: a share of the stage's steps. As in transformers, the first of n warm-up steps has learning rate
   * 0.
   */
  warmupSteps?: number | undefined;
  /** AdamW: decay of the mean of gradients. */
  adamBeta1?: number | undefined;
  /** AdamW: decay of the mean of squared gradients. */
  adamBeta2?: number | undefined;
  /** AdamW: added to the root of the second moment. */
  adamEpsilon?: number | undefined;
  /** AdamW: decoupled, of every trainable parameter. */
  weightDecay?: number | undefined;
  /** Gradients are clipped to this L2 norm, all together; 0: not. */
  maxGradNorm?: number | undefined;
  /** What trains: 'all', 'classifier', 'body' or a pattern of parameter names. */
  trainable?: string | RegExp | undefined;
  /**
   * The classifier's learning rate is this multiple of the others': the control that CF-RL must be compared
   * with.
   */
  classifierLearningRateMultiplier?: number | undefined;
  /**
   * Phases with their own parameters, learning rate, schedule and fresh optimizer; replaces maxSteps,
   * trainable and learningRate.
   */
  stages?: StageConfig[] | undefined;
  /** Tokens of a batch held in memory at a time; changes no result. Absent: the engine decides. */
  maxTokensInMemory?: number | undefined;
  /**
   * Keep each layer's input only and compute the rest again on the way back; changes no result (TRL: true).
   */
  gradientCheckpointing?: boolean | undefined;

  /**
   * Every n-th step is a row of metrics.jsonl, with its own numbers (TRL: every 10th, the mean of the ten).
   */
  loggingSteps?: number | undefined;
  /**
   * 'tensorboard' writes event files to outputDir/tensorboard as well; Weights & Biases: `wandb sync` them
   * (TRL: all that is installed).
   */
  reportTo?: 'none' | 'tensorboard' | ('none' | 'tensorboard')[] | undefined;
  /** A checkpoint every so many steps, and one at the end. */
  saveSteps?: number | undefined;
  /** Older checkpoints beyond this many are deleted. Absent: none is. */
  saveTotalLimit?: number | undefined;
  /** The evalDataset is evaluated every so many steps. Absent: once, at the end. */
  evalSteps?: number | undefined;
}

/**
 * Options of GRPOTrainer: TRL's GRPOConfig in camelCase (snake_case works too) with TRL's defaults, each in
 * docs/options.md; `configOptions` lists their names. Unknown names and impossible values are refused with
 * ERR_INVALID_ARG.
 */
export interface GRPOConfig extends TrainingOptions, LossOptions {
  /** Completions per prompt. */
  numGenerations?: number | undefined;
  /** Tokens; cut to what the model's context leaves beside the prompt. */
  maxCompletionLength?: number | undefined;
  /** Of sampling and of the distribution that is trained. */
  temperature?: number | undefined;
  /** Sample from the likeliest tokens that have this much probability together. */
  topP?: number | undefined;
  /** Sample from so many likeliest tokens; 0: all. */
  topK?: number | undefined;
  /** Sample from tokens of at least this share of the likeliest one's probability. */
  minP?: number | null | undefined;
  /**
   * Token ids and texts that end a completion. Absent: the tokenizer's EOS and the model's eos_token_id.
   */
  stop?: (number | string)[] | undefined;

  /** What a token's loss is, and how the tokens' losses are averaged: below. */
  lossType?: LossType | undefined;
  /**
   * The ratio is a token's, or the sequence's: the mean of its tokens' ('sequence', GSPO) or, not in TRL's
   * GRPO, their product.
   */
  importanceSamplingLevel?: ImportanceLevel | undefined;
  /** Optimizer steps per rollout batch, μ. */
  numIterations?: number | undefined;
  /** Leave out completions that were cut off by length. */
  maskTruncatedCompletions?: boolean | undefined;
  /**
   * Share of the tokens, those of highest entropy, that the policy term is about. Below 1 it costs another
   * forward pass.
   */
  topEntropyQuantile?: number | undefined;
  /**
   * Leave out a bad completion (advantage below 0) once the mean of log π_old − log π over its tokens exceeds
   * this, nats.
   */
  offPolicyMaskThreshold?: number | null | undefined;

  /** Weight of KL(π‖π_ref), nats; 0: no reference model is kept. */
  beta?: number | undefined;
  /** Of the penalty in the loss. TRL has k3 only; 'exact' sums over the vocabulary. */
  klEstimator?: KlEstimator | undefined;
  /**
   * Subtract beta · Σ_t k1 from each reward, as TRL's RLOOTrainer does, instead of adding the penalty to the
   * loss.
   */
  klInReward?: boolean | undefined;
  /**
   * Multiply the estimator by the ratio: then k1 and k3 have the gradient of KL(π‖π_ref) (docs/training.md).
   */
  useBiasCorrectionKl?: boolean | undefined;
  /** Adds −entropyCoef · (mean entropy of the step's tokens) to the loss. */
  entropyCoef?: number | undefined;
  /**
   * Steers entropyCoef by entropyCoefDelta within its bounds, towards a mean entropy of entropyTarget nats.
   */
  useAdaptiveEntropy?: boolean | undefined;
  /** useAdaptiveEntropy: least coefficient. */
  entropyCoefMin?: number | undefined;
  /** useAdaptiveEntropy: largest coefficient. */
  entropyCoefMax?: number | undefined;
  /** useAdaptiveEntropy: change of the coefficient per step. */
  entropyCoefDelta?: number | undefined;
  /** useAdaptiveEntropy: nats. */
  entropyTarget?: number | undefined;

  /**
   * How rewards become advantages: of completions or, for 'reinforce_plus_plus' and 'gae' (PPO with a value
   * head), of tokens.
   */
  advantageEstimator?: 'grpo' | 'rloo' | 'reinforce' | 'reinforce_plus_plus' | 'gae' | undefined;
  /** grpo: what advantages are divided by. true: 'group', false: 'none'. */
  scaleRewards?: 'group' | 'batch' | 'none' | boolean | undefined;
  /** grpo: normalise the weighted sum, or each function's rewards before summing. */
  multiObjectiveAggregation?: 'sum_then_normalize' | 'normalize_then_sum' | undefined;
  /** reinforce: subtract the mean reward of the step. */
  reinforceBaseline?: 'batch_mean' | 'none' | undefined;
  /** rloo, reinforce: shift and scale the step's advantages to mean 0, std 1. */
  normalizeAdvantages?: boolean | undefined;
  /** Clamps each completion's summed reward to [least, most], before any KL penalty. */
  rewardClipRange?: [number, number] | null | undefined;
  /** reinforce_plus_plus, gae: discount per token. */
  gamma?: number | undefined;
  /** gae: λ. */
  lam?: number | undefined;
  /** gae: weight of the value loss. */
  vfCoef?: number | undefined;
  /** gae: how far a value may move from the rollout's before its loss is clipped. */
  cliprangeValue?: number | undefined;
  /** gae: scale the step's token rewards to std 1. */
  whitenRewards?: boolean | undefined;

  /** For rollouts made elsewhere: weigh tokens by π_training / π_sampling, bounded as below. */
  vllmImportanceSamplingCorrection?: boolean | undefined;
  /** By token or sequence; beyond the bounds a weight is cut to them, or is 0. */
  vllmImportanceSamplingMode?:
    | 'token_truncate'
    | 'token_mask'
    | 'sequence_truncate'
    | 'sequence_mask'
    | undefined;
  /** Lower bound of the weights; null: none. */
  vllmImportanceSamplingClipMin?: number | null | undefined;
  /** Upper bound of the weights; null: none. */
  vllmImportanceSamplingClipMax?: number | null | undefined;

  /** One per reward function. Absent: 1 each. */
  rewardWeights?: number[] | undefined;
  /** For each reward function and step, synchronous code included. */
  rewardTimeoutMs?: number | undefined;

  /** Write completions.jsonl (needs outputDir). */
  logCompletions?: boolean | undefined;
  /** Completions per prompt of the evalDataset. Absent: numGenerations. */
  numGenerationsEval?: number | undefined;
}

/** GRPOConfig and stage 1: the classifier alone, before the maxSteps of stage 2. */
export interface CFRLConfig extends GRPOConfig {
  /** Steps of stage 1, before maxSteps of stage 2. */
  classifierSteps?: number | undefined;
  /** Absent: 10 × learningRate (30 × is faster and less stable). */
  classifierLearningRate?: number | undefined;
  /**
   * Stage 1 ends early, at a fourth step at which ‖∂L/∂θ_φ‖² is at least this multiple of ‖∂L/∂W‖² on the
   * step's batch: the body then has that much more to gain than the classifier. A check costs a backward pass
   * through the body. Absent: classifierSteps alone decide.
   */
  switchRatio?: number | undefined;
}

/**
 * GRPOConfig with the defaults of TRL's RLOOTrainer: numGenerations 2, leave-one-out advantages, KL of weight
 * beta 0.05 in the reward, one ratio per completion.
 */
export interface RLOOConfig extends GRPOConfig {}

/**
 * GRPOConfig with the defaults of TRL's PPOTrainer: a value head and GAE, numIterations 4 (num_ppo_epochs),
 * beta 0.05 (kl_coef) in the reward, learningRate 3e-6, temperature 0.7, completions of at most 53 tokens.
 */
export interface PPOConfig extends GRPOConfig {}

/** Options of SFTTrainer, by TRL's names where TRL has them. */
export interface SFTConfig extends TrainingOptions {
  /** Tokens. Longer samples lose their end; also cut to the model's context. */
  maxLength?: number | undefined;
  /**
   * 'ft' trains what `trainable` says, 'lp' (linear probing) the classifier alone, 'lp_ft' the classifier for
   * lpSteps and then everything (2202.10054), each with a fresh optimizer and schedule.
   */
  mode?: 'ft' | 'lp' | 'lp_ft' | undefined;
  /** lp_ft: steps of the first stage, before those of the second. Absent: as many as the second has. */
  lpSteps?: number | undefined;
  /** lp, lp_ft: of the classifier's stage. Absent: learningRate. */
  lpLearningRate?: number | undefined;
  /** Score the completion only. */
  completionOnlyLoss?: boolean | undefined;
}
