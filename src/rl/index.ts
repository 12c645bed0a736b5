/** Post-training: GRPO and its family, classifier-first RL, supervised fine-tuning. */

// Trainers, and what they exchange with their users.
export { CFRLTrainer } from './trainers/cfrl.js';
export { GRPOTrainer } from './trainers/grpo.js';
export { PPOTrainer, RLOOTrainer } from './trainers/ppo.js';
export { SFTTrainer, type SFTTrainerArguments } from './trainers/sft.js';
export type { SFTRow } from './trainers/sftRows.js';
export type { GRPOTrainerArguments, TrainerArguments } from './trainers/arguments.js';
export type * from './interfaces.js';

// Options.
export { configOptions, resolveConfig } from './config/config.js';
export type {
  CommonConfig,
  ResolvedCFRLConfig,
  ResolvedGRPOConfig,
  ResolvedSFTConfig,
} from './config/config.js';
export type {
  CFRLConfig,
  GRPOConfig,
  LrScheduler,
  LrSchedulerKwargs,
  PPOConfig,
  RLOOConfig,
  SFTConfig,
  StageConfig,
  TrainingOptions,
} from './config/options.js';
export type { Stage } from './config/stages.js';

// Data sets, and completions sampled elsewhere.
export { readJsonLines, trainTestSplit } from './rollout/dataset.js';
export {
  openAIRollouts,
  type RemoteRolloutOptions,
  type RolloutRequest,
  type RolloutSource,
  sglangRollouts,
  sglangWeightSync,
} from './rollout/remoteRollouts.js';

// Rewards.
export * from './rewards/index.js';
export { loadReward } from './rewards/loadReward.js';
export {
  evaluateRewards,
  type RewardEvaluation,
  type RewardEvaluationOptions,
} from './rewards/evaluateRewards.js';
