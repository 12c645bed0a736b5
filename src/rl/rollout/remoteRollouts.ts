/**
 * Completions sampled by a server, for models too large to sample here: vLLM through its OpenAI completions
 * route, SGLang through its own /generate. Token ids go in and come back, so nothing is tokenised twice. The
 * server samples from the weights it holds: `syncWeights` is where they are brought up to date, and what
 * still differs is measured (sampling/…) and weighed (vllmImportanceSampling…).
 */
import { checkOptions, func, object, required, type Rules, text, url as address } from '../../core/check.js';
import { createHttpClient, HTTP, type HttpOptions } from '../../core/http.js';
import type { Completion } from '../../model/generation.js';
import type { Model } from '../../model/model.js';

/** What a RolloutSource is asked for: GenerateOptions with every value given. */
export interface RolloutRequest {
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly topP: number;
  /** 0 = all. */
  readonly topK: number;
  readonly minP: number;
  readonly numReturnSequences: number;
  readonly seed: number;
  /** Random stream of the first completion; a request's own seed comes from it. */
  readonly firstStream: number;
  readonly stop: readonly number[];
  /** Texts that end a completion with the token that completes one of them. */
  readonly stopTexts: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

/** Completions of one prompt next to each other, as from model.generate. */
export interface RolloutSource {
  /**
   * numReturnSequences completions of each prompt, with log-probabilities of the distribution sampled from.
   */
  generate(prompts: readonly (readonly number[])[], request: RolloutRequest): Promise<Completion[]>;
  /** Called before the first sampling of a run and after every change of the weights. */
  syncWeights?(model: Model, step: number, signal?: AbortSignal): Promise<void>;
}

/** How a sampling server is reached. */
export interface RemoteRolloutOptions extends HttpOptions {
  /** The server, e.g. http://host:8000; routes are added. */
  readonly url: string;
  /** The model's name at an OpenAI route. */
  readonly model?: string;
  /** Further fields of every request. */
  readonly extra?: Readonly<Record<string, unknown>>;
  /**
   * How the server gets new weights, e.g. sglangWeightSync(). Absent: it keeps those it has, and the
   * difference is only measured and weighed.
   */
  readonly syncWeights?: RolloutSource['syncWeights'];
}

/** One completion of an answer. */
interface Choice {
  readonly ids: readonly number[];
  readonly logps: readonly number[];
  readonly reason: unknown;
}

/** What differs between servers. */
interface Protocol {
  readonly route: string;
  /** Of the request for a prompt's completions. */
  body(
    prompt: readonly number[],
    request: RolloutRequest,
    seed: number,
    options: RemoteRolloutOptions,
  ): unknown;
  choices(answer: unknown): Choice[];
}

interface OpenAIAnswer {
  readonly choices?: readonly {
    readonly token_ids?: readonly number[] | null;
    readonly finish_reason?: unknown;
    readonly logprobs?: {
      readonly tokens?: readonly string[];
      readonly token_logprobs?: readonly number[];
    } | null;
  }[];
}

const openAI: Protocol = {
  route: '/v1/completions',
  body: (
    prompt,
    { maxNewTokens, temperature, topP, topK, minP, numReturnSequences, stop, stopTexts },
    seed,
    { model, extra },
  ) => ({
    ...(model === undefined ? {} : { model }),
    prompt,
    max_tokens: maxNewTokens,
    temperature,
    top_p: topP,
    n: numReturnSequences,
    seed,
    logprobs: 0,
    stop_token_ids: stop,
    ignore_eos: stop.length === 0,
    ...(stopTexts.length > 0 ? { stop: stopTexts, include_stop_str_in_output: true } : {}),
    ...(topK > 0 ? { top_k: topK } : {}),
    ...(minP > 0 ? { min_p: minP } : {}),
    return_token_ids: true,
    return_tokens_as_token_ids: true,
    ...extra,
  }),
  choices(answer) {
    const choices = (answer as OpenAIAnswer | null)?.choices ?? [];
    return choices.map(({ token_ids, finish_reason, logprobs }) => ({
      ids: token_ids ?? (logprobs?.tokens ?? []).map(idInToken),
      logps: logprobs?.token_logprobs ?? [],
      reason: finish_reason,
    }));
  },
};

/** Of `token_id:123`, as vLLM writes tokens with return_tokens_as_token_ids; NaN for another text. */
function idInToken(token: string): number {
  const [, digits] = /^token_id:(\d+)$/.exec(token) ?? [];
  return digits === undefined ? NaN : Number(digits);
}

interface SGLangAnswer {
  readonly output_ids?: readonly number[];
  readonly meta_info?: {
    readonly finish_reason?: { readonly type?: unknown } | null;
    readonly output_token_logprobs?: readonly (readonly [number, number, unknown?])[];
  };
}

const sglang: Protocol = {
  route: '/generate',
  body: (
    prompt,
    { maxNewTokens, temperature, topP, topK, minP, numReturnSequences, stop, stopTexts },
    seed,
    { extra },
  ) => ({
    input_ids: prompt,
    return_logprob: true,
    sampling_params: {
      n: numReturnSequences,
      max_new_tokens: maxNewTokens,
      temperature,
      top_p: topP,
      top_k: topK > 0 ? topK : -1,
      min_p: minP,
      stop_token_ids: stop,
      ignore_eos: stop.length === 0,
      ...(stopTexts.length > 0 ? { stop: stopTexts, no_stop_trim: true } : {}),
      sampling_seed: seed,
    },
    ...extra,
  }),
  choices(answer) {
    const items = [answer].flat() as readonly (SGLangAnswer | null)[];
    return items.map((item) => {
      const { output_token_logprobs: pairs = [], finish_reason } = item?.meta_info ?? {};
      return {
        ids: item?.output_ids ?? pairs.map(([, id]) => id),
        logps: pairs.map(([logp]) => logp),
        reason: finish_reason?.type,
      };
    });
  },
};

function checkChoices(choices: readonly Choice[], expected: number): void {
  if (choices.length !== expected)
    throw new Error(`must answer with ${expected} completions of a prompt, got ${choices.length}`);
  for (const { ids, logps } of choices) {
    if (ids.length === 0 || !ids.every((id) => Number.isInteger(id) && id >= 0))
      throw new Error(
        'must answer with token ids (vLLM from 0.10.2: return_token_ids; earlier: return_tokens_as_token_ids)',
      );
    if (logps.length !== ids.length)
      throw new Error(`must answer with one log-probability per token (${ids.length}), got ${logps.length}`);
    if (!logps.every((logp) => typeof logp === 'number' && Number.isFinite(logp)))
      throw new Error('must answer with finite log-probabilities');
  }
}

const OPTIONS: Rules = { ...HTTP, url: required(address), model: text, extra: object, syncWeights: func };
const SYNC: Rules = { ...HTTP, url: required(address), directory: required(text) };

function remoteRollouts(caller: string, protocol: Protocol, options: RemoteRolloutOptions): RolloutSource {
  checkOptions(caller, options, OPTIONS);
  const client = createHttpClient(caller, 'ERR_REMOTE', options);
  const url = baseOf(options.url) + protocol.route;

  async function completionsOf(
    prompt: readonly number[],
    request: RolloutRequest,
    seed: number,
  ): Promise<Completion[]> {
    const read = (answer: unknown): Choice[] => {
      const choices = protocol.choices(answer);
      checkChoices(choices, request.numReturnSequences);
      return choices;
    };
    const body = protocol.body(prompt, request, seed, options);
    const choices = await client.post(url, body, read, request.signal);
    return choices.map(({ ids, logps, reason }) => ({
      inputIds: [...prompt, ...ids],
      completionIds: [...ids],
      text: '',
      logps: Float32Array.from(logps),
      finishReason: reason === 'stop' ? 'stop' : 'length',
    }));
  }

  return {
    ...(options.syncWeights ? { syncWeights: options.syncWeights } : {}),
    async generate(prompts, request) {
      const completions = prompts.map((prompt, index) =>
        completionsOf(prompt, request, seedOf(request, index)),
      );
      return (await Promise.all(completions)).flat();
    },
  };
}

const baseOf = (url: string): string => url.replace(/\/+$/, '');

/** Of the request for a prompt, from the random stream of its first completion. */
function seedOf({ seed, firstStream, numReturnSequences }: RolloutRequest, prompt: number): number {
  const stream = firstStream + prompt * numReturnSequences;
  return (seed * 1_000_003 + stream) % 2 ** 31;
}

/**
 * vLLM or another server with /v1/completions. Log-probabilities must be those of the distribution sampled
 * from: start vLLM with `--logprobs-mode processed_logprobs` unless temperature is 1 and nothing is cut off.
 * @throws ERR_REMOTE after the last try.
 */
export const openAIRollouts = (options: RemoteRolloutOptions): RolloutSource =>
  remoteRollouts('openAIRollouts', openAI, options);

/** SGLang's /generate. @throws ERR_REMOTE after the last try. */
export const sglangRollouts = (options: RemoteRolloutOptions): RolloutSource =>
  remoteRollouts('sglangRollouts', sglang, options);

/**
 * A syncWeights for SGLang: the weights are saved where the server reads them, and it loads them
 * (/update_weights_from_disk).
 */
export function sglangWeightSync(
  options: HttpOptions & { readonly url: string; readonly directory: string },
): NonNullable<RolloutSource['syncWeights']> {
  checkOptions('sglangWeightSync', options, SYNC);
  const { directory } = options;
  const client = createHttpClient('sglangWeightSync', 'ERR_REMOTE', options);
  const url = `${baseOf(options.url)}/update_weights_from_disk`;
  const checkLoaded = (answer: unknown): void => {
    const { success } = (answer ?? {}) as { readonly success?: unknown };
    if (success !== true)
      throw new Error(`did not load the weights: ${JSON.stringify(answer)?.slice(0, 200)}`);
  };
  return async (model, _step, signal) => {
    await model.savePretrained(directory, { signal });
    await client.post(url, { model_path: directory }, checkLoaded, signal);
  };
}
