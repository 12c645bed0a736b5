/** PPO with a value head and GAE (1707.06347, 1506.02438) and RLOO (2402.14740): GRPOTrainer under the defaults of TRL's trainers. */
import { type PPOConfig, resolveConfig, type RLOOConfig } from './config.js';
import { GRPOTrainer, type GRPOTrainerArguments } from './grpo.js';

export class PPOTrainer extends GRPOTrainer {
  constructor(args: GRPOTrainerArguments<PPOConfig>) {
    super({ ...args, config: undefined }, resolveConfig('PPOConfig', args.config));
  }
}

export class RLOOTrainer extends GRPOTrainer {
  constructor(args: GRPOTrainerArguments<RLOOConfig>) {
    super({ ...args, config: undefined }, resolveConfig('RLOOConfig', args.config));
  }
}
