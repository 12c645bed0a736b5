/**
 * tokenizer.json through @huggingface/tokenizers, with the beginning-of-text rule of tokenizer_config.json.
 */
import { createRequire } from 'node:module';

import type { Tokenizer as HfTokenizer } from '@huggingface/tokenizers';

import { fail } from '../../errors.js';
import { type ChatMessage, type ChatOptions, createChatTemplate, isChat, tokenText } from '../chat/chat.js';

/** Text to token ids and back, as the model's tokenizer.json says. */
export interface Tokenizer {
  /**
   * Adds BOS and the like as the tokenizer's post-processor and tokenizer_config.json's add_bos_token say,
   * unless told not to.
   */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  /** Special tokens, and ids that the tokenizer does not have (padded vocabularies), are left out. */
  decode(ids: readonly number[]): string;
  /**
   * A conversation as the chat template writes it, in ids. @throws ERR_UNSUPPORTED when there is no template.
   */
  encodeChat(messages: readonly ChatMessage[], options?: ChatOptions): number[];
  /** Entries of the tokenizer; a model's vocabulary may be padded beyond it. */
  readonly vocabSize: number;
}

/**
 * What a model is asked: text, ids used as they are, or the messages of a chat, after which the assistant
 * speaks.
 */
export type Prompt = string | readonly number[] | readonly ChatMessage[];

/** A prompt as token ids. `tokenizer` is asked for only where there is a text. */
export function encodePrompt(
  tokenizer: () => Tokenizer,
  prompt: Prompt,
  kwargs: ChatOptions['kwargs'] = {},
): readonly number[] {
  if (typeof prompt === 'string') return tokenizer().encode(prompt);
  if (isChat(prompt)) return tokenizer().encodeChat(prompt, { addGenerationPrompt: true, kwargs });
  return prompt;
}

/**
 * @param tokenizerJson, tokenizerConfig parsed files; the second may be missing in a directory, then it is
 * {}.
 * @param chatTemplate chat_template.jinja, where the directory has one.
 * @throws ERR_UNSUPPORTED naming `path` when the tokenizer uses parts that the library does not have.
 */
export function createTokenizer(
  path: string,
  tokenizerJson: object,
  tokenizerConfig: Readonly<Record<string, unknown>>,
  chatTemplate?: string,
): Tokenizer {
  let tokenizer: HfTokenizer;
  try {
    // Loaded here: callers with token ids never need it.
    const { Tokenizer } = createRequire(import.meta.url)(
      '@huggingface/tokenizers',
    ) as typeof import('@huggingface/tokenizers');
    tokenizer = new Tokenizer(tokenizerJson, tokenizerConfig);
  } catch (error) {
    fail(
      'ERR_UNSUPPORTED',
      `fromPretrained: ${path} cannot be used: ${(error as Error).message}; move it away to use the model with ` +
        'token ids',
      error,
    );
  }
  const encode = (text: string, addSpecialTokens: boolean): number[] => {
    if (text === '' && !addSpecialTokens) return [];
    return tokenizer.encode(text, { add_special_tokens: addSpecialTokens }).ids;
  };
  const bosText = tokenText(tokenizerConfig['bos_token']);
  const bos = bosText === undefined ? undefined : tokenizer.token_to_id(bosText);
  // Does the post-processor begin with BOS by itself? add_bos_token, where given, decides over it, as in
  // transformers.
  const addsBos = bos !== undefined && encode('a', true)[0] === bos && encode('a', false)[0] !== bos;
  const told = tokenizerConfig['add_bos_token'];
  const wantsBos = bos !== undefined && typeof told === 'boolean' ? told : addsBos;
  const chat = createChatTemplate(path, tokenizerConfig, chatTemplate);
  const clean = tokenizerConfig['clean_up_tokenization_spaces'] === true;
  return {
    vocabSize: tokenizer.get_vocab().size,
    encode(text, { addSpecialTokens = true } = {}) {
      if (typeof text !== 'string')
        fail('ERR_INVALID_ARG', `tokenizer.encode: text must be a string, got ${typeof text}`);
      const ids = encode(text, addSpecialTokens);
      if (!addSpecialTokens || wantsBos === addsBos) return ids;
      return wantsBos ? [bos!, ...ids] : ids.slice(1);
    },
    encodeChat(messages, options) {
      if (!chat)
        fail(
          'ERR_UNSUPPORTED',
          `tokenizer.encodeChat: ${path} has no chat template beside it (chat_template in tokenizer_config.json, ` +
            "or chat_template.jinja); add the model's own, or give prompts as text",
        );
      return encode(chat(messages, options).text, false);
    },
    decode(ids) {
      const known = Array.from(ids).filter((id) => tokenizer.id_to_token(id) !== undefined);
      if (known.length === 0) return '';
      return tokenizer.decode(known, { skip_special_tokens: true, clean_up_tokenization_spaces: clean });
    },
  };
}
