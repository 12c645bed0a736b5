import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { callRewards, nameRewards } from '../../../src/rl/rewards/call.js';
import { loadReward } from '../../../src/rl/rewards/loadReward.js';
import {
  lengthReward,
  regexReward,
  repetitionPenaltyReward,
  softOverlongPunishment,
  thinkFormatReward,
} from '../../../src/rl/rewards/index.js';
import type { RewardFunc, RewardInput } from '../../../src/rl/interfaces.js';

const input = (completions: string[], columns: Record<string, unknown[]> = {}) =>
  ({
    prompts: completions.map(() => ''),
    completions,
    completionIds: completions.map((text) => [...text].map((c) => c.charCodeAt(0))),
    terminated: completions.map(() => true),
    trainerState: { step: 3, stage: 'full' },
    logMetric: () => {},
    ...columns,
  }) as Omit<RewardInput, 'signal'>;
const call = (funcs: RewardFunc | RewardFunc[], rows = 2, timeoutMs = 200, signal?: AbortSignal) =>
  callRewards(nameRewards(funcs, undefined, 'test'), input(Array.from({ length: rows }, () => 'x')), rows, {
    timeoutMs,
    step: 3,
    signal,
  });

describe('calling reward functions', () => {
  it('sync, async, and null', async () => {
    const [a, b] = await call([() => [1, null], async () => Float32Array.of(2, 3)]);
    expect([...a!]).toEqual([1, NaN]);
    expect([...b!]).toEqual([2, 3]);
  });
  it.each<[string, RewardFunc, string]>([
    [
      'throws',
      function bad() {
        throw new Error('boom');
      },
      "'bad' (step 3) threw Error: boom",
    ],
    [
      'rejects',
      async function bad() {
        throw new TypeError('boom');
      },
      "'bad' (step 3) threw TypeError: boom",
    ],
    [
      'never settles',
      function slow() {
        return new Promise(() => {});
      },
      "'slow' (step 3) did not return within 200 ms",
    ],
    [
      'never returns',
      function stuck() {
        for (;;);
      },
      "'stuck' (step 3) did not return within 200 ms",
    ],
    [
      'NaN',
      function nan() {
        return [0, NaN];
      },
      "'nan' (step 3) must return finite numbers, got NaN for row 1",
    ],
    [
      'infinite',
      function inf() {
        return [-Infinity, 0];
      },
      'row 0',
    ],
    [
      'undefined',
      function hole() {
        return [0, undefined as unknown as null];
      },
      'got undefined for row 1',
    ],
    [
      'text',
      function text() {
        return ['1', 0] as unknown as number[];
      },
      'row 0',
    ],
    [
      'too few',
      function few() {
        return [1];
      },
      'one value per completion (2), got 1',
    ],
    [
      'no array',
      function none() {
        return undefined as unknown as number[];
      },
      'array of numbers',
    ],
  ])('%s: ERR_REWARD with function, step and row', async (_, func, part) => {
    await expect(call([() => [0, 0], func])).rejects.toMatchObject({
      code: 'ERR_REWARD',
      message: expect.stringContaining(part),
    });
  });
  it('works again after an interrupted endless loop', async () => {
    await expect(
      call(() => {
        for (;;);
      }),
    ).rejects.toMatchObject({ code: 'ERR_REWARD' });
    expect([...(await call(() => [1, 2]))[0]!]).toEqual([1, 2]);
  });
  it('an abort wins over waiting, with the signal’s reason', async () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error('stop')), 20);
    await expect(call(() => new Promise(() => {}), 2, 5000, controller.signal)).rejects.toThrow('stop');
  });
  it('functions are told when the others have failed', async () => {
    let aborted = false;
    await expect(
      call([
        async () => {
          throw new Error('x');
        },
        ({ signal }) =>
          new Promise(() =>
            signal.addEventListener('abort', () => {
              aborted = true;
            }),
          ),
      ]),
    ).rejects.toBeDefined();
    expect(aborted).toBe(true);
  });
  it('names: the function’s own, unique', () => {
    const same = () => [0];
    expect(
      nameRewards(
        [same, same, Object.assign(() => [0], { rewardName: 'nice' }), () => [0]],
        undefined,
        't',
      ).map((r) => r.name),
    ).toEqual(['same', 'same_2', 'nice', 'reward_3']);
    expect(() => nameRewards([same], [1, 2], 't')).toThrow('rewardWeights');
  });
});

