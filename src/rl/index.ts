/** Post-training: GRPO and its family, classifier-first RL, supervised fine-tuning. */
export { CFRLTrainer } from './cfrl.js';
export type { CommonConfig, ResolvedCFRLConfig, ResolvedGRPOConfig, ResolvedSFTConfig } from './config.js';
export type { CFRLConfig, GRPOConfig, LrScheduler, LrSchedulerKwargs, PPOConfig, RLOOConfig, SFTConfig, StageConfig, TrainingOptions } from './options.js';
export { configOptions, resolveConfig } from './config.js';
export { readJsonLines, trainTestSplit } from './dataset.js';
export { evaluateRewards, type RewardEvaluation, type RewardEvaluationOptions } from './evaluateRewards.js';
export { GRPOTrainer, type GRPOTrainerArguments } from './grpo.js';
export { openAIRollouts, type RemoteRolloutOptions, type RolloutRequest, type RolloutSource, sglangRollouts, sglangWeightSync } from './remoteRollouts.js';
export { PPOTrainer, RLOOTrainer } from './ppo.js';
export { loadReward } from './rewards.js';
export {
  builtinRewards, httpReward, type HttpRewardOptions, lengthReward, type LengthRewardOptions, mathReward, type MathRewardOptions, regexReward, repetitionPenaltyReward, type RepetitionPenaltyOptions, type RewardRequest, sameAnswer,
  softOverlongPunishment, type SoftOverlongOptions, thinkFormatReward,
} from './rewards/index.js';
export { type SFTRow, SFTTrainer, type SFTTrainerArguments } from './sft.js';
export type { Stage } from './stages.js';
export type { TrainerArguments } from './trainer.js';
export type * from './types.js';
