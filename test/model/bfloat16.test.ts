/**
 * dtype 'bfloat16': exactly the float32 model whose matrices were rounded, with float32 originals that train
 * and are saved.
 */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { AdamW, createContext, jacobian, Model, ntk, type Sample } from '../../src/index.js';
import { golden, goldenFamilies, readJson, temporaryDirectory } from '../helpers/files.js';

const context = await createContext({ threads: 1 });
const samples: Sample[] = [
  { inputIds: [3, 14, 15, 9, 26, 5, 35], scoreFrom: 2 },
  { inputIds: [8, 9, 7, 9], scoreFrom: 1 },
];
const coefficients = Float32Array.from({ length: 8 }, (_, i) => Math.cos(i + 1));
const MATRICES = ['q', 'k', 'v', 'qkv', 'attention_out', 'mlp_gate', 'mlp_up', 'mlp_down', 'classifier'];

/** To nearest, ties to even: the test's own, through a double’s remainder. */
function round(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0]!;
  const low = new Float32Array(Uint32Array.of(bits & 0xffff0000).buffer)[0]!;
  const high = new Float32Array(Uint32Array.of((bits & 0xffff0000) + 0x10000).buffer)[0]!;
  const [down, up] = [Math.abs(value - low), Math.abs(high - value)];
  return down < up || (down === up && (bits & 0x10000) === 0) ? low : high;
}
async function pair(name: string): Promise<{ half: Model; rounded: Model; full: Model }> {
  const [half, rounded, full] = await Promise.all(
    ['bfloat16', 'float32', 'float32'].map((dtype) =>
      Model.fromPretrained(golden(name), { context, untieClassifier: true, dtype: dtype as 'float32' }),
    ),
  );
  for (const p of rounded!.parameters((q) => MATRICES.includes(q.role)))
    await rounded!.setParameter(p.name, (await rounded!.getParameter(p.name)).map(round) as Float32Array);
  return { half: half!, rounded: rounded!, full: full! };
}
async function logitsOf(model: Model): Promise<number[]> {
  const { logits } = await model.forward({ inputIds: samples.map((s) => s.inputIds) });
  return (await Promise.all(logits!.map((z) => z.data()))).flatMap((z) => [...z]);
}
async function gradientsOf(model: Model): Promise<(readonly number[])[]> {
  await model.zeroGradients();
  await model.accumulateGradients(samples, { loss: 'clip', advantages: coefficients });
  return Promise.all(model.parameters().map(async (p) => [...(await model.getGradient(p.name))]));
}
function relative(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; ++i) {
    difference += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}

describe.each(goldenFamilies)('%s', (name) => {
  it('logits, gradients, samples and kernels have the bits of the rounded float32 model', async () => {
    const { half, rounded } = await pair(name);
    expect(await logitsOf(half)).toEqual(await logitsOf(rounded));
    expect(await gradientsOf(half)).toEqual(await gradientsOf(rounded));
    const sampled = (model: Model) =>
      model.generate(
        [
          [3, 1, 4],
          [1, 5],
        ],
        { maxNewTokens: 12, numReturnSequences: 3, seed: 2, stop: [] },
      );
    expect(await sampled(half)).toEqual(await sampled(rounded));
    for (const outputs of ['target', 'trace'] as const)
      expect((await ntk.gram(half, samples, null, { outputs })).kernel, outputs).toEqual(
        (await ntk.gram(rounded, samples, null, { outputs })).kernel,
      );
    const rows = async (model: Model) =>
      (await jacobian(model, [[1, 2, 3]], { outputs: [0, model.spec.vocabSize - 1] })).jacobian.data();
    expect(await rows(half)).toEqual(await rows(rounded));
    const tangents = {
      [half.parameters((p) => p.role === 'mlp_down')[0]!.name]: Float64Array.from(
        { length: half.parameters((p) => p.role === 'mlp_down')[0]!.size },
        (_, i) => Math.sin(i),
      ),
    };
    const moved = async (model: Model) =>
      (await model.jvp({ inputIds: [[1, 2, 3]] }, tangents)).logits[0]!.data();
    expect(await moved(half)).toEqual(await moved(rounded));
  });

  it('is within 1 % of float32: the unit roundoff is 0.4 %', async () => {
    const { half, full } = await pair(name);
    const error = relative(await logitsOf(half), await logitsOf(full));
    expect(error).toBeLessThan(0.01);
    expect(error).toBeGreaterThan(1e-5);
    const [ours, exact] = [await gradientsOf(half), await gradientsOf(full)];
    expect(relative(ours.flat(), exact.flat())).toBeLessThan(0.02);
  });
});

