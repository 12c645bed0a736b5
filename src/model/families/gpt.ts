/**
 * The embedded experiment's model: a pre-LN GPT with learned positions, LayerNorm with bias, linear layers
 * without, GELU (erf) and an untied classifier. Names of its own, kept in Hugging Face's manner.
 */
import { fail } from '../../errors.js';
import type { ParameterSpec } from '../../core/addon/contract.js';
import type { Family, HfConfig } from './index.js';

const INTEGERS = [
  'vocab_size',
  'hidden_size',
  'num_hidden_layers',
  'num_attention_heads',
  'intermediate_size',
  'max_position_embeddings',
] as const;

function integer(config: HfConfig, key: string): number {
  const value = config[key];
  if (!(Number.isInteger(value) && (value as number) >= 1))
    fail('ERR_INVALID_ARG', `config: ${key} must be a positive integer, got ${JSON.stringify(value)}`);
  return value as number;
}

export const gpt: Family = {
  modelType: 'gpt',
  loraTargets: ['attn.qkv'],
  complete(config) {
    const hidden = integer(config, 'hidden_size');
    const complete = {
      intermediate_size: 4 * hidden,
      layer_norm_eps: 1e-5,
      tie_word_embeddings: false,
      ...config,
    };
    for (const key of INTEGERS) integer(complete, key);
    if (hidden % integer(complete, 'num_attention_heads') !== 0)
      fail(
        'ERR_INVALID_ARG',
        `config: hidden_size (${hidden}) must be a multiple of num_attention_heads (${String(complete['num_attention_heads' as never])})`,
      );
    return complete;
  },
  spec(config) {
    const [V, C, L, H, F, T] = INTEGERS.map((key) => integer(config, key)) as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    const parameters: ParameterSpec[] = [
      { name: 'embed.weight', role: 'embedding', layer: -1, shape: [V, C] },
      { name: 'position.weight', role: 'position', layer: -1, shape: [T, C] },
    ];
    for (let layer = 0; layer < L; ++layer) {
      const add = (name: string, role: ParameterSpec['role'], ...shape: number[]) =>
        parameters.push({ name: `layers.${layer}.${name}`, role, layer, shape });
      add('attention_norm.weight', 'attention_norm', C);
      add('attention_norm.bias', 'attention_norm_bias', C);
      add('attention.qkv.weight', 'qkv', 3 * C, C);
      add('attention.out.weight', 'attention_out', C, C);
      add('mlp_norm.weight', 'mlp_norm', C);
      add('mlp_norm.bias', 'mlp_norm_bias', C);
      add('mlp.up.weight', 'mlp_up', F, C);
      add('mlp.down.weight', 'mlp_down', C, F);
    }
    parameters.push(
      { name: 'norm.weight', role: 'final_norm', layer: -1, shape: [C] },
      { name: 'norm.bias', role: 'final_norm_bias', layer: -1, shape: [C] },
    );
    if (config['tie_word_embeddings'] !== true)
      parameters.push({ name: 'lm_head.weight', role: 'classifier', layer: -1, shape: [V, C] });
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
      parameters,
    };
  },
  /** EXPERIMENT.md's choice: small logits at the start, residual branches scaled by depth. */
  initialStd({ role }, config) {
    const [d, layers, mlp] = [
      config['hidden_size'],
      config['num_hidden_layers'],
      config['intermediate_size'],
    ] as [number, number, number];
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
