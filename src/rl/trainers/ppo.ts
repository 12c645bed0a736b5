/**
 * PPO with a value head and GAE (1707.06347, 1506.02438) and RLOO (2402.14740): GRPOTrainer under the
 * defaults of TRL's trainers.
 */
import type { PPOConfig, RLOOConfig } from '../config/options.js';
import type { GRPOTrainerArguments } from './arguments.js';
import { GRPOTrainer, policyConfig } from './grpo.js';

/**
 * PPO (1707.06347) with a value head on φ and generalised advantages (1506.02438), under TRL's PPOTrainer's
 * defaults. @throws as GRPOTrainer.
 */
export class PPOTrainer extends GRPOTrainer {
  constructor(args: GRPOTrainerArguments<PPOConfig>) {
    super({ ...args, config: undefined }, policyConfig('PPOTrainer', 'PPOConfig', args));
  }
}

/**
 * REINFORCE with a leave-one-out baseline (2402.14740), under TRL's RLOOTrainer's defaults. @throws as
 * GRPOTrainer.
 */
export class RLOOTrainer extends GRPOTrainer {
  constructor(args: GRPOTrainerArguments<RLOOConfig>) {
    super({ ...args, config: undefined }, policyConfig('RLOOTrainer', 'RLOOConfig', args));
  }
}
