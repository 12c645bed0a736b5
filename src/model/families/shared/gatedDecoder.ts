/** The Llama line: what llama, qwen2 and qwen3 have in common. */
import type { ModelSpec } from '../../../core/addon/contract.js';
import type { HfConfig } from '../family.js';
import { choice, flag, GATED_ACTIVATIONS, multiple, positive, size, withDefaults } from './configValues.js';
import { ParameterList } from './parameterList.js';
import { refuseSlidingWindow, refuseUnsupported, type WindowDefaults } from './refusals.js';
import { rotary } from './rotary.js';

const GATED_DEFAULTS = {
  hidden_act: 'silu',
  initializer_range: 0.02,
  rms_norm_eps: 1e-6,
  tie_word_embeddings: false,
};

/**
 * Config of the Llama line with its defaults; `defaults` are the family's own, and so is what windows mean.
 */
export function completeGatedDecoder(
  config: HfConfig,
  defaults: HfConfig,
  windows?: WindowDefaults,
): HfConfig {
  refuseUnsupported(config);
  const heads = config['num_attention_heads'];
  // Absent, it is the family's default; null means as many as there are heads.
  const { num_key_value_heads: defaultKvHeads = heads, ...others } = defaults;
  const kvHeads = 'num_key_value_heads' in config ? heads : defaultKvHeads;
  const complete = withDefaults(config, {
    ...GATED_DEFAULTS,
    num_key_value_heads: kvHeads,
    head_dim: Math.floor(size(config, 'hidden_size') / size(config, 'num_attention_heads')),
    ...others,
  });
  multiple(complete, 'num_attention_heads', 'num_key_value_heads');
  refuseSlidingWindow(complete, size(complete, 'max_position_embeddings'), windows);
  return complete;
}

/** What the families of the line differ in. */
interface Variant {
  /** Biases on the projections of queries, keys and values. */
  readonly qkvBias?: boolean;
  /** A bias on the projection out of attention. */
  readonly outBias?: boolean;
  /** Biases on the three matrices of the MLP. */
  readonly mlpBias?: boolean;
  /** RMS norms on each head's queries and keys, before the rotation. */
  readonly qkNorm?: boolean;
}

/**
 * The Llama line (Touvron et al. 2023): RMS norms, rotary positions, grouped queries, a SiLU-gated MLP. The
 * weights of q, k and v lie next to each other, and so do their biases, and gate and up: the engine
 * multiplies them as one matrix.
 */
export function gatedDecoder(
  config: HfConfig,
  { qkvBias = false, outBias = false, mlpBias = false, qkNorm = false }: Variant,
): ModelSpec {
  const V = size(config, 'vocab_size');
  const C = size(config, 'hidden_size');
  const L = size(config, 'num_hidden_layers');
  const H = size(config, 'num_attention_heads');
  const K = size(config, 'num_key_value_heads');
  const D = size(config, 'head_dim');
  const F = size(config, 'intermediate_size');
  const parameters = new ParameterList();
  parameters.at(-1, 'model.');
  parameters.add('embedding', 'embed_tokens.weight', V, C);
  for (let layer = 0; layer < L; ++layer) {
    parameters.at(layer, `model.layers.${layer}.`);
    parameters.add('attention_norm', 'input_layernorm.weight', C);
    parameters.add('q', 'self_attn.q_proj.weight', H * D, C);
    parameters.add('k', 'self_attn.k_proj.weight', K * D, C);
    parameters.add('v', 'self_attn.v_proj.weight', K * D, C);
    parameters.addIf(qkvBias, 'q_bias', 'self_attn.q_proj.bias', H * D);
    parameters.addIf(qkvBias, 'k_bias', 'self_attn.k_proj.bias', K * D);
    parameters.addIf(qkvBias, 'v_bias', 'self_attn.v_proj.bias', K * D);
    parameters.addIf(qkNorm, 'q_norm', 'self_attn.q_norm.weight', D);
    parameters.addIf(qkNorm, 'k_norm', 'self_attn.k_norm.weight', D);
    parameters.add('attention_out', 'self_attn.o_proj.weight', C, H * D);
    parameters.addIf(outBias, 'attention_out_bias', 'self_attn.o_proj.bias', C);
    parameters.add('mlp_norm', 'post_attention_layernorm.weight', C);
    parameters.add('mlp_gate', 'mlp.gate_proj.weight', F, C);
    parameters.add('mlp_up', 'mlp.up_proj.weight', F, C);
    parameters.addIf(mlpBias, 'mlp_gate_bias', 'mlp.gate_proj.bias', F);
    parameters.addIf(mlpBias, 'mlp_up_bias', 'mlp.up_proj.bias', F);
    parameters.add('mlp_down', 'mlp.down_proj.weight', C, F);
    parameters.addIf(mlpBias, 'mlp_down_bias', 'mlp.down_proj.bias', C);
  }
  parameters.at(-1, '');
  parameters.add('final_norm', 'model.norm.weight', C);
  parameters.addIf(!flag(config, 'tie_word_embeddings'), 'classifier', 'lm_head.weight', V, C);
  return {
    vocabSize: V,
    hiddenSize: C,
    layers: L,
    heads: H,
    kvHeads: K,
    headDim: D,
    mlpSize: F,
    maxPositions: size(config, 'max_position_embeddings'),
    norm: 'rms',
    normEps: positive(config, 'rms_norm_eps'),
    activation: choice(config, 'hidden_act', GATED_ACTIVATIONS),
    rotary: rotary(config, D, {
      theta: config['rope_theta'],
      fraction: config['partial_rotary_factor'],
      partialByDefault: false,
    }),
    parallelResidual: false,
    transposedLinears: false,
    attentionScale: 1 / Math.sqrt(D),
    parameters: parameters.list,
  };
}
