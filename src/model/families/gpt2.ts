/**
 * GPT-2 (Radford et al. 2019): learned positions, layer norms with bias, linear weights stored [in, out]
 * (Conv1D), fused qkv in blocks, tied.
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
import { refuse, refuseSlidingWindow, refuseUnsupported } from './shared/refusals.js';

/** transformers takes its common names for these keys too, and writes its own. */
const ALIASES = {
  hidden_size: 'n_embd',
  num_hidden_layers: 'n_layer',
  num_attention_heads: 'n_head',
  max_position_embeddings: 'n_positions',
} as const;

export const gpt2: Family = {
  modelType: 'gpt2',
  architecture: 'GPT2LMHeadModel',
  basePrefix: 'transformer.',
  loraTargets: ['c_attn'],
  complete(config) {
    refuseUnsupported(config);
    const renamed: Record<string, unknown> = { ...config };
    for (const [alias, key] of Object.entries(ALIASES)) {
      // Of the two transformers takes the alias.
      renamed[key] = renamed[alias] ?? renamed[key];
      delete renamed[alias];
    }
    const complete = withDefaults(renamed, {
      activation_function: 'gelu_new',
      initializer_range: 0.02,
      layer_norm_epsilon: 1e-5,
      n_inner: 4 * size(renamed, 'n_embd'),
      n_positions: 1024,
      scale_attn_by_inverse_layer_idx: false,
      scale_attn_weights: true,
      tie_word_embeddings: true,
    });
    if (flag(complete, 'scale_attn_by_inverse_layer_idx'))
      refuse(complete, 'scale_attn_by_inverse_layer_idx', 'one attention scale serves all layers here');
    multiple(complete, 'n_embd', 'n_head');
    refuseSlidingWindow(complete, size(complete, 'n_positions'));
    return complete;
  },
  spec(config) {
    const V = size(config, 'vocab_size');
    const C = size(config, 'n_embd');
    const L = size(config, 'n_layer');
    const H = size(config, 'n_head');
    const F = size(config, 'n_inner');
    const T = size(config, 'n_positions');
    const parameters = new ParameterList();
    parameters.at(-1, 'transformer.');
    parameters.add('embedding', 'wte.weight', V, C);
    parameters.add('position', 'wpe.weight', T, C);
    for (let layer = 0; layer < L; ++layer) {
      parameters.at(layer, `transformer.h.${layer}.`);
      parameters.add('attention_norm', 'ln_1.weight', C);
      parameters.add('attention_norm_bias', 'ln_1.bias', C);
      parameters.add('qkv', 'attn.c_attn.weight', C, 3 * C);
      parameters.add('qkv_bias', 'attn.c_attn.bias', 3 * C);
      parameters.add('attention_out', 'attn.c_proj.weight', C, C);
      parameters.add('attention_out_bias', 'attn.c_proj.bias', C);
      parameters.add('mlp_norm', 'ln_2.weight', C);
      parameters.add('mlp_norm_bias', 'ln_2.bias', C);
      parameters.add('mlp_up', 'mlp.c_fc.weight', C, F);
      parameters.add('mlp_up_bias', 'mlp.c_fc.bias', F);
      parameters.add('mlp_down', 'mlp.c_proj.weight', F, C);
      parameters.add('mlp_down_bias', 'mlp.c_proj.bias', C);
    }
    parameters.at(-1, '');
    parameters.add('final_norm', 'transformer.ln_f.weight', C);
    parameters.add('final_norm_bias', 'transformer.ln_f.bias', C);
    parameters.addIf(!flag(config, 'tie_word_embeddings'), 'classifier', 'lm_head.weight', V, C);
    return {
      vocabSize: V,
      hiddenSize: C,
      layers: L,
      heads: H,
      kvHeads: H,
      headDim: C / H,
      mlpSize: F,
      maxPositions: T,
      norm: 'layer',
      normEps: positive(config, 'layer_norm_epsilon'),
      activation: choice(config, 'activation_function', PLAIN_ACTIVATIONS),
      parallelResidual: false,
      fusedQkv: 'blocks',
      transposedLinears: true,
      attentionScale: flag(config, 'scale_attn_weights') ? 1 / Math.sqrt(C / H) : 1,
      parameters: parameters.list,
    };
  },
  /** Projections back into the residual stream are smaller by √(2 layers), as in the paper. */
  initialStd(parameter, config) {
    const std = initializerRange(parameter, config);
    const intoResidual = parameter.role === 'attention_out' || parameter.role === 'mlp_down';
    return intoResidual ? std / Math.sqrt(2 * size(config, 'n_layer')) : std;
  },
};
