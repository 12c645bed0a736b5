/** Text to token ids and back, by the files of a model directory. */
import { fail } from '../../errors.js';
import { type ChatMessage, type ChatOptions, createChatTemplate, isChat } from '../chat/chat.js';
import { type DirectoryTokenizer, openTokenizer, type TokenizerFiles } from './pipeline/directory.js';
import { type Component, UnsupportedComponent } from './pipeline/read.js';

/** Text to token ids and back, as transformers does it by the same files. */
export interface Tokenizer {
  /**
   * Adds BOS and the like as the tokenizer's post-processor says, unless told not to. A part of a text is not
   * encoded as if it began one: encodePair() cuts prompt and completion.
   */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  /**
   * Ids that the tokenizer does not have (padded vocabularies) are left out, and special tokens unless
   * skipSpecialTokens is false. cleanUpTokenizationSpaces: default as tokenizer_config.json says.
   */
  decode(
    ids: readonly number[],
    options?: { readonly skipSpecialTokens?: boolean; readonly cleanUpTokenizationSpaces?: boolean },
  ): string;
  /**
   * A conversation as the chat template writes it, in ids. @throws ERR_UNSUPPORTED when there is no template.
   */
  encodeChat(messages: readonly ChatMessage[], options?: ChatOptions): number[];
  /** Entries of the tokenizer; a model's vocabulary may be padded beyond it. */
  readonly vocabSize: number;
  /** The token that ends a text, and its id; undefined when the tokenizer has none. */
  readonly eosToken?: string | undefined;
  readonly eosTokenId?: number | undefined;
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
 * @param others what else of the directory says how text is read.
 * @throws ERR_UNSUPPORTED naming `path` and the part of it that is not computed here.
 */
export function createTokenizer(
  path: string,
  tokenizerJson: object,
  tokenizerConfig: Readonly<Record<string, unknown>>,
  chatTemplate?: string,
  others: Omit<TokenizerFiles, 'tokenizerJson' | 'tokenizerConfig'> = {},
): Tokenizer {
  const { pipeline, specials, cleansUp } = open(path, {
    ...others,
    tokenizerJson: tokenizerJson as Component,
    tokenizerConfig,
  });
  const chat = createChatTemplate(path, tokenizerConfig, chatTemplate);
  const eosToken = specials['eos_token'];
  return {
    vocabSize: pipeline.size,
    eosToken,
    eosTokenId: eosToken === undefined ? undefined : pipeline.id(eosToken),
    encode(text, { addSpecialTokens = true } = {}) {
      checkText(text);
      return computed(path, () => pipeline.encode(text, addSpecialTokens));
    },
    encodeChat(messages, options) {
      if (!chat)
        fail(
          'ERR_UNSUPPORTED',
          `tokenizer.encodeChat: ${path} has no chat template beside it (chat_template in tokenizer_config.json, ` +
            "or chat_template.jinja); add the model's own, or give prompts as text",
        );
      return computed(path, () => pipeline.encode(chat(messages, options).text, false));
    },
    decode(ids, { skipSpecialTokens = true, cleanUpTokenizationSpaces = cleansUp } = {}) {
      const text = pipeline.decode(ids, skipSpecialTokens);
      return cleanUpTokenizationSpaces ? cleanedUp(text) : text;
    },
  };
}

function open(path: string, files: TokenizerFiles): DirectoryTokenizer {
  try {
    return openTokenizer(files);
  } catch (error) {
    fail(
      'ERR_UNSUPPORTED',
      `fromPretrained: ${path} cannot be used: it has ${(error as Error).message}; ` +
        'move it away to use the model with token ids',
      error,
    );
  }
}

function checkText(text: unknown): void {
  if (typeof text !== 'string')
    fail('ERR_INVALID_ARG', `tokenizer.encode: text must be a string, got ${typeof text}`);
  if (!text.isWellFormed())
    fail(
      'ERR_INVALID_ARG',
      'tokenizer.encode: text must be Unicode, got half of a surrogate pair; toWellFormed() replaces it',
    );
}

/** A text that the model has no token for is an error in Python too. */
function computed(path: string, encode: () => number[]): number[] {
  try {
    return encode();
  } catch (error) {
    if (!(error instanceof UnsupportedComponent)) throw error;
    return fail('ERR_UNSUPPORTED', `tokenizer.encode: ${path} cannot encode ${error.message}`, error);
  }
}

const cleanedUp = (text: string): string =>
  text
    .replaceAll(' .', '.')
    .replaceAll(' ?', '?')
    .replaceAll(' !', '!')
    .replaceAll(' ,', ',')
    .replaceAll(" ' ", "'")
    .replaceAll(" n't", "n't")
    .replaceAll(" 'm", "'m")
    .replaceAll(" 's", "'s")
    .replaceAll(" 've", "'ve")
    .replaceAll(" 're", "'re");
