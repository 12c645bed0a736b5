/**
 * Reward and rollout servers that are slow, broken or gone: tried again, then a clear error with the run
 * checkpointed.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import type { Model } from '../../../src/index.js';
import {
  GRPOTrainer,
  httpReward,
  openAIRollouts,
  type RewardFunc,
  type RewardInput,
  sglangRollouts,
  sglangWeightSync,
  type StepMetrics,
} from '../../../src/rl/index.js';
import { createTokenizer } from '../../../src/model/tokenizer/tokenizer.js';
import { type Answer, serve } from '../../helpers/server.js';
import { byteTokenizerJson } from '../../helpers/tokenizer.js';
import { config, logged, prompts, temporary, tinyModel, wantedTokens, weights } from '../helpers.js';

const quick = { retries: 2, retryDelayMs: 1, timeoutMs: 5000 };
const input = (
  completions: string[],
  columns: Record<string, unknown[]> = {},
  signal = new AbortController().signal,
) =>
  ({ prompts: completions.map((c) => `p${c}`), completions, signal, ...columns }) as unknown as RewardInput;
const lengths = (body: { completions: string[] }): Answer => ({
  body: { rewards: body.completions.map((c) => c.length) },
});

describe('httpReward', () => {
  it('batches, keeps order, sends columns, and bounds what is under way', async () => {
    const server = await serve((body, _, index) => ({ ...lengths(body), delayMs: index === 0 ? 60 : 5 }));
    const reward = httpReward({
      url: server.url,
      batchSize: 2,
      concurrency: 2,
      columns: ['answer'],
      ...quick,
    });
    expect(
      await reward(
        input(['a', 'bb', 'ccc', 'dddd', 'e'], { answer: [1, 2, 3, 4, 5], other: [0, 0, 0, 0, 0] }),
      ),
    ).toEqual([1, 2, 3, 4, 1]);
    expect(server.requests.map(({ body }) => body)).toContainEqual({
      prompts: ['pccc', 'pdddd'],
      completions: ['ccc', 'dddd'],
      answer: [3, 4],
    });
    expect(server.requests).toHaveLength(3);
    expect(server.most()).toBe(2);
  });
  const bad: [string, Answer, string][] = [
    ['slow', { ...lengths({ completions: ['a'] }), delayMs: 400 }, 'did not answer within 150 ms'],
    ['500', { status: 500, body: 'out of memory' }, 'answered 500 Internal Server Error: out of memory'],
    ['a wrong length', { body: { rewards: [1, 2] } }, 'one reward per completion (1), got 2'],
    ['NaN', { body: '{"rewards":[NaN]}' }, 'is not valid JSON'],
    ['text for a number', { body: { rewards: ['1'] } }, 'finite numbers or null, got "1" for completion 0'],
    ['no array', { body: { score: 1 } }, 'array of rewards'],
    ['hanging up', { hangUp: true }, 'fetch failed'],
    ['429', { status: 429 }, '429'],
  ];
  const patience = (name: string) => ({ ...quick, ...(name === 'slow' ? { timeoutMs: 150 } : {}) });
  it.each(bad)('%s once: tried again', async (name, answer) => {
    const server = await serve((body, __, index) => (index === 0 ? answer : lengths(body)));
    expect(await httpReward({ url: server.url, ...patience(name) })(input(['a']))).toEqual([1]);
    expect(server.requests).toHaveLength(2);
  });
  it.each(bad)('%s for good: ERR_REWARD with name, address and cause', async (name, answer, part) => {
    const server = await serve(() => answer);
    await expect(
      httpReward({ url: server.url, name: 'armo', ...patience(name) })(input(['a'])),
    ).rejects.toMatchObject({ code: 'ERR_REWARD', message: expect.stringContaining(part) });
    await expect(
      httpReward({ url: server.url, name: 'armo', ...patience(name), retries: 0 })(input(['a'])),
    ).rejects.toThrow(`reward function 'armo': ${server.url}`);
    expect(server.requests).toHaveLength(4);
  });
  it('a refusal is not tried again, nor a server that is not there for ever', async () => {
    const server = await serve(() => ({ status: 404, body: 'no such route' }));
    await expect(httpReward({ url: server.url, ...quick })(input(['a']))).rejects.toThrow('no such route');
    expect(server.requests).toHaveLength(1);
    server.close();
    await expect(httpReward({ url: server.url, ...quick })(input(['a']))).rejects.toMatchObject({
      code: 'ERR_REWARD',
      message: expect.stringContaining('3 times'),
    });
  });
  it('stops with the signal’s reason', async () => {
    const server = await serve(() => ({ delayMs: 1000 }));
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error('enough')), 20);
    await expect(
      httpReward({ url: server.url, ...quick })(input(['a'], {}, controller.signal)),
    ).rejects.toThrow('enough');
  });
  it('null, and servers of another form', async () => {
    const server = await serve((body) => ({
      body: body.text.map((t: string) => ({ embedding: [t === 'x' ? null : 0.5] })),
    }));
    const reward = httpReward({
      url: server.url,
      request: ({ completions }) => ({ model: 'rm', text: completions }),
      response: (answer) => (answer as { embedding: unknown[] }[]).map((a) => a.embedding[0]),
      ...quick,
    });
    expect(await reward(input(['x', 'y']))).toEqual([null, 0.5]);
  });
});

/**
 * What vLLM and SGLang answer, sampled by a model of ours: exactly on policy as long as its weights are the
 * trainer's.
 */
