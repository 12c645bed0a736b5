/** Keeps the weights of a sampling server up to date. */
import type { Model } from '../../model/model.js';
import type { RolloutSource } from './remoteRollouts.js';

/** Calls a source's syncWeights, where it has one, once for every step that it has not seen. */
export class WeightSync {
  readonly #source: RolloutSource | undefined;
  /** The step whose weights the source has. */
  #step: number | undefined;

  constructor(source: RolloutSource | undefined) {
    this.#source = source;
  }

  async upTo(step: number, model: Model, signal: AbortSignal | undefined): Promise<void> {
    if (!this.#source?.syncWeights || this.#step === step) return;
    await this.#source.syncWeights(model, step, signal);
    this.#step = step;
  }
}
