/**
 * The engine through its public face: gradients against finite differences, invariances, sampling against
 * scoring, jobs and memory.
 */
import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

import { AdamW, createContext, type GradientOptions, Model, type Sample } from '../../src/index.js';
import { Random } from '../helpers/random.js';

const golden = fileURLToPath(new URL('../golden/', import.meta.url));
const families = readdirSync(golden).filter((name) => existsSync(`${golden}${name}/config.json`));
const fp64 = await createContext({ math: 'fp64' });
const fp32 = await createContext({ threads: 1 });
const config = {
  model_type: 'gpt',
  vocab_size: 37,
  hidden_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  max_position_embeddings: 48,
};

function makeSamples(seed: number, V: number, lengths: readonly number[]): Sample[] {
  const random = new Random(seed);
  return lengths.map((length) => ({
    inputIds: Array.from({ length }, () => random.integer(0, V)),
    scoreFrom: random.integer(1, length),
  }));
}
const scored = (samples: readonly Sample[]) =>
  samples.reduce((n, s) => n + s.inputIds.length - s.scoreFrom, 0);
const coefficients = (n: number, seed = 1) => Float32Array.from(new Random(seed).normal([n]).data);

async function gradients(
  model: Model,
  samples: readonly Sample[],
  options: GradientOptions,
): Promise<Record<string, Float64Array>> {
  await model.zeroGradients();
  await model.accumulateGradients(samples, options);
  return Object.fromEntries(
    await Promise.all(
      model
        .parameters()
        .map(async (p) => [p.name, Float64Array.from(await model.getGradient(p.name))] as const),
    ),
  );
}
function relative(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [difference, norm] = [0, 0];
  for (let i = 0; i < expected.length; ++i) {
    difference += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(difference / Math.max(norm, 1e-300));
}
const worst = (a: Record<string, ArrayLike<number>>, b: Record<string, ArrayLike<number>>) =>
  Math.max(...Object.keys(b).map((name) => relative(a[name]!, b[name]!)));

describe.each(families)('%s', (family) => {
  it('gradients equal 4-point central differences in double, entry by entry', async () => {
    const model = await Model.fromPretrained(`${golden}${family}`, { context: fp64 });
    const samples = makeSamples(1, model.spec.vocabSize, [6, 9]);
    const options: GradientOptions = {
      loss: 'coefficients',
      coefficients: coefficients(scored(samples)),
      entropyCoefficients: coefficients(scored(samples), 2),
    };
    const analytic = await gradients(model, samples, options);
    const loss = async () => {
      const { logps, entropy } = await model.score(samples);
      return -logps.reduce(
        (sum, l, n) => sum + l * options.coefficients![n]! + entropy[n]! * options.entropyCoefficients![n]!,
        0,
      );
    };
    const random = new Random(3);
    for (const { name, size } of model.parameters()) {
      const weights = Float64Array.from(await model.getParameter(name));
      const norm = Math.hypot(...analytic[name]!) / Math.sqrt(size);
      for (let draw = 0; draw < 4; ++draw) {
        const entry = random.integer(0, size);
        const at = async (step: number) => {
          await model.setParameter(
            name,
            weights.map((w, i) => (i === entry ? w + step : w)),
          );
          return loss();
        };
        const h = 2e-3;
        const numeric =
          (8 * ((await at(h)) - (await at(-h))) - ((await at(2 * h)) - (await at(-2 * h)))) / (12 * h);
        expect(Math.abs(numeric - analytic[name]![entry]!), `${name}[${entry}]`).toBeLessThan(
          1e-6 * Math.max(Math.abs(numeric), norm) + 1e-9,
        );
      }
      await model.setParameter(name, weights);
    }
  });
});

describe('invariances', () => {
  const samples = makeSamples(4, 37, [20, 3, 41, 12, 2, 33, 8]);
  const n = scored(samples);

  it('gradients do not depend on micro-batch split or order', async () => {
    const model = await Model.fromConfig(config, { context: fp32, seed: 1 });
    const c = coefficients(n);
    const whole = await gradients(model, samples, { loss: 'coefficients', coefficients: c });
    expect(
      worst(await gradients(model, samples, { loss: 'coefficients', coefficients: c, maxTokens: 30 }), whole),
    ).toBeLessThan(1e-6);
    await model.zeroGradients();
    let row = n;
    for (const sample of [...samples].reverse()) {
      const end = row;
      row -= sample.inputIds.length - sample.scoreFrom;
      await model.accumulateGradients([sample], { loss: 'coefficients', coefficients: c.slice(row, end) });
    }
    const one = Object.fromEntries(
      await Promise.all(
        model.parameters().map(async (p) => [p.name, await model.getGradient(p.name)] as const),
      ),
    );
    expect(worst(one, whole)).toBeLessThan(1e-6);
  });

  it('same bits for one and two threads, after three updates and in sampling', async () => {
    const run = async (threads: number) => {
      const model = await Model.fromConfig(
        { ...config, hidden_size: 128, vocab_size: 300 },
        { context: await createContext({ threads }), seed: 1 },
      );
      const optimizer = new AdamW(model);
      for (let step = 0; step < 3; ++step) {
        await model.accumulateGradients(makeSamples(step, 300, [40, 30, 20, 48, 48, 48, 7]), {
          loss: 'coefficients',
          coefficients: coefficients(scored(makeSamples(step, 300, [40, 30, 20, 48, 48, 48, 7]))),
        });
        await optimizer.step({ learningRate: 1e-3, maxGradNorm: 1 });
      }
      const weights = await Promise.all(model.parameters().map((p) => model.getParameter(p.name)));
      return {
        weights,
        text: await model.generate([[1, 2, 3], [4]], { maxNewTokens: 20, numReturnSequences: 5, seed: 9 }),
      };
    };
    expect(await run(2)).toEqual(await run(1));
  });

  it('rollout and training log-probs agree within 2e-6 nats, and completions do not depend on the batch', async () => {
    const model = await Model.fromConfig(config, { context: fp32, seed: 1 });
    await model.setParameter(
      'lm_head.weight',
      coefficients(37 * 32).map((v) => 0.4 * v),
    );
    const prompts = [[1, 2, 3, 4], [5], [6, 7]];
    const options = { maxNewTokens: 30, numReturnSequences: 6, seed: 3, stop: [0] };
    const all = await model.generate(prompts, options);
    const { logps } = await model.score(
      all.map((c) => ({ inputIds: c.inputIds, scoreFrom: c.inputIds.length - c.completionIds.length })),
    );
    const sampled = all.flatMap((c) => [...c.logps]);
    expect(Math.max(...sampled.map((l, i) => Math.abs(l - logps[i]!)))).toBeLessThan(2e-6);
    expect(new Set(all.map((c) => c.completionIds.join())).size).toBeGreaterThan(12);
    expect(
      all.some((c) => c.finishReason === 'stop') &&
        all.every((c) => (c.finishReason === 'stop') === (c.completionIds.at(-1) === 0)),
    ).toBe(true);
    for (const [i, prompt] of prompts.entries())
      expect(await model.generate([prompt], { ...options, firstStream: 6 * i, maxBatch: 4 })).toEqual(
        all.slice(6 * i, 6 * i + 6),
      );
    // Streams are 64 bits wide: evaluation draws from 2^40 on, and must not repeat the rollouts' numbers.
    expect(await model.generate(prompts, { ...options, firstStream: 2 ** 40 })).not.toEqual(all);
  });

  it('sampling ends where the context is full, and what it gives can be scored', async () => {
    const model = await Model.fromConfig(config, { context: fp32 });
    const completions = await model.generate(
      [new Array<number>(47).fill(1), new Array<number>(45).fill(2), [3]],
      { maxNewTokens: 100, stop: [] },
    );
    expect(completions.map((c) => c.completionIds.length)).toEqual([1, 3, 47]);
    const { logps } = await model.score(
      completions.map((c) => ({
        inputIds: c.inputIds,
        scoreFrom: c.inputIds.length - c.completionIds.length,
      })),
    );
    expect(logps.length).toBe(51);
    expect(
      (await model.generate([[1], new Array<number>(48).fill(1)], { maxNewTokens: 0 })).map(
        (c) => c.completionIds,
      ),
    ).toEqual([[], []]);
    await expect(
      model.generate([[1], new Array<number>(48).fill(1)], { maxNewTokens: 1 }),
    ).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG',
      message: expect.stringContaining('prompts[1] has 48 tokens'),
    });
  });

  it('classifier-only: the same classifier gradient, no other, with and without features', async () => {
    const model = await Model.fromConfig(config, { context: fp32, seed: 1 });
    const options: GradientOptions = {
      loss: 'clip',
      advantages: coefficients(n),
      weights: new Float32Array(n).fill(1 / n),
    };
    const whole = await gradients(model, samples, options);
    model.setTrainable('classifier');
    const head = await gradients(model, samples, options);
    expect(relative(head['lm_head.weight']!, whole['lm_head.weight']!)).toBeLessThan(1e-6);
    expect(
      Object.entries(head).filter(([name, g]) => name !== 'lm_head.weight' && g.some((v) => v !== 0)),
    ).toEqual([]);
    const cached = await gradients(model, samples, { ...options, features: await model.features(samples) });
    expect(cached['lm_head.weight']).toEqual(head['lm_head.weight']);
    model.setTrainable('body');
    const body = await gradients(model, samples, options);
    expect(body['lm_head.weight']!.every((v) => v === 0)).toBe(true);
    expect(worst({ ...body, 'lm_head.weight': whole['lm_head.weight']! }, whole)).toBeLessThan(1e-6);
    model.setTrainable(/layers\.1\./);
    const top = await gradients(model, samples, options);
    for (const [name, g] of Object.entries(top))
      name.startsWith('layers.1.')
        ? expect(relative(g, whole[name]!), name).toBeLessThan(1e-6)
        : expect(
            g.every((v) => v === 0),
            name,
          ).toBe(true);
  });
});

