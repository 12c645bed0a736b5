/**
 * NTK primitives against brute force: explicit Jacobians, their products, and each other, on tiny models of
 * every family.
 */
import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

import {
  createContext,
  jacobian,
  Model,
  ntk,
  perSampleGradientNorms,
  perSampleGradients,
  type Sample,
  Tensor,
} from '../../src/index.js';
import { Random } from '../helpers/random.js';

const golden = fileURLToPath(new URL('../golden/', import.meta.url));
const families = readdirSync(golden).filter((name) => existsSync(`${golden}${name}/config.json`));
const fp64 = await createContext({ math: 'fp64' });
const fp32 = await createContext();

const ids = (random: Random, length: number, V: number) => Array.from({ length }, () => random.integer(0, V));
function makeSamples(seed: number, V: number, lengths: readonly number[]): Sample[] {
  const random = new Random(seed);
  return lengths.map((length) => ({
    inputIds: ids(random, length, V),
    scoreFrom: random.integer(1, length),
  }));
}
function relative(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; ++i) {
    difference += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  expect(actual.length).toBe(expected.length);
  return Math.sqrt(difference / Math.max(norm, 1e-300));
}
/** J Jᵀ in float64. */
function product(a: ArrayLike<number>, b: ArrayLike<number>, n1: number, n2: number): Float64Array {
  const P = a.length / n1;
  const k = new Float64Array(n1 * n2);
  for (let i = 0; i < n1; ++i)
    for (let j = 0; j < n2; ++j) for (let p = 0; p < P; ++p) k[i * n2 + j]! += a[i * P + p]! * b[j * P + p]!;
  return k;
}
/** One backward pass per sample, through the training path: independent of every NTK sink. */
async function bruteForce(model: Model, samples: readonly Sample[]): Promise<Float64Array> {
  const P = model.parameters().reduce((sum, p) => sum + p.size, 0);
  const J = new Float64Array(samples.length * P);
  for (const [s, sample] of samples.entries()) {
    await model.zeroGradients();
    await model.accumulateGradients([sample], {
      loss: 'coefficients',
      coefficients: new Float32Array(sample.inputIds.length - sample.scoreFrom).fill(-1),
    });
    for (const { name, offset } of model.parameters()) J.set(await model.getGradient(name), s * P + offset);
  }
  await model.zeroGradients();
  return J;
}

const lengths = [7, 2, 12, 5, 9];
const variants = families.flatMap((family) => [
  { family, untie: false },
  ...(family === 'gpt2' || family.startsWith('qwen2') ? [{ family, untie: true }] : []),
]);

