/** Sampling: rows of a data set to completions. */
import { fail } from '../../errors.js';
import { isPrompt, type Sample } from '../../model/batch.js';
import type { Model } from '../../model/model.js';
import { type Completion, endedByText, stopsOf } from '../../model/generation.js';
import { tokensWith } from '../../model/tokenizer/stops.js';
import { encodePrompt, type Tokenizer } from '../../model/tokenizer/tokenizer.js';
import type { ResolvedGRPOConfig } from '../config/config.js';
import type { PromptRow } from '../interfaces.js';
import type { RolloutSource } from './remoteRollouts.js';
import type { ByCompletion } from '../spaces.js';

/** temperature 0 is greedy, which a trainer's config does not allow. */
type SamplingConfig = Pick<
  ResolvedGRPOConfig,
  'maxCompletionLength' | 'temperature' | 'topP' | 'topK' | 'minP' | 'stop' | 'seed' | 'chatTemplateKwargs'
>;

export interface RolloutOptions {
  readonly caller: string;
  readonly model: Model;
  /** Fails without one; called only when there is text. */
  readonly tokenizer: () => Tokenizer;
  /** The same, or undefined without one: for what ends a completion. */
  readonly knownTokenizer: Tokenizer | undefined;
  readonly config: SamplingConfig;
  readonly numGenerations: number;
  /** Random stream of the first completion. */
  readonly firstStream: number;
  readonly signal: AbortSignal | undefined;
  /** Who samples; default: the model itself. */
  readonly source?: RolloutSource | undefined;
}

/** Completions of one prompt lie next to each other. */
export interface Rollout {
  /** The row that each completion belongs to. */
  readonly rows: ByCompletion<PromptRow>;
  readonly completions: ByCompletion<Completion>;
  /** Prompt and completion, scored from the completion's first token. */
  readonly samples: ByCompletion<Sample>;
  /** Scored tokens of each sample. */
  readonly lengths: ByCompletion<number>;
  /** Ended by a stop token rather than cut off by length. */
  readonly terminated: ByCompletion<boolean>;
}

function promptIds(
  row: PromptRow,
  index: number,
  { caller, model, tokenizer, config }: RolloutOptions,
): readonly number[] {
  const { prompt } = row ?? {};
  if (!isPrompt(prompt))
    fail(
      'ERR_INVALID_ARG',
      `${caller}: row ${index} of the batch must have a prompt of text, token ids ` +
        `or messages { role, content }, got ${shown(prompt)}`,
    );
  const ids = encodePrompt(tokenizer, prompt, config.chatTemplateKwargs);
  const context = model.spec.maxPositions;
  if (ids.length === 0)
    fail(
      'ERR_INVALID_ARG',
      `${caller}: the prompt of row ${index} of the batch is empty; it needs at least one token`,
    );
  if (ids.length >= context)
    fail(
      'ERR_INVALID_ARG',
      `${caller}: the prompt ${shown(prompt)} has ${ids.length} tokens, ` +
        `but the model's context is ${context} and a completion needs at least one; ` +
        'shorten the prompt or leave the row out',
    );
  return ids;
}

const SHOWN = 60;
const shown = (prompt: unknown): string | undefined =>
  typeof prompt === 'string' ? `'${prompt.slice(0, SHOWN)}'` : JSON.stringify(prompt)?.slice(0, SHOWN);

export async function sample(rows: readonly PromptRow[], options: RolloutOptions): Promise<Rollout> {
  const { caller, model, config, numGenerations, firstStream, signal, source } = options;
  const { ids, texts } = stopsOf(caller, model, config.stop, options.knownTokenizer);
  const prompts = rows.map((row, index) => promptIds(row, index, options));
  const request = {
    maxNewTokens: config.maxCompletionLength,
    temperature: config.temperature,
    topP: config.topP,
    topK: config.topK,
    minP: config.minP ?? 0,
    numReturnSequences: numGenerations,
    seed: config.seed,
    firstStream,
    signal,
  };
  const withText = texts.length === 0 ? [] : tokensWith(options.tokenizer(), texts, model.spec.vocabSize);
  const sampled = source
    ? await source.generate(prompts, { ...request, stop: ids, stopTexts: texts })
    : await model.generate(prompts, { ...request, stop: [...ids, ...withText] });
  const completions =
    texts.length === 0
      ? sampled
      : sampled.map((each) => endedByText(each, texts, options.tokenizer(), model.spec.vocabSize));
  return {
    rows: completions.map((_, completion) => rows[Math.floor(completion / numGenerations)]!),
    completions,
    samples: completions.map(({ inputIds, completionIds }) => ({
      inputIds,
      scoreFrom: inputIds.length - completionIds.length,
    })),
    lengths: completions.map(({ completionIds }) => completionIds.length),
    terminated: completions.map(({ finishReason }) => finishReason === 'stop'),
  };
}
