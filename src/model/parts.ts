/**
 * What a model is made of. The class Model has these fields; the files that do its work (batches, scoring,
 * gradients, sampling, saving) take a `ModelParts` and so need not import the class that imports them.
 */
import { addon } from '../core/addon/addon.js';
import type { NativeModel } from '../core/addon/contract.js';
import { rule, type Rule } from '../core/check.js';
import type { Context } from '../core/context.js';
import type { ResolvedPeftConfig } from './adapters/adapters.js';
import type { Companions } from './companions.js';
import type { Family, HfConfig } from './families/family.js';
import type { HasParameters } from './parameters.js';

/** The fields of a Model, and the list of its parameters. */
export interface ModelParts extends HasParameters {
  readonly context: Context;
  readonly family: Family;
  /** The complete Hugging Face config. */
  readonly config: HfConfig;
  readonly native: NativeModel;
  readonly companions: Companions;
  readonly peftConfig: ResolvedPeftConfig | undefined;
}

/**
 * Of arguments that are models. A model is known by its native half, because this file lies below the class.
 */
export const modelRule: Rule = rule(
  'a Model',
  (value) => (value as Partial<ModelParts> | null | undefined)?.native instanceof addon.Model,
);
