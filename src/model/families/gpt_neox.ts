/**
 * GPT-NeoX (Black et al. 2022), the Pythia models: layer norms with bias, fused qkv head by head, rotary
 * positions on a part of each head, a plain MLP; attention and MLP side by side on one residual (x +
 * attention(norm₁ x) + mlp(norm₂ x)) or one after the other.
 */
import type { Family } from './family.js';
import {
  choice,
  flag,
  multiple,
  PLAIN_ACTIVATIONS,
  positive,
  size,
  withDefaults,
} from './shared/configValues.js';
import { initializerRange, ParameterList } from './shared/parameterList.js';
import { refuseSlidingWindow, refuseUnsupported } from './shared/refusals.js';
import { rotary } from './shared/rotary.js';

export const gptNeox: Family = {
  modelType: 'gpt_neox',
  architecture: 'GPTNeoXForCausalLM',
  basePrefix: 'gpt_neox.',
  classifierInFiles: 'embed_out',
  loraTargets: ['query_key_value'],
  complete(config) {
    refuseUnsupported(config);
    const complete = withDefaults(config, {
      attention_bias: true,
      hidden_act: 'gelu',
      initializer_range: 0.02,
      layer_norm_eps: 1e-5,
      max_position_embeddings: 2048,
      tie_word_embeddings: false,
      use_parallel_residual: true,
    });
    multiple(complete, 'hidden_size', 'num_attention_heads');
    refuseSlidingWindow(complete, size(complete, 'max_position_embeddings'));
    return complete;
  },
  spec(config) {
    const V = size(config, 'vocab_size');
    const C = size(config, 'hidden_size');
    const L = size(config, 'num_hidden_layers');
    const H = size(config, 'num_attention_heads');
    const F = size(config, 'intermediate_size');
    const D = C / H;
    const attentionBias = flag(config, 'attention_bias');
    const parameters = new ParameterList();
    parameters.at(-1, 'gpt_neox.');
    parameters.add('embedding', 'embed_in.weight', V, C);
    for (let layer = 0; layer < L; ++layer) {
      parameters.at(layer, `gpt_neox.layers.${layer}.`);
      parameters.add('attention_norm', 'input_layernorm.weight', C);
      parameters.add('attention_norm_bias', 'input_layernorm.bias', C);
      parameters.add('qkv', 'attention.query_key_value.weight', 3 * C, C);
      parameters.addIf(attentionBias, 'qkv_bias', 'attention.query_key_value.bias', 3 * C);
      parameters.add('attention_out', 'attention.dense.weight', C, C);
      parameters.addIf(attentionBias, 'attention_out_bias', 'attention.dense.bias', C);
      parameters.add('mlp_norm', 'post_attention_layernorm.weight', C);
      parameters.add('mlp_norm_bias', 'post_attention_layernorm.bias', C);
      parameters.add('mlp_up', 'mlp.dense_h_to_4h.weight', F, C);
      parameters.add('mlp_up_bias', 'mlp.dense_h_to_4h.bias', F);
      parameters.add('mlp_down', 'mlp.dense_4h_to_h.weight', C, F);
      parameters.add('mlp_down_bias', 'mlp.dense_4h_to_h.bias', C);
    }
    parameters.at(-1, '');
    parameters.add('final_norm', 'gpt_neox.final_layer_norm.weight', C);
    parameters.add('final_norm_bias', 'gpt_neox.final_layer_norm.bias', C);
    parameters.addIf(!flag(config, 'tie_word_embeddings'), 'classifier', 'embed_out.weight', V, C);
    return {
      vocabSize: V,
      hiddenSize: C,
      layers: L,
      heads: H,
      kvHeads: H,
      headDim: D,
      mlpSize: F,
      maxPositions: size(config, 'max_position_embeddings'),
      norm: 'layer',
      normEps: positive(config, 'layer_norm_eps'),
      activation: choice(config, 'hidden_act', PLAIN_ACTIVATIONS),
      // A head_dim of the config is the width that transformers makes frequencies for, and nothing else.
      rotary: rotary(config, config['head_dim'] ? size(config, 'head_dim') : D, {
        theta: config['rotary_emb_base'],
        fraction: config['rotary_pct'] ?? 0.25,
        partialByDefault: true,
      }),
      parallelResidual: flag(config, 'use_parallel_residual'),
      fusedQkv: 'heads',
      transposedLinears: false,
      attentionScale: 1 / Math.sqrt(D),
      parameters: parameters.list,
    };
  },
  initialStd: initializerRange,
};
