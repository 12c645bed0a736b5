/** Post-training: GRPO and its family, classifier-first RL, supervised fine-tuning. */
export { CFRLTrainer } from './trainers/cfrl.js';
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
export { configOptions, resolveConfig } from './config/config.js';
export { readJsonLines, trainTestSplit } from './rollout/dataset.js';
export {
  evaluateRewards,
  type RewardEvaluation,
  type RewardEvaluationOptions,
} from './rewards/evaluateRewards.js';
export { GRPOTrainer } from './trainers/grpo.js';
export {
  openAIRollouts,
  type RemoteRolloutOptions,
  type RolloutRequest,
  type RolloutSource,
  sglangRollouts,
  sglangWeightSync,
} from './rollout/remoteRollouts.js';
export { PPOTrainer, RLOOTrainer } from './trainers/ppo.js';
export { loadReward } from './rewards/loadReward.js';
export {
  builtinRewards,
  httpReward,
  type HttpRewardOptions,
  lengthReward,
  type LengthRewardOptions,
  mathReward,
  type MathRewardOptions,
  regexReward,
  repetitionPenaltyReward,
  type RepetitionPenaltyOptions,
  type RewardRequest,
  sameAnswer,
  softOverlongPunishment,
  type SoftOverlongOptions,
  thinkFormatReward,
} from './rewards/index.js';
export { SFTTrainer, type SFTTrainerArguments } from './trainers/sft.js';
export type { SFTRow } from './trainers/sftRows.js';
export type { Stage } from './config/stages.js';
export type { GRPOTrainerArguments, TrainerArguments } from './trainers/arguments.js';
export type * from './interfaces.js';
