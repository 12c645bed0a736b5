/** Hugging Face directories: reading and writing. */
import type { Context } from '../core/context.js';
import type { JobOptions } from '../core/job.js';
import { fail } from '../errors.js';
import type { ModelSpec } from '../native/types.js';
import type { Family, HfConfig } from './families/index.js';
import type { Model } from './model.js';
import type { Tokenizer } from './tokenizer.js';

export interface LoadOptions {
  readonly context?: Context;
  /** Arithmetic and storage; files may hold anything. Default 'float32'. */
  readonly dtype?: 'float32';
  /** Gives a tied model a classifier of its own, equal to the embedding at first. */
  readonly untieClassifier?: boolean;
}

export interface SaveOptions {
  readonly dtype?: 'F32' | 'BF16' | 'F16';
}

export interface LoadedCheckpoint {
  readonly family: Family;
  readonly config: HfConfig;
  readonly spec: ModelSpec;
  /** One per spec.parameters entry, in its order. */
  readonly tensors: readonly { readonly path: string; readonly offset: number; readonly dtype: 'F32' | 'BF16' | 'F16' | 'F64' }[];
  readonly tokenizer?: Tokenizer;
}

export async function loadCheckpoint(directory: string, _options: LoadOptions): Promise<LoadedCheckpoint> {
  return fail('ERR_UNSUPPORTED', `fromPretrained: not written yet (${directory})`);
}

export async function saveCheckpointDirectory(_model: Model, directory: string, _options: SaveOptions & JobOptions): Promise<void> {
  fail('ERR_UNSUPPORTED', `savePretrained: not written yet (${directory})`);
}
