/**
 * The embedded experiment's model: a pre-LN GPT with learned positions, LayerNorm with bias, linear layers
 * without, GELU (erf) and an untied classifier. Names of its own, kept in Hugging Face's manner.
 */
import { fail } from '../../errors.js';
import type { Family, HfConfig } from './family.js';
import { size } from './shared/configValues.js';
import { ParameterList } from './shared/parameterList.js';
import { refuseUnsupported } from './shared/refusals.js';

const SIZES = [
  'vocab_size',
  'hidden_size',
  'num_hidden_layers',
  'num_attention_heads',
  'intermediate_size',
  'max_position_embeddings',
];

export const gpt: Family = {
  modelType: 'gpt',
  loraTargets: ['attention.qkv'],
  complete(config) {
    refuseUnsupported(config);
    const hidden = size(config, 'hidden_size');
    const complete: HfConfig = {
      intermediate_size: 4 * hidden,
      layer_norm_eps: 1e-5,
      tie_word_embeddings: false,
      ...config,
    };
    for (const key of SIZES) size(complete, key);
    const heads = size(complete, 'num_attention_heads');
    if (hidden % heads !== 0)
      fail(
        'ERR_INVALID_ARG',
        `config: hidden_size (${hidden}) must be a multiple of num_attention_heads (${heads})`,
      );
    return complete;
  },
  spec(config) {
    const V = size(config, 'vocab_size');
    const C = size(config, 'hidden_size');
    const L = size(config, 'num_hidden_layers');
    const H = size(config, 'num_attention_heads');
    const F = size(config, 'intermediate_size');
    const T = size(config, 'max_position_embeddings');
    const parameters = new ParameterList();
    parameters.at(-1, '');
    parameters.add('embedding', 'embed.weight', V, C);
    parameters.add('position', 'position.weight', T, C);
    for (let layer = 0; layer < L; ++layer) {
      parameters.at(layer, `layers.${layer}.`);
      parameters.add('attention_norm', 'attention_norm.weight', C);
      parameters.add('attention_norm_bias', 'attention_norm.bias', C);
      parameters.add('qkv', 'attention.qkv.weight', 3 * C, C);
      parameters.add('attention_out', 'attention.out.weight', C, C);
      parameters.add('mlp_norm', 'mlp_norm.weight', C);
      parameters.add('mlp_norm_bias', 'mlp_norm.bias', C);
      parameters.add('mlp_up', 'mlp.up.weight', F, C);
      parameters.add('mlp_down', 'mlp.down.weight', C, F);
    }
    parameters.at(-1, '');
    parameters.add('final_norm', 'norm.weight', C);
    parameters.add('final_norm_bias', 'norm.bias', C);
    parameters.addIf(config['tie_word_embeddings'] !== true, 'classifier', 'lm_head.weight', V, C);
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
      normEps: config['layer_norm_eps'] as number,
      activation: 'gelu',
      parallelResidual: false,
      fusedQkv: 'blocks',
      transposedLinears: false,
      attentionScale: 1 / Math.sqrt(C / H),
      parameters: parameters.list,
    };
  },
  /** The experiment's choice: small logits at the start, residual branches scaled by depth. */
  initialStd({ role }, config) {
    const d = size(config, 'hidden_size');
    const layers = size(config, 'num_hidden_layers');
    const mlp = size(config, 'intermediate_size');
    switch (role) {
      case 'classifier':
        return 0.02 / Math.sqrt(d);
      case 'embedding':
      case 'position':
        return 0.5;
      case 'attention_out':
        return 1 / Math.sqrt(d) / Math.sqrt(2 * layers);
      case 'mlp_down':
        return 1 / Math.sqrt(mlp) / Math.sqrt(2 * layers);
      default:
        return 1 / Math.sqrt(d);
    }
  },
};
