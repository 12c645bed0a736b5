/**
 * Every family against an independent float64 implementation (test/golden/generate.py): logits, log-probs,
 * the gradient of every parameter and a greedy continuation; and the real checkpoint stories260K against its
 * reference file.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';

import { Context, createContext } from '../../src/core/context.js';
import { Model } from '../../src/model/model.js';
import { addon } from '../../src/core/addon/addon.js';
import {
  golden,
  goldenFamilies,
  needsSharedData,
  readJson,
  readRaw,
  sharedData,
  withoutSharedData,
} from '../helpers/files.js';

const contexts = {
  fp64: await createContext({ math: 'fp64' }),
  fp32: await createContext({ device: 'cpu', threads: 1 }),
  /** The naive float32 evaluation: the yardstick of the accuracy rule. */
  naive: new Context(new addon.Context({ backend: 'reference32' }), {
    device: 'cpu',
    math: 'fp32',
    seed: 0,
    reason: 'the naive reference',
  }),
};
afterAll(() => Object.values(contexts).forEach((context) => context.dispose()));

interface Golden {
  input_ids: number[][];
  score_from: number[];
  coefficients: number[];
  last_logits: number[][];
  logps: number[][];
  loss: number;
  greedy_ids: number[];
}

function difference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(actual.length).toBe(expected.length);
  let [error, norm] = [0, 0];
  for (let i = 0; i < expected.length; ++i) {
    error += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(error) / Math.max(Math.sqrt(norm), 1e-30);
}

describe.each(goldenFamilies)('%s', (name) => {
  const values = JSON.parse(readFileSync(join(golden(name), 'golden.json'), 'utf8')) as Golden;
  const gradients = new Map(
    Object.entries(readRaw(join(golden(name), 'golden.safetensors'))).map(([key, { data }]) => [
      key,
      new Float64Array(data.buffer),
    ]),
  );
  const batch = { inputIds: values.input_ids };
  const samples = values.input_ids.map((inputIds, s) => ({ inputIds, scoreFrom: values.score_from[s]! }));

  it.each([
    ['fp64', 1e-10],
    ['fp32', 1e-5],
  ] as const)('logits and log-probs in %s within %s', async (math, bound) => {
    const model = await Model.fromPretrained(golden(name), { context: contexts[math] });
    const { logits } = await model.forward(batch);
    for (const [s, tensor] of logits!.entries()) {
      expect(tensor.shape).toEqual([values.input_ids[s]!.length, 61]);
      expect(
        difference((await tensor.data()).slice(-61), values.last_logits[s]!),
        `logits of sequence ${s}`,
      ).toBeLessThan(bound);
    }
    // logprobs() reports float32.
    const { logps } = await model.logprobs(batch);
    logps.forEach((row, s) =>
      expect(difference(row, values.logps[s]!), `log-probs of sequence ${s}`).toBeLessThan(
        Math.max(bound, 1e-7),
      ),
    );
    model.dispose();
  });

  const accumulate = async (math: keyof typeof contexts) => {
    const model = await Model.fromPretrained(golden(name), { context: contexts[math] });
    const scores = await model.accumulateGradients(samples, {
      loss: 'coefficients',
      coefficients: Float32Array.from(values.coefficients),
    });
    const loss = -values.coefficients.reduce((sum, c, i) => sum + c * scores.logps[i]!, 0);
    expect(loss).toBeCloseTo(values.loss, 3);
    const errors = new Map<string, number>();
    for (const parameter of model.parameters())
      errors.set(
        parameter.name,
        difference(await model.getGradient(parameter.name), gradients.get(parameter.name)!),
      );
    model.dispose();
    expect([...errors.keys()].sort()).toEqual([...gradients.keys()].sort());
    return errors;
  };

  it('every gradient in fp64 within 1e-9', async () => {
    for (const [parameter, error] of await accumulate('fp64')) expect(error, parameter).toBeLessThan(1e-9);
  });

  it('every gradient in fp32 by the accuracy rule', async () => {
    const naive = await accumulate('naive');
    for (const [parameter, error] of await accumulate('fp32'))
      expect(error, parameter).toBeLessThanOrEqual(2 * naive.get(parameter)! + 1e-6);
  });

  it('the greedy continuation', async () => {
    const model = await Model.fromPretrained(golden(name), { context: contexts.fp32 });
    const [completion] = await model.generate([values.input_ids[0]!], {
      maxNewTokens: values.greedy_ids.length,
      temperature: 0,
      stop: [],
    });
    expect(completion!.completionIds).toEqual(values.greedy_ids);
    model.dispose();
  });
});