async function mock(
  model: Model,
  broken: (index: number) => Answer | undefined = () => undefined,
  shift = 0,
) {
  const routes: Record<string, (body: any) => Promise<unknown>> = {
    '/v1/completions': async (body) => {
      const completions = await model.generate([body.prompt], {
        maxNewTokens: body.max_tokens,
        temperature: body.temperature,
        numReturnSequences: body.n,
        seed: body.seed,
        stop: body.stop_token_ids,
      });
      return {
        choices: completions.map((c) => ({
          finish_reason: c.finishReason,
          logprobs: {
            tokens: c.completionIds.map((id) => `token_id:${id}`),
            token_logprobs: [...c.logps].map((x) => x - shift),
          },
        })),
      };
    },
    '/generate': async ({ input_ids, sampling_params: p }) => {
      const completions = await model.generate([input_ids], {
        maxNewTokens: p.max_new_tokens,
        temperature: p.temperature,
        numReturnSequences: p.n,
        seed: p.sampling_seed,
        stop: p.stop_token_ids,
      });
      return completions.map((c) => ({
        output_ids: c.completionIds,
        meta_info: {
          finish_reason: { type: c.finishReason },
          output_token_logprobs: c.completionIds.map((id, t) => [c.logps[t], id, null]),
        },
      }));
    },
    '/update_weights_from_disk': async () => ({ success: true }),
  };
  return serve(async (body, path, index) => broken(index) ?? { body: await routes[path]!(body) });
}
const common = { rewardFuncs: wantedTokens, trainDataset: prompts() };
async function run(trainer: GRPOTrainer, options: { resumeFrom?: string } = {}): Promise<StepMetrics[]> {
  const rows = [];
  for await (const row of trainer.steps(options)) rows.push(row);
  return rows;
}

