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
};

/**
 * @throws ERR_UNSUPPORTED naming the key, when the config asks for something that no family here computes.
 */
export function refuseUnsupported(config: HfConfig): void {
  for (const [key, [neutral, why]] of Object.entries(CHANGES_THE_MATHS)) {
    const value = config[key];
    const empty = typeof value === 'object' && value !== null && Object.keys(value).length === 0;
    if (value !== undefined && value !== null && value !== false && value !== neutral && !empty)
      refuse(config, key, why);
  }
}

/** A window at least as long as the context changes nothing. */
export function refuseSlidingWindow(config: HfConfig, maxPositions: number): void {
  const {
    sliding_window: window,
    layer_types: types,
    use_sliding_window: used,
    max_window_layers: fullLayers,
    num_hidden_layers: layers,
  } = config;
  const long = typeof window === 'number' && window >= maxPositions;
  if (Array.isArray(types)) {
    if (types.some((type) => type !== 'full_attention' && !(type === 'sliding_attention' && long)))
      refuse(config, 'layer_types', 'every layer attends to all earlier positions here');
    return;
  }
  const some = typeof fullLayers !== 'number' || fullLayers < (layers as number);
  if (typeof window === 'number' && !long && used !== false && some)
    refuse(
      config,
      'sliding_window',
      'every layer attends to all earlier positions here; set max_position_embeddings to at most the window to ' +
        'use the model within it',
    );
}
