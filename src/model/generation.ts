/** Sampling: options, stop rules and text around the native decoder. */
import type { NativeCompletions, PackedSequences } from '../core/addon/contract.js';
import {
  checkOptions,
  count,
  JOB,
  list,
  natural,
  required,
  type Rules,
  SAMPLING,
  shown,
} from '../core/check.js';
import { type JobOptions, runJob } from '../core/job.js';
import { fail } from '../errors.js';
import { tokenizerOf } from './companions.js';
import { endIds } from './endOfText.js';
import type { ModelParts } from './parts.js';
import { lengthToStop, tokensWith } from './tokenizer/stops.js';
import type { Tokenizer } from './tokenizer/tokenizer.js';

/**
 * How Model.generate() samples: from softmax(z / temperature), cut by topK, then topP, then minP, and
 * renormalised after each. With the defaults the distribution is the model's own, whole.
 */
export interface GenerateOptions extends JobOptions {
  /** At most; the model's context may end a completion earlier. */
  readonly maxNewTokens: number;
  /** 0 = greedy. Default 1. */
  readonly temperature?: number;
  /** Nucleus: the likeliest tokens whose probabilities add up to at least this. Default 1 = all. */
  readonly topP?: number;
  /** So many likeliest tokens. Default 0 = all. */
  readonly topK?: number;
  /** Only tokens at least this many times as likely as the likeliest one. Default 0 = all. */
  readonly minP?: number;
  /** Completions per prompt, next to each other in the result. Default 1. */
  readonly numReturnSequences?: number;
  /** Default: the context's seed. */
  readonly seed?: number;
  /** Random stream of the first completion: lets a caller split a batch without changing it. Default 0. */
  readonly firstStream?: number;
  /**
   * Token ids, and texts: a completion ends with the token that completes one of them. Default: the
   * tokenizer's EOS and eos_token_id of generation_config.json, else of config.json; [] never stops. A text
   * that is spread over tokens is looked for when maxNewTokens are there, a text in one token at once.
   */
  readonly stop?: readonly (number | string)[];
  /** Completions decoded at a time (bounds the key/value cache). Default 256. */
  readonly maxBatch?: number;
}

/** One sampled completion of a prompt. */
export interface Completion {
  /** Prompt and completion, at most the model's context of tokens. */
  readonly inputIds: number[];
  /** Includes the stop token, or the one that completes a stop text. */
  readonly completionIds: number[];
  /** Without the prompt and special tokens; '' when the model has no tokenizer. */
  readonly text: string;
  /** One per completion token, in the distribution sampled from; with temperature 0 in softmax(z). */
  readonly logps: Float32Array;
  /**
   * 'stop': a stop token or the end of a stop text is the last of completionIds. 'length': maxNewTokens, or
   * the end of the model's context.
   */
  readonly finishReason: 'stop' | 'length';
}

const OPTIONS: Rules = {
  ...SAMPLING,
  ...JOB,
  maxNewTokens: required(natural),
  numReturnSequences: count,
  seed: natural,
  firstStream: natural,
  stop: list,
  maxBatch: count,
};

/** What ends a completion. */
export interface Stops {
  readonly ids: readonly number[];
  readonly texts: readonly string[];
}

/**
 * As GenerateOptions.stop says. `tokenizer`: default the model's own, if it has one.
 * @throws ERR_INVALID_ARG; ERR_UNSUPPORTED for a text without a tokenizer.
 */
export function stopsOf(
  caller: string,
  model: ModelParts,
  stop: GenerateOptions['stop'],
  tokenizer: Tokenizer | undefined = model.companions.tokenizer,
): Stops {
  if (stop === undefined) return { ids: endIds(model, tokenizer), texts: [] };
  for (const item of stop as readonly unknown[]) {
    const isStop = typeof item === 'number' || (typeof item === 'string' && item !== '');
    if (!isStop) fail('ERR_INVALID_ARG', `${caller}: stop must hold token ids and texts, got ${shown(item)}`);
  }
  const texts = stop.filter((item) => typeof item === 'string');
  if (texts.length > 0 && tokenizer === undefined) tokenizerOf(model.companions);
  return { ids: stop.filter((item) => typeof item === 'number'), texts };
}