describe('rollouts from a server', () => {
  it.each([
    ['OpenAI (vLLM)', openAIRollouts, '/v1/completions'],
    ['SGLang', sglangRollouts, '/generate'],
  ] as const)(
    '%s: with the trainer’s weights the mismatch is rounding, and the run learns',
    async (_, make, path) => {
      const model = await tinyModel();
      const server = await mock(model);
      const rows = await run(
        new GRPOTrainer({
          model,
          ...common,
          rollouts: make({ url: server.url, ...quick }),
          config: { ...config, maxSteps: 4, topP: 1 },
        }),
      );
      expect(server.requests).toHaveLength(8);
      expect(new Set(server.requests.map((r) => r.path))).toEqual(new Set([path]));
      expect(
        new Set(
          server.requests.map((r) => JSON.stringify(r.body.seed ?? r.body.sampling_params.sampling_seed)),
        ).size,
      ).toBe(8);
      for (const row of rows) {
        expect(row['sampling/sampling_logp_difference/max']).toBeLessThan(1e-5);
        expect(row['sampling/importance_sampling_ratio/mean']).toBeCloseTo(1, 4);
        expect(row['grad_norm']).toBeGreaterThan(0);
      }
    },
  );
  it('a mismatch is measured, and weighed or masked', async () => {
    const shifted = async (options: object) => {
      const model = await tinyModel();
      const server = await mock(model, undefined, -0.2);
      const [row] = await run(
        new GRPOTrainer({
          model,
          ...common,
          rollouts: openAIRollouts({ url: server.url, ...quick }),
          config: { ...config, maxSteps: 1, ...options },
        }),
      );
      return row!;
    };
    const plain = await shifted({ vllmImportanceSamplingCorrection: false });
    expect(plain['sampling/sampling_logp_difference/mean']).toBeCloseTo(0.2, 4);
    expect(plain['sampling/importance_sampling_ratio/mean']).toBeUndefined();
    expect(plain.notes.join(' ')).toContain('disagree');
    const weighed = await shifted({ vllmImportanceSamplingMode: 'token_truncate' });
    expect(weighed['sampling/importance_sampling_ratio/mean']).toBeCloseTo(Math.exp(-0.2), 4);
    expect((weighed['grad_norm'] as number) / (plain['grad_norm'] as number)).toBeCloseTo(Math.exp(-0.2), 3);
    expect(
      (await shifted({ vllmImportanceSamplingMode: 'token_mask', vllmImportanceSamplingClipMin: 0.9 }))[
        'grad_norm'
      ],
    ).toBe(0);
  });
  it('dying mid-step: tried again, then a clear error and a checkpoint; the run goes on unchanged', async () => {
    const outputDir = temporary();
    const options = { ...config, maxSteps: 6, outputDir };
    // Requests come two a step; the server dies between the two of step 4 and stays dead.
    const model = await tinyModel();
    const dying = await mock(model, (index) => (index >= 7 ? { hangUp: true } : undefined));
    const trainer = new GRPOTrainer({
      model,
      ...common,
      rollouts: openAIRollouts({ url: dying.url, ...quick, concurrency: 1 }),
      config: options,
    });
    await expect(run(trainer)).rejects.toMatchObject({
      code: 'ERR_REMOTE',
      message: expect.stringMatching(/openAIRollouts: .*\/v1\/completions .*3 times; check the server/),
    });
    expect(dying.requests).toHaveLength(10);
    expect(logged(outputDir).map((row) => row.step)).toEqual([1, 2, 3]);
    expect(existsSync(join(outputDir, 'checkpoint-3'))).toBe(true);

    const resumed = await tinyModel();
    const alive = await mock(resumed);
    await run(
      new GRPOTrainer({
        model: resumed,
        ...common,
        rollouts: openAIRollouts({ url: alive.url, ...quick }),
        config: options,
      }),
      { resumeFrom: 'latest' },
    );
    const whole = await tinyModel();
    // One hiccup changes nothing.
    const steady = await mock(whole, (index) => (index === 3 ? { status: 503 } : undefined));
    await run(
      new GRPOTrainer({
        model: whole,
        ...common,
        rollouts: openAIRollouts({ url: steady.url, ...quick }),
        config: { ...options, outputDir: temporary() },
      }),
    );
    expect(await weights(resumed)).toEqual(await weights(whole));
  });
  it.each<[string, unknown, string]>([
    ['too few completions', { choices: [] }, 'must answer with 4 completions of a prompt, got 0'],
    [
      'no token ids',
      { choices: Array(4).fill({ logprobs: { tokens: ['a'], token_logprobs: [0] } }) },
      'token ids',
    ],
    [
      'too few log-probabilities',
      { choices: Array(4).fill({ token_ids: [3, 4], logprobs: { token_logprobs: [0] } }) },
      'one log-probability per token (2), got 1',
    ],
    [
      'a null log-probability',
      { choices: Array(4).fill({ token_ids: [3], logprobs: { token_logprobs: [null] } }) },
      'finite log-probabilities',
    ],
    [
      'a token that the model does not have',
      { choices: Array(4).fill({ token_ids: [9999], logprobs: { token_logprobs: [-1] } }) },
      '9999',
    ],
  ])('%s: refused in words', async (_, body, part) => {
    const server = await serve(() => ({ body }));
    const trainer = new GRPOTrainer({
      model: await tinyModel(),
      ...common,
      rollouts: openAIRollouts({ url: server.url, ...quick }),
      config: { ...config, maxSteps: 1 },
    });
    await expect(run(trainer)).rejects.toThrow(part);
  });
  it('weights are brought to the server before it samples with them, once per step', async () => {
    const model = await tinyModel();
    const server = await mock(model);
    const directory = join(temporary(), 'weights');
    const http = { url: server.url, ...quick };
    await run(
      new GRPOTrainer({
        model,
        ...common,
        rollouts: sglangRollouts({
          ...http,
          concurrency: 1,
          syncWeights: sglangWeightSync({ ...http, directory }),
        }),
        config: { ...config, maxSteps: 2 },
      }),
    );
    expect(server.requests.map((r) => r.path)).toEqual([
      '/update_weights_from_disk',
      '/generate',
      '/generate',
      '/update_weights_from_disk',
      '/generate',
      '/generate',
    ]);
    expect(server.requests[0]!.body).toEqual({ model_path: directory });
    expect(existsSync(join(directory, 'model.safetensors'))).toBe(true);
  });
  it('a reward server that breaks in a run: ERR_REWARD, a checkpoint, and the rest after it is mended', async () => {
    const outputDir = temporary();
    const tokenizer = createTokenizer('t.json', byteTokenizerJson(), {});
    const server = await serve((body, _, index) =>
      index >= 2 && index < 5 ? { status: 500, body: 'down' } : lengths(body),
    );
    const make = async (funcs: RewardFunc) =>
      new GRPOTrainer({
        model: await tinyModel(),
        tokenizer,
        trainDataset: prompts(),
        rewardFuncs: funcs,
        config: { ...config, maxSteps: 4, outputDir },
      });
    await expect(run(await make(httpReward({ url: server.url, ...quick })))).rejects.toMatchObject({
      code: 'ERR_REWARD',
      message: expect.stringContaining('500'),
    });
    expect(logged(outputDir)).toHaveLength(2);
    await run(await make(httpReward({ url: server.url, ...quick })), { resumeFrom: 'latest' });
    expect(logged(outputDir)).toHaveLength(4);
  });
});
