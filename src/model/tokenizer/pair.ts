/** Prompt and completion as one sequence of tokens. */
import { fail } from '../../errors.js';
import type { Tokenizer } from './tokenizer.js';

type Tokens = string | readonly number[];

/** The tokens of both, and the index of the first that is the completion's. */
export interface EncodedPair {
  readonly inputIds: readonly number[];
  /** 0 when not even the first token of the prompt is the same with the completion behind it. */
  readonly completionFrom: number;
}

/**
 * Prompt and completion are encoded together, as the text that they are: a tokenizer may begin every text
 * with a space, and may join what stands at the end of the one and the beginning of the other. The completion
 * begins where the tokens of both differ from those of the prompt alone, as in TRL's SFTTrainer. Token ids
 * are used as they are. `caller` names the row in errors.
 * @throws ERR_INVALID_ARG for a text behind token ids that do not come back from their own text.
 */
export function encodePair(
  caller: string,
  tokenizer: () => Tokenizer,
  prompt: Tokens,
  completion: Tokens,
): EncodedPair {
  if (typeof completion !== 'string') {
    const head = typeof prompt === 'string' ? tokenizer().encode(prompt) : prompt;
    return { inputIds: [...head, ...completion], completionFrom: head.length };
  }
  if (typeof prompt !== 'string') return behindIds(caller, tokenizer(), prompt, completion);
  const inputIds = tokenizer().encode(prompt + completion);
  return { inputIds, completionFrom: commonPrefix(tokenizer().encode(prompt), inputIds) };
}

function behindIds(
  caller: string,
  tokenizer: Tokenizer,
  prompt: readonly number[],
  completion: string,
): EncodedPair {
  const text = tokenizer.decode(prompt, { skipSpecialTokens: false });
  const inputIds = tokenizer.encode(text + completion, { addSpecialTokens: false });
  if (commonPrefix(prompt, inputIds) < prompt.length)
    fail(
      'ERR_INVALID_ARG',
      `${caller}: a completion as text needs a prompt as text: the prompt's token ids do not come back from ` +
        'their own text with the completion behind it; give both as text, or both as token ids',
    );
  return { inputIds, completionFrom: prompt.length };
}

/** Leading tokens that two sequences have in common. */
function commonPrefix(a: readonly number[], b: readonly number[]): number {
  const differs = a.findIndex((id, t) => id !== b[t]);
  return differs === -1 ? a.length : differs;
}
