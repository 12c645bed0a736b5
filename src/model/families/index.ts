/**
 * Model families as data: each maps a Hugging Face config and tensor names to the engine's description. A new
 * family is one file and one line here.
 */
import { fail } from '../../errors.js';
import { runJob } from '../../core/job.js';
import type { ModelSpec, ParameterSpec } from '../../core/addon/contract.js';
import { isAdapter } from '../adapters/adapters.js';
import type { Model } from '../model.js';
import { gpt } from './gpt.js';
import { gpt2 } from './gpt2.js';
import { gptNeox } from './gpt_neox.js';
import { llama } from './llama.js';
import { qwen2 } from './qwen2.js';
import { qwen3 } from './qwen3.js';

export type HfConfig = Readonly<Record<string, unknown>>;

export interface Family {
  readonly modelType: string;
  /** transformers' class, for config.json's `architectures`. */
  readonly architecture?: string;
  /**
   * What names of the headless model lack: 'transformer.' in GPT-2, whose published checkpoint begins with
   * 'wte.weight'.
   */
  readonly basePrefix?: string;
  /**
   * The config with defaults filled in; refuses values the engine does not implement (ERR_UNSUPPORTED, naming
   * the key).
   */
  complete(config: HfConfig): HfConfig;
  spec(config: HfConfig): ModelSpec;
  /** What LoRA adapts unless told: peft's choice for the family. */
  readonly loraTargets: readonly string[];
  /** Standard deviation of a fresh weight; gains are 1 and biases 0 whatever it says. */
  initialStd(parameter: ParameterSpec, config: HfConfig): number;
}

const families: readonly Family[] = [gpt, gpt2, gptNeox, llama, qwen2, qwen3];

/** @throws ERR_UNSUPPORTED naming the model_type and the known ones. */
export function familyOf(config: HfConfig): Family {
  const type = config['model_type'];
  return (
    families.find((family) => family.modelType === type) ??
    fail(
      'ERR_UNSUPPORTED',
      `config.json: model_type ${JSON.stringify(type)} is not known; known are ${families.map((f) => f.modelType).join(', ')}`,
    )
  );
}

const isBias = (p: ParameterSpec) => /_bias$/.test(p.role);
const isGain = (p: ParameterSpec) => /norm$/.test(p.role);

/** Fresh random weights: normal with the family's std; parameter i draws from stream i of `seed`. */
export async function initialise(model: Model, seed: number): Promise<void> {
  for (const [index, parameter] of model.spec.parameters.entries()) {
    if (isAdapter(parameter)) continue;
    const std = isGain(parameter) || isBias(parameter) ? 0 : model.family.initialStd(parameter, model.config);
    await runJob(undefined, () => model.native.initParameter(index, std, isGain(parameter) ? 1 : 0, seed));
  }
}
