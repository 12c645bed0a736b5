/** Refusing configs that ask for maths which no family here computes. */
import { fail } from '../../../errors.js';
import type { HfConfig } from '../family.js';
import { show } from './configValues.js';

/** @throws ERR_UNSUPPORTED naming the key, its value and why it is refused. */
export function refuse(config: HfConfig, key: string, why: string): never {
  return fail('ERR_UNSUPPORTED', `config: ${key} ${show(config[key])} is not supported: ${why}`);
}

/**
 * Keys that change the maths whatever the family, with the one value (besides null, false, [] and {}) that
 * does not.
 */
const CHANGES_THE_MATHS: Readonly<Record<string, readonly [neutral: unknown, why: string]>> = {
  quantization_config: [undefined, 'quantised weights; use the unquantised checkpoint'],
  compression_config: [undefined, 'compressed weights; use the uncompressed checkpoint'],
  num_experts: [0, 'mixtures of experts'],
  num_local_experts: [0, 'mixtures of experts'],
  n_routed_experts: [0, 'mixtures of experts'],
  attn_logit_softcapping: [undefined, 'soft-capped logits'],
  final_logit_softcapping: [undefined, 'soft-capped logits'],
  embedding_multiplier: [1, 'scaled embeddings'],
  residual_multiplier: [1, 'scaled residuals'],
  attention_multiplier: [undefined, 'another attention scale'],
  logits_scaling: [1, 'scaled logits'],
  attention_chunk_size: [undefined, 'chunked attention'],
  add_cross_attention: [undefined, 'cross attention'],
  is_encoder_decoder: [undefined, 'encoder-decoder models'],
  pruned_heads: [undefined, 'pruned heads'],
  alibi: [undefined, 'ALiBi positions'],
  qk_layernorm: [undefined, 'a norm on queries and keys'],
  use_qk_norm: [undefined, 'a norm on queries and keys'],
  use_mrope: [undefined, 'multimodal rotary positions'],
  per_layer_config: [undefined, 'layers that differ from each other'],
  fusion_config: [undefined, 'modules that are replaced on loading'],
};

/** Python's truth of a value of JSON. */
function isTrue(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.keys(value).length > 0;
  return Boolean(value);
}

/**
 * @throws ERR_UNSUPPORTED naming the key, when the config asks for something that no family here computes.
 */
export function refuseUnsupported(config: HfConfig): void {
  for (const [key, [neutral, why]] of Object.entries(CHANGES_THE_MATHS)) {
    const value = config[key];
    if (isTrue(value) && value !== neutral) refuse(config, key, why);
  }
  // transformers' masks read the key whatever the family, and take null for false.
  if (config['is_causal'] !== undefined && !isTrue(config['is_causal']))
    refuse(config, 'is_causal', 'a position attends to earlier positions only; remove the key');
}

/**
 * What a family takes for keys about windows that a config leaves out, where use_sliding_window switches them
 * on.
 */
export interface WindowDefaults {
  readonly sliding_window: number;
  readonly max_window_layers: number;
}

export const QWEN_WINDOWS: WindowDefaults = { sliding_window: 4096, max_window_layers: 28 };

/**
 * A window at least as long as the context changes nothing. Families without `defaults` have no windows of
 * their own, but transformers' caches read the key whatever the family.
 */
export function refuseSlidingWindow(config: HfConfig, maxPositions: number, defaults?: WindowDefaults): void {
  const given: HfConfig = { ...defaults, ...config };
  const { sliding_window: window, layer_types: types, max_window_layers: fullLayers } = given;
  const long = typeof window === 'number' && window >= maxPositions;
  if (Array.isArray(types)) {
    if (types.some((type) => type !== 'full_attention' && !(type === 'sliding_attention' && long)))
      refuse(config, 'layer_types', 'every layer attends to all earlier positions here');
    return;
  }
  const isOn = defaults === undefined || isTrue(config['use_sliding_window']);
  const reachesSome =
    defaults === undefined ||
    typeof fullLayers !== 'number' ||
    fullLayers < (config['num_hidden_layers'] as number);
  if (typeof window === 'number' && !long && isOn && reachesSome)
    refuse(
      given,
      'sliding_window',
      'every layer attends to all earlier positions here; set max_position_embeddings to at most the window to ' +
        'use the model within it',
    );
}
