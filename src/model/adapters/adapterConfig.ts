/** adapter_config.json, key by key: what it says to peft, or why it is refused. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { io } from '../../core/files.js';
import { parseJson } from '../../core/text.js';
import { fail } from '../../errors.js';
import type { Family, HfConfig } from '../families/family.js';
import { type ResolvedPeftConfig, resolvePeftConfig } from './adapters.js';
import { CLASSIFIER } from './moduleNames.js';

export const ADAPTER_CONFIG = 'adapter_config.json';

/** Keys that resolvePeftConfig() takes. */
const READ = [
  'r',
  'lora_alpha',
  'use_rslora',
  'target_modules',
  'exclude_modules',
  'layers_to_transform',
  'layers_pattern',
  'modules_to_save',
  'init_lora_weights',
  'peft_type',
];

/** Keys that change nothing in a finished adapter, whatever they hold. */
const NEUTRAL = [
  'auto_mapping',
  'base_model_name_or_path',
  // Dropout is a thing of training; a finished adapter computes without.
  'lora_dropout',
  // Of how the numbers of an adapter were found. They lie in the file.
  'corda_config',
  'eva_config',
  'loftq_config',
  'lora_ga_config',
  // peft finds out for itself which layers are stored [in, out].
  'fan_in_fan_out',
  'inference_mode',
  // Read where megatron_config, use_qalora and the like are set, which are refused.
  'megatron_core',
  'qalora_group_size',
  'peft_version',
  'revision',
  'runtime_config',
  'task_type',
];

/** Why a key is refused where it is set; other keys that are set are unknown. */
const REFUSED: Readonly<Record<string, string>> = {
  alora_invocation_tokens: 'an adapter that begins at some tokens',
  alpha_pattern: 'one rank and alpha serve all adapters here',
  arrow_config: 'adapters that are mixed by the input',
  bias: 'the biases of the base model would have to train; only "none" is supported',
  ensure_weight_tying: 'the embedding and the classifier are two modules beside an adapter',
  kasa_config: 'another product of A and B',
  layer_replication: 'layers that stand in the model more than once',
  lora_bias: 'a bias beside B',
  megatron_config: 'layers of Megatron',
  monteclora_config: 'weights that are sampled',
  rank_pattern: 'one rank and alpha serve all adapters here',
  target_parameters: 'adapters of parameters that are no linear layers',
  trainable_token_indices: 'rows of the embedding beside the adapter; use modules_to_save',
  use_bdlora: 'block-diagonal A and B',
  use_dora: 'a norm beside A and B',
  use_qalora: 'inputs that are pooled',
  velora_config: 'activations that are compressed',
};

/** init_lora_weights that leave the base weights as they are. */
const PLAIN_STARTS: readonly unknown[] = [undefined, null, true, false, 'gaussian', 'eva', 'orthogonal'];

/** Those that do not: peft takes a part out of the base weights before it reads the adapter. */
const CHANGES_BASE = /^(pissa|corda|olora|loftq|lora_ga)/i;

const isSet = (key: string, value: unknown): boolean => {
  if (key === 'bias') return value !== undefined && value !== null && value !== 'none';
  if (typeof value === 'object' && value !== null) return Object.keys(value).length > 0;
  return value !== undefined && value !== null && value !== false;
};

export async function readAdapterConfig(
  caller: string,
  directory: string,
  family: Family,
): Promise<ResolvedPeftConfig> {
  const path = join(directory, ADAPTER_CONFIG);
  const bytes = await io(caller, 'read', path, () => readFile(path));
  const config: HfConfig = parseJson(caller, path, bytes);
  checkKeys(`${caller}: ${path}`, config, family);
  return resolvePeftConfig(`${caller}: ${path}`, family, {
    r: given(config['r']),
    loraAlpha: given(config['lora_alpha']),
    useRslora: given(config['use_rslora']),
    excludeModules: given(config['exclude_modules']),
    layersToTransform: given(config['layers_to_transform']),
    layersPattern: given(config['layers_pattern']),
    modulesToSave: given(config['modules_to_save']),
    targetModules: given(config['target_modules']),
  });
}

/** A value of the type that resolvePeftConfig() checks it for; null is as good as none. */
const given = <T>(value: unknown): T | undefined => (value ?? undefined) as T | undefined;

/** @throws ERR_UNSUPPORTED for a key or value that changes what the adapter computes. */
function checkKeys(place: string, config: HfConfig, family: Family): void {
  const refuse = (key: string, why: string): never =>
    fail('ERR_UNSUPPORTED', `${place}: ${key} ${JSON.stringify(config[key])} is not supported: ${why}`);
  if (config['peft_type'] !== 'LORA') refuse('peft_type', 'supported: "LORA"');
  for (const [key, value] of Object.entries(config)) {
    if (READ.includes(key) || NEUTRAL.includes(key) || !isSet(key, value)) continue;
    refuse(key, REFUSED[key] ?? 'the key is not known, so it may change what the adapter computes');
  }
  const start = config['init_lora_weights'];
  if (!PLAIN_STARTS.includes(start))
    refuse(
      'init_lora_weights',
      CHANGES_BASE.test(String(start))
        ? 'it changes the weights beside the adapter, which lie in neither directory; save the adapter in peft by ' +
            'save_pretrained(…, path_initial_model_for_weight_conversion=…), or merge it'
        : 'the value is not known, so it may change the weights beside the adapter; merge the adapter in peft',
    );
  const saved = [config['modules_to_save'] ?? []].flat();
  if (family.classifierInFiles !== undefined && saved.includes(family.classifierInFiles))
    refuse(
      'modules_to_save',
      `transformers 5 calls this module '${CLASSIFIER}', and peft ignores the other name; rename it there and in ` +
        'the names of the tensors',
    );
}
