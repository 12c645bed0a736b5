/**
 * Model families as data: each maps a Hugging Face config and its tensor names to the engine's description. A
 * new family is one file beside this one, and one entry in the list below.
 */
import { fail } from '../../errors.js';
import type { Family, HfConfig } from './family.js';
import { gpt } from './gpt.js';
import { gpt2 } from './gpt2.js';
import { gptNeox } from './gpt_neox.js';
import { llama } from './llama.js';
import { qwen2 } from './qwen2.js';
import { qwen3 } from './qwen3.js';

const families: readonly Family[] = [gpt, gpt2, gptNeox, llama, qwen2, qwen3];

/** The family of a config's model_type. @throws ERR_UNSUPPORTED naming the type and the known ones. */
export function familyOf(config: HfConfig): Family {
  const type = config['model_type'];
  const family = families.find(({ modelType }) => modelType === type);
  if (family) return family;
  const known = families.map(({ modelType }) => modelType).join(', ');
  return fail(
    'ERR_UNSUPPORTED',
    `config.json: model_type ${JSON.stringify(type)} is not known; known are ${known}`,
  );
}
