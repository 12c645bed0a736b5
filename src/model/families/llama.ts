/**
 * Llama 1–3 and what shares its config (SmolLM, TinyLlama, …): optional biases, llama3 and linear rope
 * scaling.
 */
import type { Family } from './family.js';
import { flag } from './shared/configValues.js';
import { completeGatedDecoder, gatedDecoder } from './shared/gatedDecoder.js';
import { initializerRange } from './shared/parameterList.js';

export const llama: Family = {
  modelType: 'llama',
  architecture: 'LlamaForCausalLM',
  basePrefix: 'model.',
  loraTargets: ['q_proj', 'v_proj'],
  complete: (config) =>
    completeGatedDecoder(config, { attention_bias: false, max_position_embeddings: 2048, mlp_bias: false }),
  spec(config) {
    const attentionBias = flag(config, 'attention_bias');
    return gatedDecoder(config, {
      qkvBias: attentionBias,
      outBias: attentionBias,
      mlpBias: flag(config, 'mlp_bias'),
    });
  },
  initialStd: initializerRange,
};
