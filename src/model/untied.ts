/**
 * A tied model's twin whose classifier is a parameter of its own: tells the two uses of the shared matrix
 * apart.
 */
import { type JobOptions, runJob } from '../core/job.js';
import { addon } from '../core/addon/addon.js';
import type { ModelSpec } from '../core/addon/contract.js';
import { Model } from './model.js';

/** The name that stands for the classifier use of a tied matrix. */
export const classifierUse = (embedding: string): string => `${embedding} (as classifier)`;

/**
 * Same function, same numbers; the classifier comes last in the parameter order. The caller disposes of it.
 */
export async function untiedTwin(model: Model, job?: JobOptions): Promise<Model> {
  const embedding = model.spec.parameters.findIndex((p) => p.role === 'embedding');
  const { name, shape } = model.spec.parameters[embedding]!;
  const spec: ModelSpec = {
    ...model.spec,
    parameters: [
      ...model.spec.parameters,
      { name: classifierUse(name), role: 'classifier', layer: -1, shape },
    ],
  };
  const twin = new Model(
    model.context,
    model.family,
    { ...model.config, tie_word_embeddings: false },
    spec,
    new addon.Model(model.context.native, spec),
    model.companions,
  );
  try {
    await Promise.all(
      spec.parameters.map(async (_, index) => {
        const data = await runJob(job, () =>
          model.native.readParameter(index < model.spec.parameters.length ? index : embedding),
        );
        await runJob(job, () => twin.native.writeParameter(index, data));
      }),
    );
  } catch (error) {
    twin.dispose();
    throw error;
  }
  return twin;
}