describe('jobs and memory', () => {
  it('no growth over 200 steps, and dispose gives everything back', async () => {
    const context = await createContext({ threads: 1 });
    const model = await Model.fromConfig(config, { context, seed: 1 });
    const optimizer = new AdamW(model);
    const samples = makeSamples(4, 37, [20, 3, 41]);
    const step = async () => {
      await model.accumulateGradients(samples, {
        loss: 'coefficients',
        coefficients: new Float32Array(scored(samples)).fill(0.01),
      });
      await optimizer.step({ learningRate: 1e-3 });
      await model.generate([[1, 2]], { maxNewTokens: 4 });
    };
    await step();
    const before = context.memory();
    for (let i = 0; i < 200; ++i) await step();
    const after = context.memory();
    expect([after.tensors, after.tensorBytes, after.arenaBytes]).toEqual([
      before.tensors,
      before.tensorBytes,
      before.arenaBytes,
    ]);
    model.dispose();
    optimizer.dispose();
    expect(context.memory().tensors).toBe(0);
    await expect(model.getParameter('norm.weight')).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
    context.dispose();
    expect(() => context.memory()).toThrow(expect.objectContaining({ code: 'ERR_DISPOSED' }));
  });

  it('an aborted job rejects with the reason, leaves weights as they were, and the context usable', async () => {
    const model = await Model.fromConfig({ ...config, hidden_size: 128 }, { context: fp32, seed: 1 });
    const before = await model.getParameter('lm_head.weight');
    const samples = makeSamples(4, 37, new Array<number>(600).fill(48));
    const controller = new AbortController();
    const progress: number[] = [];
    const job = model.accumulateGradients(samples, {
      loss: 'coefficients',
      coefficients: new Float32Array(scored(samples)),
      maxTokens: 100,
      signal: controller.signal,
      onProgress: (done) => {
        progress.push(done);
        controller.abort(new Error('stop it'));
      },
    });
    await expect(job).rejects.toThrow('stop it');
    expect(progress.length).toBeGreaterThan(0);
    expect(await model.getParameter('lm_head.weight')).toEqual(before);
    await expect(model.score(samples, { signal: AbortSignal.abort(new Error('before')) })).rejects.toThrow(
      'before',
    );
  });

  it('a gradient that is not finite changes nothing', async () => {
    const model = await Model.fromConfig(config, { context: fp32, seed: 1 });
    const optimizer = new AdamW(model);
    const samples = makeSamples(4, 37, [20]);
    await model.setParameter('norm.bias', new Float32Array(32).fill(Number.NaN));
    const before = await model.getParameter('lm_head.weight');
    await model.accumulateGradients(samples, {
      loss: 'coefficients',
      coefficients: new Float32Array(scored(samples)).fill(1),
    });
    expect(await optimizer.step({ learningRate: 1 })).toMatchObject({ applied: false });
    expect(await model.getParameter('lm_head.weight')).toEqual(before);
    expect(optimizer.stepCount).toBe(0);
  });

  it('refuses what only a caller can get wrong', async () => {
    const model = await Model.fromConfig(config, { context: fp32 });
    await expect(model.generate([[1, 37]], { maxNewTokens: 1 })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG',
      message: expect.stringContaining('prompts[0][1]'),
    });
    await expect(model.generate([[]], { maxNewTokens: 1 })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG',
    });
    await expect(model.generate([new Array<number>(49).fill(1)], { maxNewTokens: 1 })).rejects.toMatchObject({
      message: expect.stringContaining('context is 48'),
    });
    await expect(model.generate([[1]], { maxNewTokens: 1, temprature: 1 } as never)).rejects.toMatchObject({
      message: expect.stringContaining("'temperature'"),
    });
    await expect(model.generate(['text'], { maxNewTokens: 1 })).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('tokenizer.json'),
    });
    await expect(
      model.accumulateGradients([{ inputIds: [1, 2], scoreFrom: 1 }], {
        loss: 'clip',
        advantages: new Float32Array(2),
      }),
    ).rejects.toMatchObject({ code: 'ERR_SHAPE' });
    expect(() => model.setTrainable(/nothing/)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG' }));
    await expect(createContext({ device: 'cuda' })).rejects.toMatchObject({
      code: 'ERR_BACKEND_UNAVAILABLE',
    });
    await expect(createContext({ theads: 1 } as never)).rejects.toMatchObject({
      message: expect.stringContaining("'threads'"),
    });
    const tied = await Model.fromConfig({ ...config, tie_word_embeddings: true }, { context: fp32 });
    expect(() => tied.setTrainable('classifier')).toThrow(
      expect.objectContaining({ code: 'ERR_UNSUPPORTED' }),
    );
  });
});
