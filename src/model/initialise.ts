/** Fresh random weights. */
import type { ParameterSpec } from '../core/addon/contract.js';
import { runJob } from '../core/job.js';
import { isAdapter } from './adapters/adapters.js';
import type { ModelParts } from './parts.js';

const isBias = ({ role }: ParameterSpec) => role.endsWith('_bias');
const isGain = ({ role }: ParameterSpec) => role.endsWith('norm');

/**
 * Draws every weight but an adapter's: normal with the family's standard deviation; gains are 1 and biases 0.
 * Parameter i draws from stream i of `seed`.
 */
export async function initialiseWeights(model: ModelParts, seed: number): Promise<void> {
  for (const [index, parameter] of model.spec.parameters.entries()) {
    if (isAdapter(parameter)) continue;
    const fixed = isGain(parameter) || isBias(parameter);
    const std = fixed ? 0 : model.family.initialStd(parameter, model.config);
    const mean = isGain(parameter) ? 1 : 0;
    await runJob(undefined, () => model.native.initParameter(index, std, mean, seed));
  }
}

/** The classifier of a model that would be tied but for its adapter begins as a copy of the embedding. */
export async function copyEmbedding({ native, spec }: ModelParts): Promise<void> {
  const indexOf = (role: ParameterSpec['role']) => spec.parameters.findIndex((p) => p.role === role);
  const numbers = await runJob(undefined, () => native.readParameter(indexOf('embedding')));
  await runJob(undefined, () => native.writeParameter(indexOf('classifier'), numbers));
}

/**
 * Draws an adapter. B = 0, so the model computes at first what it did without it; A is normal with the
 * variance of peft's uniform distribution, 1 / (3 in).
 */
export async function initialiseAdapters(model: ModelParts, seed: number): Promise<void> {
  for (const [index, { role, shape }] of model.spec.parameters.entries()) {
    if (role !== 'lora_A') continue;
    const std = 1 / Math.sqrt(3 * shape[1]!);
    await runJob(undefined, () => model.native.initParameter(index, std, 0, seed));
  }
}
