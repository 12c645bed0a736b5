/**
 * Calls reward functions: several at once, with weights, a time limit and checked results. A function that
 * throws, does not return in time, or returns something that is not one finite number (or null) per
 * completion ends the step with ERR_REWARD, naming the function, the step and the row.
 */
import type vm from 'node:vm';

import { shown } from '../../core/check.js';
import { codedError, fail, hasCode } from '../../errors.js';
import type { RewardFunc, RewardInput, RewardValues } from '../interfaces.js';

export interface NamedReward {
  readonly name: string;
  readonly func: RewardFunc;
  readonly weight: number;
}

/** Names for metrics: the function's own; a second function of that name gets `_2`. */
export function nameRewards(
  rewardFuncs: RewardFunc | readonly RewardFunc[],
  weights: readonly number[] | undefined,
  caller: string,
): NamedReward[] {
  const funcs = typeof rewardFuncs === 'function' ? [rewardFuncs] : rewardFuncs;
  if (!Array.isArray(funcs) || funcs.length === 0)
    fail(
      'ERR_INVALID_ARG',
      `${caller}: rewardFuncs must be a function or an array of functions that is not empty, ` +
        `got ${shown(rewardFuncs)}`,
    );
  if (weights && weights.length !== funcs.length)
    fail(
      'ERR_INVALID_ARG',
      `${caller}: rewardWeights must have one number per reward function (${funcs.length}), ` +
        `got ${weights.length}`,
    );
  const uses = new Map<string, number>();
  return funcs.map((func, i) => {
    if (typeof func !== 'function')
      fail('ERR_INVALID_ARG', `${caller}: rewardFuncs[${i}] must be a function, got ${shown(func)}`);
    const own = func.rewardName || func.name || `reward_${i}`;
    const use = (uses.get(own) ?? 0) + 1;
    uses.set(own, use);
    const name = use === 1 ? own : `${own}_${use}`;
    return { name, func, weight: weights?.[i] ?? 1 };
  });
}

export interface RewardCall {
  readonly timeoutMs: number;
  /** For messages. */
  readonly step: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * One array per function; NaN where it said null. All functions run at once; the first failure aborts the
 * others' signals.
 */
export async function callRewards(
  rewards: readonly NamedReward[],
  input: Omit<RewardInput, 'signal'>,
  rows: number,
  call: RewardCall,
): Promise<Float64Array[]> {
  const stop = new AbortController();
  const signal = call.signal ? AbortSignal.any([call.signal, stop.signal]) : stop.signal;
  const inputWithSignal = withSignal(input, signal);
  const judge = async (reward: NamedReward): Promise<Float64Array> => {
    const values = await callOne(reward, inputWithSignal, call);
    return checkValues(reward, values, rows, call.step);
  };
  try {
    return await Promise.all(rewards.map(judge));
  } finally {
    stop.abort();
  }
}

/** Copies descriptors, not values: `completions` may be a getter that refuses (no tokenizer). */
function withSignal(input: Omit<RewardInput, 'signal'>, signal: AbortSignal): RewardInput {
  const copy = Object.defineProperties({}, Object.getOwnPropertyDescriptors(input));
  Object.defineProperty(copy, 'signal', { value: signal, enumerable: true });
  return copy as RewardInput;
}

const placeOf = ({ name }: NamedReward, step: number): string => `reward function '${name}' (step ${step})`;

async function callOne(
  reward: NamedReward,
  input: RewardInput,
  { timeoutMs, step, signal }: RewardCall,
): Promise<RewardValues> {
  const where = placeOf(reward, step);
  const late = () =>
    codedError(
      'ERR_REWARD',
      `${where} did not return within ${timeoutMs} ms; make it faster or raise rewardTimeoutMs`,
    );
  let timer: NodeJS.Timeout | undefined;
  let onAbort: (() => void) | undefined;
  try {
    const ended = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(late()), timeoutMs);
      onAbort = () => reject(signal!.reason);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
    // It may be rejected when nobody waits for it any more.
    ended.catch(() => {});
    const values = runInterruptibly(() => reward.func(input), timeoutMs);
    return await Promise.race([values, ended]);
  } catch (error) {
    signal?.throwIfAborted();
    if (hasCode(error, 'ERR_REWARD') || hasCode(error, 'ERR_UNSUPPORTED')) throw error;
    if ((error as NodeJS.ErrnoException)?.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw late();
    const thrown = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    return fail('ERR_REWARD', `${where} threw ${thrown}`, error);
  } finally {
    clearTimeout(timer);
    if (onAbort) signal?.removeEventListener('abort', onAbort);
  }
}

let interruptible: { readonly context: vm.Context; readonly script: vm.Script } | undefined;

/**
 * V8's watchdog stops a synchronous endless loop too, but only below a script of node:vm: so the call is made
 * from one.
 */
function runInterruptibly<T>(call: () => T, timeoutMs: number): T {
  if (!interruptible) {
    const { createContext, Script } = process.getBuiltinModule('node:vm');
    interruptible = { context: createContext({ call }), script: new Script('call()') };
  }
  interruptible.context['call'] = call;
  return interruptible.script.runInContext(interruptible.context, { timeout: Math.ceil(timeoutMs) }) as T;
}

/** NaN for null. */
function checkValues(reward: NamedReward, values: RewardValues, rows: number, step: number): Float64Array {
  const where = placeOf(reward, step);
  if (values === null || typeof values !== 'object' || typeof values.length !== 'number')
    fail('ERR_REWARD', `${where} must return an array of numbers or nulls, got ${typeof values}`);
  if (values.length !== rows)
    fail('ERR_REWARD', `${where} must return one value per completion (${rows}), got ${values.length}`);
  return Float64Array.from({ length: rows }, (_, row) => {
    const value: unknown = values[row];
    if (value === null) return NaN;
    if (typeof value !== 'number' || !Number.isFinite(value))
      fail(
        'ERR_REWARD',
        `${where} must return finite numbers, got ${String(value)} for row ${row}; ` +
          'return null for a completion it cannot judge',
      );
    return value;
  });
}
