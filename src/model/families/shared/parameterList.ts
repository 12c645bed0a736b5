/** The list of a model's parameters, and how fresh ones are drawn. */
import type { ParameterRole, ParameterSpec } from '../../../core/addon/contract.js';
import type { HfConfig } from '../family.js';
import { positive } from './configValues.js';

/** Collects a model's parameters; names begin with the prefix set by at(). */
export class ParameterList {
  readonly list: ParameterSpec[] = [];
  #layer = -1;
  #prefix = '';

  at(layer: number, prefix: string): void {
    this.#layer = layer;
    this.#prefix = prefix;
  }
  add(role: ParameterRole, name: string, ...shape: number[]): void {
    this.list.push({ name: this.#prefix + name, role, layer: this.#layer, shape });
  }
  /** Parameters that exist only in some models. */
  addIf(present: boolean, role: ParameterRole, name: string, ...shape: number[]): void {
    if (present) this.add(role, name, ...shape);
  }
}

/** transformers' initialisation: one standard deviation for every matrix. */
export const initializerRange = (_parameter: ParameterSpec, config: HfConfig): number =>
  positive(config, 'initializer_range');
