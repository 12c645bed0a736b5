/**
 * A reward model served elsewhere (ArmoRM and the like). Each batch of completions is one POST of JSON
 *   { "prompts": […], "completions": […], <columns>: […] }
 * answered, in the order of the completions, by
 *   { "rewards": [number | null, …] }   or the bare array
 * Servers with another form: `request` and `response`.
 */
import {
  checkOptions,
  count,
  func,
  list,
  required,
  type Rules,
  text,
  url as address,
} from '../../core/check.js';
import { createHttpClient, HTTP, type HttpOptions } from '../../core/http.js';
import type { RewardFunc, RewardInput } from '../interfaces.js';
import { named } from './named.js';

/** What one request is about. */
export type RewardRequest = Pick<RewardInput, 'prompts' | 'completions'> &
  Readonly<Record<string, readonly unknown[]>>;

/** How a reward server is asked. */
export interface HttpRewardOptions extends HttpOptions {
  /** Where requests are posted. */
  readonly url: string;
  /** In metrics. Default 'http_reward'. */
  readonly name?: string;
  /** Completions per request. Default 32. */
  readonly batchSize?: number;
  /** Columns of the data set to send along. */
  readonly columns?: readonly string[];
  /** The body of a request. Default: what it is about. */
  readonly request?: (about: RewardRequest) => unknown;
  /**
   * The rewards in an answer, one number or null per completion. Default: its `rewards`, or the answer
   * itself.
   */
  readonly response?: (answer: unknown) => unknown;
}

function checkRewards(rewards: unknown, expected: number): (number | null)[] {
  if (!Array.isArray(rewards)) {
    const got = JSON.stringify(rewards)?.slice(0, 80);
    throw new Error(`must answer with an array of rewards, or one under "rewards", got ${got}`);
  }
  if (rewards.length !== expected)
    throw new Error(`must answer with one reward per completion (${expected}), got ${rewards.length}`);
  for (const [i, reward] of rewards.entries()) {
    if (reward === null || (typeof reward === 'number' && Number.isFinite(reward))) continue;
    const got = JSON.stringify(reward);
    throw new Error(`must answer with finite numbers or null, got ${got} for completion ${i}`);
  }
  return rewards;
}

/** Of an answer in the usual form. */
const usualRewards = (answer: unknown): unknown =>
  (answer as { rewards?: unknown } | null)?.rewards ?? answer;

const OPTIONS: Rules = {
  ...HTTP,
  url: required(address),
  name: text,
  batchSize: count,
  columns: list,
  request: func,
  response: func,
};

/**
 * A reward model served elsewhere (ArmoRM and the like): a POST of { prompts, completions, <columns> } is
 * answered by { rewards: [number | null, …] }, or by the bare array, in the order of the completions. @throws
 * ERR_REWARD after the last try: the server's answer and how often it was asked.
 */
export function httpReward(options: HttpRewardOptions): RewardFunc {
  checkOptions('httpReward', options, OPTIONS);
  const {
    url,
    name = 'http_reward',
    batchSize = 32,
    columns = [],
    request = (about: RewardRequest) => about,
    response: rewardsOf = usualRewards,
  } = options;
  const client = createHttpClient(`reward function '${name}'`, 'ERR_REWARD', options);

  async function rewardBatch(input: RewardInput, begin: number): Promise<(number | null)[]> {
    const cut = <T>(values: readonly T[] | undefined): T[] => values?.slice(begin, begin + batchSize) ?? [];
    const completions = cut(input.completions);
    const about = {
      prompts: cut(input.prompts),
      completions,
      ...Object.fromEntries(columns.map((column) => [column, cut(input[column])])),
    } as RewardRequest;
    const read = (answer: unknown) => checkRewards(rewardsOf(answer), completions.length);
    return client.post(url, request(about), read, input.signal);
  }

  return named(name, async (input) => {
    const batches = Math.ceil(input.completions.length / batchSize);
    const begins = Array.from({ length: batches }, (_, batch) => batch * batchSize);
    const rewards = await Promise.all(begins.map((begin) => rewardBatch(input, begin)));
    return rewards.flat();
  });
}