/** A completion up to the end of the first stop text in it, for whoever sampled it. */
export function endedByText(
  completion: Completion,
  texts: readonly string[],
  tokenizer: Tokenizer,
  vocabulary: number,
): Completion {
  const { inputIds, completionIds, logps } = completion;
  const length = lengthToStop(tokenizer, completionIds, texts, vocabulary);
  if (length === undefined) return completion;
  const kept = completionIds.slice(0, length);
  return {
    inputIds: inputIds.slice(0, inputIds.length - completionIds.length + length),
    completionIds: kept,
    text: tokenizer.decode(kept),
    logps: logps.slice(0, length),
    finishReason: 'stop',
  };
}

/** `prompts`: packed by packPrompts(). */
export async function generate(
  model: ModelParts,
  prompts: PackedSequences,
  options: GenerateOptions,
): Promise<Completion[]> {
  checkOptions('model.generate', options, OPTIONS);
  const {
    maxNewTokens,
    temperature = 1,
    topP = 1,
    topK = 0,
    minP = 0,
    numReturnSequences = 1,
    seed = model.context.seed,
    firstStream = 0,
    maxBatch = 256,
  } = options;
  if (maxNewTokens > 0) checkRoom(prompts, model.spec.maxPositions);
  const stops = stopsOf('model.generate', model, options.stop);
  const result = await runJob(options, (onProgress) =>
    model.native.generate(
      prompts,
      {
        maxNewTokens,
        temperature,
        topP,
        topK,
        minP,
        numReturnSequences,
        seed,
        firstStream,
        maxBatch,
        stop: Int32Array.from(nativeStops(model, stops)),
      },
      onProgress,
    ),
  );
  const completions = completionsOf(model, prompts, result, numReturnSequences);
  const { texts } = stops;
  if (texts.length === 0) return completions;
  const tokenizer = tokenizerOf(model.companions);
  return completions.map((each) => endedByText(each, texts, tokenizer, model.spec.vocabSize));
}

/** Ids that end a completion while it is sampled: those given, and tokens that have a stop text in them. */
function nativeStops(model: ModelParts, { ids, texts }: Stops): readonly number[] {
  if (texts.length === 0) return ids;
  return [...ids, ...tokensWith(tokenizerOf(model.companions), texts, model.spec.vocabSize)];
}

/** Every prompt leaves room for one token at least. */
function checkRoom({ offsets }: PackedSequences, maxPositions: number): void {
  for (let p = 0; p + 1 < offsets.length; ++p) {
    const length = offsets[p + 1]! - offsets[p]!;
    if (length >= maxPositions)
      fail(
        'ERR_INVALID_ARG',
        `model.generate: prompts[${p}] has ${length} tokens, but the model's context is ${maxPositions} ` +
          'and a completion needs at least one; shorten it',
      );
  }
}

/** What the decoder gives, completion by completion. Those of one prompt are next to each other. */
function completionsOf(
  model: ModelParts,
  prompts: PackedSequences,
  result: NativeCompletions,
  perPrompt: number,
): Completion[] {
  const { tokenizer } = model.companions;
  return Array.from(result.stopped, (stopped, c): Completion => {
    const p = Math.floor(c / perPrompt);
    const prompt = prompts.ids.subarray(prompts.offsets[p]!, prompts.offsets[p + 1]!);
    const begin = result.offsets[c]!;
    const end = result.offsets[c + 1]!;
    const completionIds = [...result.ids.subarray(begin, end)];
    return {
      inputIds: [...prompt, ...completionIds],
      completionIds,
      text: tokenizer ? tokenizer.decode(completionIds) : '',
      logps: result.logps.slice(begin, end),
      finishReason: stopped === 1 ? 'stop' : 'length',
    };
  });
}