it('a tied classifier is rounded, looked-up embeddings are not', async () => {
  const name = goldenFamilies.find(
    (family) =>
      readJson(join(golden(family), 'config.json'))['tie_word_embeddings'] !== false && family === 'gpt2',
  )!;
  const load = (dtype: 'float32' | 'bfloat16', untieClassifier: boolean) =>
    Model.fromPretrained(golden(name), { context, dtype, untieClassifier });
  expect((await load('bfloat16', false)).tied).toBe(true);
  expect(await logitsOf(await load('bfloat16', false))).toEqual(await logitsOf(await load('bfloat16', true)));
});

describe('training', () => {
  it('updates below bfloat16’s resolution add up in the float32 weights, and the products follow', async () => {
    const { half } = await pair('gpt_neox');
    const name = 'embed_out.weight';
    const optimizer = new AdamW(half);
    const before = await half.getParameter(name);
    const logits = await logitsOf(half);
    await half.accumulateGradients(samples, { loss: 'coefficients', coefficients });
    await optimizer.step({ learningRate: 1e-6 });
    const after = await half.getParameter(name);
    const changed = [...after].filter((v, i) => v !== before[i]).length;
    const seen = [...after].filter((v, i) => round(v) !== round(before[i]!)).length;
    expect(changed).toBeGreaterThan(0.9 * after.length);
    expect(seen).toBeLessThan(0.05 * after.length);
    for (let step = 0; step < 30; ++step) {
      await half.accumulateGradients(samples, { loss: 'coefficients', coefficients });
      await optimizer.step({ learningRate: 1e-3 });
    }
    const { rounded } = await pair('gpt_neox');
    for (const p of half.parameters())
      await rounded.setParameter(
        p.name,
        (await half.getParameter(p.name)).map((v) =>
          MATRICES.includes(p.role) ? round(v) : v,
        ) as Float32Array,
      );
    const moved = await logitsOf(half);
    expect(moved).toEqual(await logitsOf(rounded));
    expect(relative(moved, logits)).toBeGreaterThan(0.01);
    const copy = await half.clone();
    expect(await logitsOf(copy)).toEqual(moved);
  });

  it('saves the float32 originals, or BF16, F16', async () => {
    const { half, full, rounded } = await pair('llama');
    const directory = (dtype: string) => join(temporaryDirectory(), dtype);
    const save = async (dtype: 'F32' | 'BF16' | 'F16') => {
      const path = directory(dtype);
      await half.savePretrained(path, { dtype });
      return path;
    };
    expect(await logitsOf(await Model.fromPretrained(await save('F32'), { context }))).toEqual(
      await logitsOf(full),
    );
    const stored = await Model.fromPretrained(await save('BF16'), { context });
    for (const p of rounded.parameters((q) => MATRICES.includes(q.role)))
      expect(await stored.getParameter(p.name), p.name).toEqual(await rounded.getParameter(p.name));
    expect(
      relative(
        await logitsOf(await Model.fromPretrained(await save('F16'), { context })),
        await logitsOf(full),
      ),
    ).toBeLessThan(2e-3);
  });

  it('takes two bytes a parameter more, and is refused in float64', async () => {
    const { half, full } = await pair('gpt_neox');
    const of = (model: Model) => model.estimateTraining({ sequences: 1, sequenceLength: 8 });
    expect(of(half).weights - of(full).weights).toBe(2 * half.native.size);
    expect([half.dtype, full.dtype]).toEqual(['bfloat16', 'float32']);
    const fp64 = await createContext({ math: 'fp64' });
    await expect(
      Model.fromPretrained(golden('gpt_neox'), { context: fp64, dtype: 'bfloat16' }),
    ).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED', message: expect.stringContaining("'fp32'") });
    await expect(
      Model.fromPretrained(golden('gpt_neox'), { context, dtype: 'float16' as never }),
    ).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED', message: expect.stringContaining("'bfloat16'") });
  });
});