describe.each(variants)('$family untied: $untie', ({ family, untie }) => {
  const load = (context = fp64) =>
    Model.fromPretrained(`${golden}${family}`, { context, untieClassifier: untie });

  it('gradients, Gram by every implementation, norms and parts agree with a backward pass per sample', async () => {
    const model = await load();
    const x = makeSamples(1, model.spec.vocabSize, lengths);
    const y = makeSamples(2, model.spec.vocabSize, [4, 11, 6]);
    const [J, J2] = [await bruteForce(model, x), await bruteForce(model, y)];
    const { gradients, layout } = await perSampleGradients(model, x);
    expect(relative(await gradients.data(), J)).toBeLessThan(1e-12);
    expect(layout.map((entry) => entry.name)).toEqual(model.parameters().map((p) => p.name));
    const K = product(J, J, x.length, x.length);
    const K2 = product(J, J2, x.length, y.length);
    for (const implementation of [
      'auto',
      'structured-derivatives',
      'jacobian-contraction',
      'ntk-vector-products',
    ] as const) {
      expect(
        relative((await ntk.gram(model, x, null, { implementation })).kernel, K),
        implementation,
      ).toBeLessThan(1e-10);
      expect(
        relative((await ntk.gram(model, x, y, { implementation })).kernel, K2),
        `${implementation}, rectangular`,
      ).toBeLessThan(1e-10);
    }
    const norms = await perSampleGradientNorms(model, x);
    expect(
      relative(
        norms,
        Array.from(x, (_, i) => Math.sqrt(K[i * x.length + i]!)),
      ),
    ).toBeLessThan(1e-12);
    const parts = await ntk.gram(model, x, y, { parts: true });
    expect(relative(parts.kernel, K2)).toBeLessThan(1e-10);
    const split = await ntk.decompose(model, x, y);
    expect(relative(split.total, K2)).toBeLessThan(1e-10);
    expect(split.total).toEqual(split.representation.map((r, i) => r + split.gradient[i]! + split.cross[i]!));
    expect(split.cross.some((value) => value !== 0)).toBe(model.tied);
    if (!model.tied) {
      const head = model.parameters().find((p) => p.role === 'classifier')!.name;
      const only = await ntk.gram(model, x, y, { params: new RegExp(`^${head.replaceAll('.', '\\.')}$`) });
      expect(relative(split.representation, only.kernel)).toBeLessThan(1e-10);
    }
    const symmetric = (await ntk.gram(model, x)).kernel;
    for (let i = 0; i < x.length; ++i)
      for (let j = 0; j < i; ++j) expect(symmetric[i * x.length + j]).toBe(symmetric[j * x.length + i]);
    const v = new Random(4).normal([y.length]).data;
    const Kv = x.map((_, i) => y.reduce((sum, __, j) => sum + K2[i * y.length + j]! * v[j]!, 0));
    expect(relative(await ntk.vectorProduct(model, x, y, v), Kv)).toBeLessThan(1e-10);
  });

  it('⟨J u, v⟩ = ⟨u, Jᵀ v⟩, linearize is exact to second order, jacobian rows are vjp rows', async () => {
    const model = await load();
    const random = new Random(7);
    const V = model.spec.vocabSize;
    const batch = { inputIds: [ids(random, 6, V), ids(random, 3, V)] };
    const u = Object.fromEntries(model.parameters().map((p) => [p.name, random.normal([p.size]).data]));
    const cotangents = batch.inputIds.map((sequence) => random.normal([2, sequence.length, V]));
    const forward = await model.jvp(batch, u);
    const backward = await model.vjp(
      batch,
      cotangents.map((c) => Tensor.from(fp64, c.data, c.shape)),
    );
    for (const k of [0, 1]) {
      let left = 0;
      for (const [s, z] of forward.logits.entries())
        (await z.data()).forEach(
          (value, i) => (left += value * cotangents[s]!.data[k * z.shape[0]! * V + i]!),
        );
      let right = 0;
      for (const p of model.parameters())
        (await backward[p.name]!.data())
          .subarray(k * p.size, (k + 1) * p.size)
          .forEach((value, i) => (right += value * u[p.name]![i]!));
      expect(Math.abs(left - right) / Math.abs(left)).toBeLessThan(1e-12);
    }
    const { jacobian: rows } = await jacobian(model, [batch.inputIds[1]!], { outputs: [3, 0] });
    expect(rows.shape).toEqual([1, 2, model.parameters().reduce((sum, p) => sum + p.size, 0)]);
    const oneHot = new Float64Array(3 * V);
    oneHot[2 * V + 3] = 1;
    const row = await model.vjp({ inputIds: [batch.inputIds[1]!] }, [Tensor.from(fp64, oneHot, [1, 3, V])]);
    const flat = await rows.data();
    for (const p of model.parameters())
      expect(
        relative(flat.subarray(p.offset, p.offset + p.size), await row[p.name]!.data()),
        p.name,
      ).toBeLessThan(1e-11);

    const samples = makeSamples(3, V, [5, 8]);
    const linear = await ntk.linearize(model);
    const value = async () => (await model.score(samples)).logps;
    const sum = (logps: ArrayLike<number>) => {
      let row = 0;
      return samples.map((s) => {
        let f = 0;
        for (let t = s.scoreFrom; t < s.inputIds.length; ++t) f += logps[row++]!;
        return f;
      });
    };
    const origin = Object.fromEntries(
      await Promise.all(
        model.parameters().map(async (p) => [p.name, await model.getParameter(p.name)] as const),
      ),
    );
    const errors: number[] = [];
    for (const h of [1e-4, 5e-5]) {
      const theta = Object.fromEntries(
        model
          .parameters()
          .map((p) => [p.name, Float64Array.from(origin[p.name]!, (w, i) => w + h * u[p.name]![i]!)]),
      );
      const predicted = await linear(theta, samples);
      for (const [name, data] of Object.entries(theta)) await model.setParameter(name, data);
      const actual = sum(await value());
      for (const [name, data] of Object.entries(origin)) await model.setParameter(name, data);
      errors.push(Math.hypot(...predicted.map((p, i) => p - actual[i]!)));
    }
    expect(errors[0]! / errors[1]!).toBeGreaterThan(3.5);
    expect(errors[0]! / errors[1]!).toBeLessThan(4.5);
  });

  it('float32 stays within 1e-5', async () => {
    const [exact, single] = [await load(), await load(fp32)];
    const x = makeSamples(5, exact.spec.vocabSize, lengths);
    expect(relative((await ntk.gram(single, x)).kernel, (await ntk.gram(exact, x)).kernel)).toBeLessThan(
      1e-5,
    );
    expect(
      relative((await ntk.decompose(single, x)).gradient, (await ntk.decompose(exact, x)).gradient),
    ).toBeLessThan(1e-5);
  });
});