describe.skipIf(withoutSharedData)(`real files${needsSharedData}`, () => {
  it('stories260K: logits, greedy ids, the log-prob of a story', async () => {
    const model = await Model.fromPretrained(sharedData('stories260K'), { context: contexts.fp32 });
    const reference = readJson(sharedData('stories260K/reference/reference.json'));
    for (const prompt of reference['prompts']) {
      const { logits } = await model.forward({ inputIds: [prompt.token_ids] });
      const last = (await logits![0]!.data()).slice(-512);
      last.forEach((z, v) => expect(Math.abs(z - prompt.last_position_logits[v])).toBeLessThan(1e-4));
      // By text: the tokenizer's BOS rule is a part of this.
      const [completion] = await model.generate([prompt.text], {
        maxNewTokens: prompt.greedy_token_ids.length,
        temperature: 0,
        stop: [],
      });
      expect(completion!.completionIds).toEqual(prompt.greedy_token_ids);
      expect(completion!.inputIds).toEqual([...prompt.token_ids, ...prompt.greedy_token_ids]);
    }
    const { logps } = await model.logprobs({ inputIds: [reference['story'].token_ids] });
    const mean = logps[0]!.reduce((a, b) => a + b, 0) / logps[0]!.length;
    expect(Math.abs(mean - reference['story'].mean_logprob)).toBeLessThan(1e-5);
    model.dispose();
  });

  it('stories260K: a story is text, and ends at <s>', async () => {
    const model = await Model.fromPretrained(sharedData('stories260K'), { context: contexts.fp32 });
    expect(model.generationConfig).toMatchObject({ eos_token_id: 2 });
    const [story] = await model.generate(['Once upon a time'], { maxNewTokens: 256, temperature: 0 });
    expect(story!.completionIds).toHaveLength(256);
    expect(story!.text).toMatch(/^, there was a little girl named Lily\. She loved to play/);
    expect(story!.text).not.toMatch(/[^\w\s.,!?'"-]/);
    const [stopped] = await model.generate([[1]], { maxNewTokens: 400, temperature: 0, stop: ['<s>'] });
    expect(stopped!.finishReason).toBe('stop');
    expect(stopped!.completionIds.at(-1)).toBe(1);
    expect(stopped!.text).not.toContain('<s>');
    model.dispose();
  });

  it.each(['tiny_llama3', 'tiny_qwen3'])('%s loads, runs and generates', async (name) => {
    const model = await Model.fromPretrained(sharedData(`tiny-random/${name}`), { context: contexts.fp32 });
    const { logits } = await model.forward({ inputIds: [[1, 2, 3, 4, 5, 6, 7], [200]] });
    expect(logits!.map((tensor) => tensor.shape)).toEqual([
      [7, 256],
      [1, 256],
    ]);
    for (const tensor of logits!) expect((await tensor.data()).every(Number.isFinite)).toBe(true);
    const completions = await model.generate([[1, 2, 3]], { maxNewTokens: 8, numReturnSequences: 3 });
    for (const { completionIds, text } of completions) expect([completionIds.length, text]).toEqual([8, '']);
    await expect(model.generate(['text'], { maxNewTokens: 1 })).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('tokenizer.json'),
    });
    model.dispose();
  });
});
