/**
 * Qwen3 (Qwen team 2025): Llama with RMS norms on each head's queries and keys before the rotation; heads are
 * 128 wide unless told.
 */
import type { Family } from './family.js';
import { flag } from './shared/configValues.js';
import { completeGatedDecoder, gatedDecoder } from './shared/gatedDecoder.js';
import { initializerRange } from './shared/parameterList.js';
import { QWEN_WINDOWS } from './shared/refusals.js';

export const qwen3: Family = {
  modelType: 'qwen3',
  architecture: 'Qwen3ForCausalLM',
  basePrefix: 'model.',
  loraTargets: ['q_proj', 'v_proj'],
  complete: (config) =>
    completeGatedDecoder(
      config,
      {
        attention_bias: false,
        head_dim: 128,
        max_position_embeddings: 32768,
        num_key_value_heads: 32,
        use_sliding_window: false,
      },
      QWEN_WINDOWS,
    ),
  spec(config) {
    const attentionBias = flag(config, 'attention_bias');
    return gatedDecoder(config, { qkvBias: attentionBias, outBias: attentionBias, qkNorm: true });
  },
  initialStd: initializerRange,
};