describe('modes and budgets', async () => {
  const model = await Model.fromConfig(
    {
      model_type: 'gpt',
      vocab_size: 13,
      hidden_size: 16,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      max_position_embeddings: 200,
    },
    { context: fp64 },
  );
  // Larger classifier weights than at the start of training, so that the gradient component is not
  // negligible.
  await model.setParameter('lm_head.weight', new Random(1).normal([13 * 16], 0.5).data);

  it('token level: the sums of its blocks are the sequence level', async () => {
    const x = makeSamples(9, 13, [6, 9]);
    const tokens = await ntk.gram(model, x, null, { level: 'token' });
    const counts = x.map((s) => s.inputIds.length - s.scoreFrom);
    const K = (await ntk.gram(model, x)).kernel;
    const n = tokens.shape[1]!;
    expect(n).toBe(counts[0]! + counts[1]!);
    const summed = new Float64Array(4);
    tokens.kernel.forEach(
      (value, at) =>
        (summed[(Math.floor(at / n) < counts[0]! ? 0 : 2) + (at % n < counts[0]! ? 0 : 1)]! += value),
    );
    expect(relative(summed, K)).toBeLessThan(1e-11);
    for (const implementation of ['jacobian-contraction', 'ntk-vector-products'] as const)
      expect(
        relative((await ntk.gram(model, x, null, { level: 'token', implementation })).kernel, tokens.kernel),
      ).toBeLessThan(1e-11);
  });

  it('full logit blocks are ⟨φ, φ′⟩ I + G, symmetric as a whole, and trace is their trace', async () => {
    const x: Sample[] = [
      { inputIds: [1, 2, 3], scoreFrom: 2 },
      { inputIds: [4, 5, 6, 7], scoreFrom: 3 },
    ];
    const full = await ntk.gram(model, x, null, { outputs: 'full' });
    expect(full.shape).toEqual([2, 2, 13, 13]);
    const body = await ntk.gram(model, x, null, { outputs: 'full', params: (p) => p.role !== 'classifier' });
    const { hiddenStates } = await model.forward(
      { inputIds: x.map((s) => s.inputIds) },
      { hiddenStates: true },
    );
    const phi = await Promise.all(
      hiddenStates!.map(async (t, i) =>
        Float64Array.from(await t.data()).slice((x[i]!.scoreFrom - 1) * 16, x[i]!.scoreFrom * 16),
      ),
    );
    const expected = Float64Array.from(body.kernel);
    for (let i = 0; i < 2; ++i)
      for (let j = 0; j < 2; ++j)
        for (let v = 0; v < 13; ++v)
          expected[((i * 2 + j) * 13 + v) * 13 + v]! += phi[i]!.reduce(
            (sum, a, c) => sum + a * phi[j]![c]!,
            0,
          );
    expect(relative(full.kernel, expected)).toBeLessThan(1e-12);
    const trace = await ntk.gram(model, x, null, { outputs: 'trace' });
    expect(
      relative(
        trace.kernel,
        [0, 1, 2, 3].map((b) =>
          Array.from({ length: 13 }, (_, v) => full.kernel[(b * 13 + v) * 13 + v]!).reduce((a, c) => a + c),
        ),
      ),
    ).toBeLessThan(1e-12);
    expect(trace.shape).toEqual([2, 2]);
  });

  it('40 samples of lengths 2 to 200 under a budget that forces blocks give the same kernel', async () => {
    const random = new Random(11);
    const x = makeSamples(
      12,
      13,
      Array.from({ length: 40 }, () => random.integer(2, 201)),
    );
    const one = await ntk.gram(model, x);
    const many = await ntk.gram(model, x, null, { maxBytes: 6_000_000 });
    expect(one.cost.blocks).toBe(1);
    expect(many.cost.blocks).toBeGreaterThan(3);
    expect(relative(many.kernel, one.kernel)).toBeLessThan(1e-12);
    const rectangular = await ntk.decompose(model, x, x.slice(0, 7), { maxBytes: 6_000_000 });
    const columns = Float64Array.from(
      { length: 40 * 7 },
      (_, i) => one.kernel[Math.floor(i / 7) * 40 + (i % 7)]!,
    );
    expect(relative(rectangular.total, columns)).toBeLessThan(1e-12);
    const order = x.map((_, i) => (i * 7) % 40);
    const permuted = await ntk.gram(
      model,
      order.map((i) => x[i]!),
      null,
      { maxBytes: 8_000_000 },
    );
    expect(
      relative(
        permuted.kernel,
        Float64Array.from(
          { length: 1600 },
          (_, i) => one.kernel[order[Math.floor(i / 40)]! * 40 + order[i % 40]!]!,
        ),
      ),
    ).toBeLessThan(1e-12);
  });

  it('progress counts the entries of the matrix, once each, whatever computes them', async () => {
    const x = makeSamples(12, 13, [40, 64, 17, 33, 60, 5, 40, 64, 17, 33]).map((sample) => ({
      ...sample,
      scoreFrom: 1,
    }));
    for (const [second, options] of [
      [null, {}],
      [null, { level: 'token' }],
      [null, { maxBytes: 1_600_000 }],
      [x.slice(0, 4), { maxBytes: 1_600_000 }],
      [null, { implementation: 'jacobian-contraction' }],
      [null, { implementation: 'jacobian-contraction', maxBytes: 3_000_000 }],
      [null, { implementation: 'ntk-vector-products' }],
    ] as const) {
      const seen: [number, number][] = [];
      const { shape, cost } = await ntk.gram(model, x, second, {
        ...options,
        onProgress: (done, total) => void seen.push([done, total]),
      });
      if ('maxBytes' in options) expect(cost.blocks).toBeGreaterThan(1);
      const what = JSON.stringify([shape, options]),
        entries = shape[0]! * shape[1]!;
      expect(
        seen.every(([, total]) => total === entries),
        what,
      ).toBe(true);
      expect(
        seen.map(([done]) => done),
        what,
      ).toEqual(seen.map(([done]) => done).sort((a, b) => a - b));
      expect(seen.at(-1)![0], what).toBe(entries);
      // Of one block: layer by layer.
      if ('level' in options) expect(new Set(seen.map(([done]) => done)).size, what).toBeGreaterThan(2);
    }
  });

  it('same bits for one and two threads', async () => {
    const config = {
      model_type: 'gpt',
      vocab_size: 50,
      hidden_size: 64,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      max_position_embeddings: 64,
    };
    const x = makeSamples(3, 50, [40, 64, 17, 33, 60, 5]);
    const kernels = await Promise.all(
      [1, 2].map(
        async (threads) =>
          (
            await ntk.gram(
              await Model.fromConfig(config, { context: await createContext({ threads, seed: 2 }) }),
              x,
            )
          ).kernel,
      ),
    );
    expect(kernels[1]).toEqual(kernels[0]);
  });

  it('refuses bad input with code, sizes and the cheaper call', async () => {
    const good = makeSamples(1, 13, [5, 6]);
    const refused = async (promise: Promise<unknown>, code: string, ...texts: string[]) => {
      const error = await promise.then(
        () => {
          throw new Error('nothing was thrown');
        },
        (e: Error & { code: string }) => e,
      );
      expect(error.code).toBe(code);
      for (const text of texts) expect(error.message).toContain(text);
    };
    await refused(ntk.gram(model, [{ inputIds: [], scoreFrom: 1 }]), 'ERR_INVALID_ARG', 'empty');
    await refused(ntk.gram(model, [{ inputIds: [1, 2], scoreFrom: 2 }]), 'ERR_INVALID_ARG', 'scoreFrom');
    await refused(ntk.gram(model, [{ inputIds: [1, 13], scoreFrom: 1 }]), 'ERR_INVALID_ARG', '0 … 12');
    await refused(
      perSampleGradients(model, good, { maxBytes: 10_000 }),
      'ERR_OUT_OF_MEMORY',
      '10000',
      'ntk.gram',
    );
    await refused(ntk.gram(model, good, null, { maxBytes: 20_000 }), 'ERR_OUT_OF_MEMORY', 'maxBytes');
    await refused(ntk.gram(model, good, null, { params: /nothing/ }), 'ERR_INVALID_ARG', 'nothing');
    const broken = await model.clone();
    await broken.setParameter('norm.weight', new Float64Array(16).fill(Number.NaN));
    await refused(ntk.gram(broken, good), 'ERR_INVALID_ARG', 'NaN');
    const controller = new AbortController();
    const long = ntk.gram(model, makeSamples(1, 13, new Array(60).fill(150)), null, {
      implementation: 'ntk-vector-products',
      signal: controller.signal,
    });
    setTimeout(() => controller.abort(new Error('enough')), 20);
    await expect(long).rejects.toThrow('enough');
  });
});
