/**
 * Chat templates of Hugging Face directories, rendered by @huggingface/jinja as transformers'
 * apply_chat_template does.
 */
import { createRequire } from 'node:module';

import { fail } from '../../errors.js';

/** A turn of a conversation; the chat template decides which roles and further keys it knows. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
  readonly [key: string]: unknown;
}

/** How a chat template writes messages (transformers' apply_chat_template). */
export interface ChatOptions {
  /** End with what begins the assistant's turn. Default false. */
  readonly addGenerationPrompt?: boolean;
  /** Further variables of the template (e.g. tools, enable_thinking). */
  readonly kwargs?: Readonly<Record<string, unknown>>;
}

/** Text in a chat's form; its special tokens are written out. */
export type ChatTemplate = (messages: readonly ChatMessage[], options?: ChatOptions) => string;

export const isChat = (value: unknown): value is readonly ChatMessage[] =>
  Array.isArray(value) &&
  value.length > 0 &&
  value.every(
    (item) => typeof (item as ChatMessage | null)?.role === 'string' && 'content' in (item as object),
  );

/** A special token in tokenizer_config.json: its text, alone or in an object. */
function tokenText(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  const content = (value as { content?: unknown } | null | undefined)?.content;
  return typeof content === 'string' ? content : undefined;
}

/** chat_template: a text, or named texts of which 'default' is meant. */
function templateText(stored: unknown): string | undefined {
  if (typeof stored === 'string') return stored;
  if (!Array.isArray(stored)) return undefined;
  const named = stored as readonly { readonly name?: string; readonly template?: string }[];
  return (named.find(({ name }) => name === 'default') ?? named[0])?.template;
}

/**
 * @param tokenizerConfig tokenizer_config.json: special tokens, and the template unless a file of its own
 * (`stored`) has it.
 * @returns undefined when the directory has no template.
 * @throws ERR_UNSUPPORTED when the template uses what the library does not have.
 */
export function createChatTemplate(
  path: string,
  tokenizerConfig: Readonly<Record<string, unknown>>,
  stored?: string,
): ChatTemplate | undefined {
  const text = stored ?? templateText(tokenizerConfig['chat_template']);
  if (text === undefined) return undefined;
  let template: { render(variables: Record<string, unknown>): string } | undefined;
  const specials = Object.fromEntries(
    Object.entries(tokenizerConfig).flatMap(([key, value]) => {
      const token = key.endsWith('_token') ? tokenText(value) : undefined;
      return token === undefined ? [] : [[key, token]];
    }),
  );
  return (messages, { addGenerationPrompt = false, kwargs = {} } = {}) => {
    if (!isChat(messages))
      fail(
        'ERR_INVALID_ARG',
        'chat template: messages must be a non-empty array of { role, content }, got ' +
          `${JSON.stringify(messages)?.slice(0, 80)}`,
      );
    try {
      const { Template } = createRequire(import.meta.url)(
        '@huggingface/jinja',
      ) as typeof import('@huggingface/jinja');
      template ??= new Template(text);
      return template.render({
        ...specials,
        ...kwargs,
        messages,
        add_generation_prompt: addGenerationPrompt,
      });
    } catch (error) {
      return fail(
        'ERR_UNSUPPORTED',
        `chat template of ${path}: ${(error as Error).message}; give prompts as text, or mend the template or ` +
          'the messages',
        error,
      );
    }
  };
}
