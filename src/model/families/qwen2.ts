/**
 * Qwen2 and Qwen2.5 (Qwen team 2024): Llama with biases on q, k and v. Sliding windows are a switch that
 * released models leave off.
 */
import type { Family } from './family.js';
import { completeGatedDecoder, gatedDecoder } from './shared/gatedDecoder.js';
import { initializerRange } from './shared/parameterList.js';
import { QWEN_WINDOWS } from './shared/refusals.js';

export const qwen2: Family = {
  modelType: 'qwen2',
  architecture: 'Qwen2ForCausalLM',
  basePrefix: 'model.',
  loraTargets: ['q_proj', 'v_proj'],
  complete: (config) =>
    completeGatedDecoder(
      config,
      { max_position_embeddings: 32768, num_key_value_heads: 32, use_sliding_window: false },
      QWEN_WINDOWS,
    ),
  spec: (config) => gatedDecoder(config, { qkvBias: true }),
  initialStd: initializerRange,
};
