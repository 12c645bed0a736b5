/** Post-training: GRPO and its family, classifier-first RL, supervised fine-tuning. */
export type { CFRLConfig, CommonConfig, GRPOConfig, ResolvedCFRLConfig, ResolvedGRPOConfig, ResolvedSFTConfig, SFTConfig, StageConfig } from './config.js';
export { configOptions, resolveConfig } from './config.js';
export type * from './types.js';
