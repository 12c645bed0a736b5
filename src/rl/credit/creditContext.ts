/** What giving credit needs beside the rollout and its rewards. */
import type { Model } from '../../model/model.js';
import type { ResolvedGRPOConfig } from '../config/config.js';
import type { BatchFeatures } from './features.js';

export interface CreditContext {
  readonly model: Model;
  /** For a KL term; undefined without one. */
  readonly reference: Model | undefined;
  readonly config: ResolvedGRPOConfig;
  readonly features: BatchFeatures;
  /** The completions come from a server, whose policy may differ from the model's. */
  readonly sampledElsewhere: boolean;
  readonly signal: AbortSignal | undefined;
}
