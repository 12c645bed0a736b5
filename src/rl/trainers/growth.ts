/** What plain descent on a batch would gain through the classifier W and through the body θ_φ. */
import type { Sample } from '../../model/batch.js';
import type { GradientOptions, Model } from '../../model/model.js';

/** Steps between two looks. */
const GROWTH_EVERY = 4;

export const isGrowthDue = (stageStep: number): boolean => stageStep % GROWTH_EVERY === GROWTH_EVERY - 1;

/**
 * ‖∂L/∂W‖² and ‖∂L/∂θ_φ‖² of the batch: what plain descent gains through each per unit of learning rate,
 * whatever is trained now.
 */
export async function growthMetrics(
  model: Model,
  samples: readonly Sample[],
  loss: GradientOptions,
  signal: AbortSignal | undefined,
): Promise<Record<string, number>> {
  // Everything is trainable in a copy.
  using copy = await model.clone({ signal });
  await copy.accumulateGradients(samples, { ...loss, signal });
  const squares = { classifier: 0, body: 0 };
  for (const { name, role } of copy.parameters()) {
    const part = role === 'classifier' ? 'classifier' : 'body';
    const gradient = await copy.getGradient(name);
    for (let i = 0; i < gradient.length; ++i) squares[part] += gradient[i]! ** 2;
  }
  return { 'growth/representation': squares.classifier, 'growth/gradient': squares.body };
}