describe('built-in rewards', () => {
  const values = (func: RewardFunc, completions: string[], columns: Record<string, unknown[]> = {}) =>
    func({ ...input(completions, columns), signal: new AbortController().signal } as RewardInput);
  it('regex does not remember the text before', () =>
    expect(values(regexReward(/a/g), ['a', 'a', 'b'])).toEqual([1, 1, 0]));
  it('think: one block at the beginning', () =>
    expect(
      values(thinkFormatReward(), [
        '<think>\na\n</think>\nb',
        '<think></think>',
        'a<think></think>',
        '<think>a',
        '<think><think></think>',
      ]),
    ).toEqual([1, 1, 0, 0, 0]));
  it('repetition: the share of n-grams seen before', () => {
    expect(values(repetitionPenaltyReward({ ngramSize: 2 }), ['abcd', 'aaaaa', 'a', ''])).toEqual([
      0, -0.75, 0, 0,
    ]);
    expect(values(repetitionPenaltyReward({ ngramSize: 1, maxPenalty: -2 }), ['aab'])).toEqual([
      -2 * (1 - 2 / 3),
    ]);
    expect(() => repetitionPenaltyReward({ maxPenalty: 1 })).toThrow('maxPenalty');
  });
  it('overlong: free, then falling, then −1', () => {
    expect(
      values(
        softOverlongPunishment({ maxCompletionLength: 10, softPunishCache: 4 }),
        [6, 7, 10, 11].map((n) => 'a'.repeat(n)),
      ),
    ).toEqual([0, -0.25, -1, -1]);
    expect(
      values(
        softOverlongPunishment({ maxCompletionLength: 10, softPunishCache: 0 }),
        [10, 11].map((n) => 'a'.repeat(n)),
      ),
    ).toEqual([0, -1]);
    expect(() => softOverlongPunishment({ maxCompletionLength: 3, softPunishCache: 4 })).toThrow(
      'softPunishCache',
    );
  });
  it('length peaks at its target', () =>
    expect(values(lengthReward({ target: 4 }), ['', 'ab', 'abcd', 'abcdef', 'a'.repeat(20)])).toEqual([
      0, 0.5, 1, 0.5, 0,
    ]));
});

describe('rewards by specification', () => {
  const directory = mkdtempSync(join(tmpdir(), 'headfirst-reward-'));
  const module = (name: string, text: string) => {
    writeFileSync(join(directory, name), text);
    return join(directory, name);
  };
  it('built-ins and module exports', async () => {
    expect((await loadReward('regex:^a+$')).rewardName).toBe('regex');
    expect((await loadReward('length:5')).rewardName).toBe('length');
    expect((await loadReward(module('one.mjs', 'export function friendly() { return [] }'))).name).toBe(
      'friendly',
    );
    expect(
      (await loadReward(module('two.mjs', 'export const a = () => [], b = () => []; export default b'))).name,
    ).toBe('b');
    expect(
      (await loadReward(`${module('three.mjs', 'export const a = () => [], b = () => []')}#a`)).name,
    ).toBe('a');
  });
  it.each([
    ['regexx', 'ERR_INVALID_ARG', "Did you mean 'regex'?"],
    ['./missing.mjs', 'ERR_IO', 'missing.mjs'],
    [
      `${module('many.mjs', 'export const alpha = () => [], beta = () => []')}`,
      'ERR_INVALID_ARG',
      'alpha, beta',
    ],
    [
      `${module('named.mjs', 'export const alpha = () => []')}#alpa`,
      'ERR_INVALID_ARG',
      "Did you mean 'alpha'?",
    ],
    [module('broken.mjs', 'export const ='), 'ERR_IO', 'broken.mjs'],
    ['regex:(', 'ERR_INVALID_ARG', 'regexReward'],
    ['length:-1', 'ERR_INVALID_ARG', 'target'],
    ['overlong', 'ERR_INVALID_ARG', 'softPunishCache'],
  ])('%s is refused', async (spec, code, part) => {
    await expect(loadReward(spec)).rejects.toMatchObject({ code, message: expect.stringContaining(part) });
  });
});
