/** Rows of supervised training, and the sequences they become. */
import { check, object, shown } from '../../core/check.js';
import { fail } from '../../errors.js';
import { isPrompt, type Sample } from '../../model/batch.js';
import { type ChatMessage, isChat } from '../../model/chat/chat.js';
import { endIds } from '../../model/endOfText.js';
import type { Model } from '../../model/model.js';
import { encodePair as encodeTogether } from '../../model/tokenizer/pair.js';
import { encodePrompt, type Tokenizer } from '../../model/tokenizer/tokenizer.js';
import type { ResolvedSFTConfig } from '../config/config.js';

type Chat = readonly ChatMessage[];
type Tokens = string | readonly number[];

/**
 * Text completions and texts get the tokenizer's end-of-sequence token; prompt and completion are encoded as
 * one text, and the completion begins where its tokens differ from the prompt's alone; token ids are used as
 * they are; messages go through the chat template, which closes turns itself. Of `messages` alone every token
 * is learned, as of a text.
 */
export type SFTRow =
  | Sample
  | { readonly prompt: Tokens; readonly completion: Tokens }
  | ({ readonly prompt: Chat; readonly completion: Chat } & ChatColumns)
  | ({ readonly messages: Chat } & ChatColumns)
  | { readonly text: string };

/** Columns beside messages, as TRL reads them: what the chat template gets with them. */
interface ChatColumns {
  /** JSON schemas, or their JSON text. */
  readonly tools?: readonly object[] | string | null;
  readonly chat_template_kwargs?: Readonly<Record<string, unknown>> | null;
}

interface Pair extends ChatColumns {
  readonly prompt: Tokens | Chat;
  readonly completion: Tokens | Chat;
}

export interface EncodingContext {
  readonly model: Model;
  /** Fails without one; called only when there is text. */
  readonly tokenizer: () => Tokenizer;
  readonly config: ResolvedSFTConfig;
}

/** Nothing stands before a sequence's first token, so its second is the first that can be learned. */
const FIRST_LEARNABLE = 1;

/**
 * `index`: of the row in its batch, for messages. @throws ERR_INVALID_ARG for a row without a token to learn.
 */
export function encodeRow(row: SFTRow, index: number, context: EncodingContext): Sample {
  check('SFTTrainer', `row ${index} of the batch`, row, object);
  const sample = wholeSample(row, index, context);
  const { inputIds, scoreFrom } = sample;
  const limit = Math.min(context.config.maxLength, context.model.spec.maxPositions);
  if (scoreFrom >= Math.min(inputIds.length, limit))
    fail(
      'ERR_INVALID_ARG',
      `SFTTrainer: row ${index} of the batch has no token to learn: ${inputIds.length} tokens, ` +
        `scored from ${scoreFrom}, cut to ${limit}; shorten the prompt or leave the row out`,
    );
  return inputIds.length > limit ? { ...sample, inputIds: inputIds.slice(0, limit) } : sample;
}

/** Before it is cut to the longest that is allowed. */
function wholeSample(row: SFTRow, index: number, context: EncodingContext): Sample {
  if ('inputIds' in row) return row;
  if ('text' in row) return { inputIds: encodeClosed(row.text, context), scoreFrom: FIRST_LEARNABLE };
  if ('messages' in row)
    return {
      inputIds: encodeMessages(row.messages, columnsOf(row, index, context), context),
      scoreFrom: FIRST_LEARNABLE,
    };
  return encodePair(row, index, context);
}

function encodePair(row: Pair, index: number, context: EncodingContext): Sample {
  const { prompt, completion } = row;
  const { tokenizer, config } = context;
  if (!isPrompt(prompt) || !isPrompt(completion))
    fail(
      'ERR_INVALID_ARG',
      `SFTTrainer: row ${index} of the batch must have prompt and completion (text, token ids or messages), ` +
        'messages, text, or inputIds and scoreFrom, ' +
        `got prompt ${shown(prompt)} and completion ${shown(completion)}`,
    );
  if (!isChat(prompt)) return encodeTokens(prompt, completion as Tokens, index, context);
  const kwargs = columnsOf(row, index, context);
  const head = encodePrompt(tokenizer, prompt, kwargs);
  const scoreFrom = config.completionOnlyLoss ? head.length : FIRST_LEARNABLE;
  const inputIds = encodeMessages([...prompt, ...(completion as Chat)], kwargs, context);
  if (head.some((id, position) => inputIds[position] !== id))
    fail(
      'ERR_INVALID_ARG',
      `SFTTrainer: row ${index} of the batch: the chat template does not write prompt and completion ` +
        'as it writes the prompt and more, so where the completion begins is unknown; ' +
        'give the row as messages, or as text',
    );
  return { inputIds, scoreFrom };
}

type Kwargs = Readonly<Record<string, unknown>>;

const encodeMessages = (messages: Chat, kwargs: Kwargs, { tokenizer }: EncodingContext): readonly number[] =>
  tokenizer().encodeChat(messages, { kwargs });

/** The template's variables: the run's, then the row's own. */
function columnsOf(row: ChatColumns, index: number, { config }: EncodingContext): Kwargs {
  const { tools, chat_template_kwargs: own } = row;
  const label = `SFTTrainer: row ${index} of the batch`;
  if (own !== undefined && own !== null) check(label, 'chat_template_kwargs', own, object);
  return {
    ...config.chatTemplateKwargs,
    ...(tools === undefined || tools === null ? {} : { tools: toolsOf(tools, label) }),
    ...own,
  };
}

function toolsOf(tools: NonNullable<ChatColumns['tools']>, label: string): unknown {
  if (typeof tools !== 'string') return tools;
  try {
    return JSON.parse(tools);
  } catch (error) {
    return fail(
      'ERR_INVALID_ARG',
      `${label}: tools must be JSON schemas or their JSON text, got ${shown(tools)}`,
      error,
    );
  }
}

/** Of a prompt and a completion that are text or token ids. */
function encodeTokens(prompt: Tokens, completion: Tokens, index: number, context: EncodingContext): Sample {
  const { tokenizer, config } = context;
  const isText = typeof completion === 'string';
  const written = isText ? closed(completion, tokenizer()) : completion;
  const label = `SFTTrainer: row ${index} of the batch`;
  const { inputIds, completionFrom } = encodeTogether(label, tokenizer, prompt, written);
  const scoreFrom = config.completionOnlyLoss ? Math.max(completionFrom, FIRST_LEARNABLE) : FIRST_LEARNABLE;
  return { inputIds: isText ? ended(inputIds, context) : inputIds, scoreFrom };
}

const encodeClosed = (text: string, context: EncodingContext): readonly number[] =>
  ended(context.tokenizer().encode(closed(text, context.tokenizer())), context);

/** With the tokenizer's end-of-sequence token, unless the text ends in it. */
function closed(text: string, { eosToken }: Tokenizer): string {
  return eosToken === undefined || text.endsWith(eosToken) ? text : text + eosToken;
}

/** With the model's end-of-sequence token where the tokenizer has none. */
function ended(ids: readonly number[], { model, tokenizer }: EncodingContext): readonly number[] {
  const [eos] = tokenizer().eosToken === undefined ? endIds(model, tokenizer()) : [];
  return eos === undefined || ids.at(-1) === eos ? ids : [...ids, eos];
}
