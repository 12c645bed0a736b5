/** Features φ of the batch under way: what the classifier and the value head read. */
import type { Tensor } from '../../core/tensor.js';
import type { Sample } from '../../model/batch.js';
import type { Model } from '../../model/model.js';
import type { ByKept } from '../spaces.js';

/**
 * While only the classifier trains, the features of a batch stay as they are through all its updates: they
 * are then computed once and given to every pass of it.
 */
export class BatchFeatures {
  readonly #model: Model;
  #kept: Tensor | undefined;

  constructor(model: Model) {
    this.#model = model;
  }

  /** As an option for model.score and accumulateGradients; empty when the body trains too. */
  async shared(
    samples: ByKept<Sample>,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly features?: Tensor }> {
    const trained = this.#model.parameters((parameter) => parameter.trainable);
    const classifierOnly = trained.every((parameter) => parameter.role === 'classifier');
    if (!classifierOnly || samples.length === 0) return {};
    this.#kept ??= await this.#model.features([...samples], { signal });
    return { features: this.#kept };
  }

  /** Calls `use` with the features: the shared ones, or some that exist for this call alone. */
  async with<T>(
    samples: ByKept<Sample>,
    signal: AbortSignal | undefined,
    use: (features: Tensor) => Promise<T>,
  ): Promise<T> {
    const { features: shared } = await this.shared(samples, signal);
    if (shared) return use(shared);
    const own = await this.#model.features([...samples], { signal });
    try {
      return await use(own);
    } finally {
      own.dispose();
    }
  }

  /** The batch has no updates left, or its step failed. */
  drop(): void {
    this.#kept?.dispose();
    this.#kept = undefined;
  }
}
