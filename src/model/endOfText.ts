/** What ends a text: one answer for rows of supervised training, generation and servers. */
import type { ModelParts } from './parts.js';
import type { Tokenizer } from './tokenizer/tokenizer.js';

/**
 * The tokenizer's EOS, and every eos_token_id of generation_config.json, or else of config.json, as in TRL.
 * The first is the one that ends rows of supervised training. `tokenizer`: default the model's own.
 */
export function endIds(
  { companions, config, spec }: Pick<ModelParts, 'companions' | 'config' | 'spec'>,
  tokenizer: Tokenizer | undefined = companions.tokenizer,
): number[] {
  const declared = companions.generationConfig['eos_token_id'] ?? config['eos_token_id'];
  const ids = [tokenizer?.eosTokenId, declared].flat();
  const isToken = (id: unknown): id is number => typeof id === 'number' && id < spec.vocabSize;
  return [...new Set(ids.filter(isToken))];
}
