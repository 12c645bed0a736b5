/** Spectra, alignments, feature and diversity measures against closed forms. */
import { once } from 'node:events';
import type { Worker } from 'node:worker_threads';

import { EigenvalueDecomposition, Matrix as DenseMatrix } from 'ml-matrix';
import { describe, expect, it } from 'vitest';

import { analysis, createContext, Model, ntk, type Sample, Tensor } from '../../src/index.js';
import { Random } from '../helpers/random.js';

const fp64 = await createContext({ math: 'fp64' });
const square = (n: number, at: (i: number, j: number) => number) => ({
  data: Float64Array.from({ length: n * n }, (_, i) => at(Math.floor(i / n), i % n)),
  shape: [n, n],
});
const config = {
  model_type: 'gpt',
  vocab_size: 11,
  hidden_size: 8,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  max_position_embeddings: 16,
};
const code = (wanted: string) => expect.objectContaining({ code: wanted });

describe('spectrum', () => {
  it('of c I + s 1 1ᵀ: c (n − 1 times) and c + n s', async () => {
    const [n, c, s] = [7, 2, 0.5];
    const { eigenvalues, trace, condition, rank, effectiveRank, participationRatio, stableRank } =
      await analysis.spectrum(square(n, (i, j) => s + (i === j ? c : 0)));
    const expected = [c + n * s, ...new Array<number>(n - 1).fill(c)];
    eigenvalues.forEach((value, i) => expect(value).toBeCloseTo(expected[i]!, 12));
    const sum = expected.reduce((a, b) => a + b, 0);
    expect(trace).toBeCloseTo(n * (c + s), 12);
    expect(condition).toBeCloseTo((c + n * s) / c, 12);
    expect(rank).toBe(n);
    expect(effectiveRank).toBeCloseTo(
      Math.exp(-expected.reduce((h, x) => h + (x / sum) * Math.log(x / sum), 0)),
      12,
    );
    expect(participationRatio).toBeCloseTo(sum ** 2 / expected.reduce((h, x) => h + x * x, 0), 12);
    expect(stableRank).toBeCloseTo(sum / (c + n * s), 12);
  });

  it('counts n for the identity, 1 for one direction (condition Infinity), 0 for nothing', async () => {
    const identity = await analysis.spectrum(square(5, (i, j) => Number(i === j)));
    for (const key of ['effectiveRank', 'participationRatio', 'stableRank', 'rank'] as const)
      expect(identity[key], key).toBeCloseTo(5, 12);
    expect(identity.condition).toBe(1);
    const one = await analysis.spectrum(square(5, (i, j) => (i + 1) * (j + 1)));
    for (const key of ['effectiveRank', 'participationRatio', 'stableRank', 'rank'] as const)
      expect(one[key], key).toBeCloseTo(1, 10);
    expect(one.condition).toBe(Infinity);
    expect(await analysis.spectrum(square(3, () => 0))).toMatchObject({
      effectiveRank: 0,
      rank: 0,
      trace: 0,
    });
    expect(await analysis.effectiveRank(square(4, (i, j) => Number(i === j)))).toBeCloseTo(4, 12);
  });

  it('has the eigenvectors of the second difference: 2 − 2 cos(kπ/(n + 1)), also from a Tensor', async () => {
    const n = 40;
    const given = square(n, (i, j) => (i === j ? 2 : Math.abs(i - j) === 1 ? -1 : 0));
    const expected = Array.from({ length: n }, (_, k) => 2 - 2 * Math.cos(((n - k) * Math.PI) / (n + 1)));
    for (const matrix of [given, Tensor.from(fp64, given.data, given.shape)])
      (await analysis.spectrum(matrix)).eigenvalues.forEach((value, k) =>
        expect(value).toBeCloseTo(expected[k]!, 11),
      );
  });

  it('refuses what is no kernel', async () => {
    await expect(analysis.spectrum({ data: [1, 2, 3, 4, 5, 6], shape: [2, 3] })).rejects.toEqual(
      code('ERR_SHAPE'),
    );
    await expect(analysis.spectrum({ data: [1, 2, 3], shape: [2, 2] })).rejects.toEqual(code('ERR_SHAPE'));
    await expect(analysis.spectrum({ data: [1, 2, 3, 4], shape: [2, 2] })).rejects.toThrow('symmetric');
    await expect(analysis.spectrum({ data: [1, NaN, NaN, 4], shape: [2, 2] })).rejects.toThrow(
      '[0, 1] must be finite',
    );
  });
});

describe('a large spectrum', () => {
  const n = 256;
  const random = new Random(5);
  const data = new Float64Array(n * n);
  for (let i = 0; i < n; ++i) for (let j = 0; j <= i; ++j) data[i * n + j] = data[j * n + i] = random.gauss();
  const kernel = { data, shape: [n, n] };
  const nextWorker = async () => ((await once(process, 'worker')) as [Worker])[0];
  const gone = -1; // the id of a thread that has ended

  it('is the library’s to the bit, computed while the event loop goes on; the kernel stays the caller’s', async () => {
    const started = nextWorker();
    let ticks = 0;
    const timer = setInterval(() => ++ticks, 1);
    const { eigenvalues } = await analysis.spectrum(kernel);
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(20);
    expect((await started).threadId).toBe(gone);
    expect(data.length).toBe(n * n);
    expect(eigenvalues).toEqual(
      Float64Array.from(
        new EigenvalueDecomposition(DenseMatrix.from1DArray(n, n, data), { assumeSymmetric: true })
          .realEigenvalues,
      )
        .sort()
        .reverse(),
    );
  });

  it('ends with the signal’s reason, and its thread with it', async () => {
    const started = nextWorker();
    const controller = new AbortController();
    const reason = new Error('enough');
    const running = analysis.effectiveRank(kernel, { signal: controller.signal });
    const worker = await started;
    await once(worker, 'online');
    const began = performance.now();
    setTimeout(() => controller.abort(reason), 30);
    await expect(running).rejects.toBe(reason);
    expect(performance.now() - began).toBeLessThan(130);
    expect(worker.threadId).toBe(gone);
    for (const given of [kernel, { data: [2], shape: [1, 1] }])
      await expect(analysis.spectrum(given, { signal: controller.signal })).rejects.toBe(reason);
  });
});

describe('kernelAlignment', () => {
  it('is 1 for multiples, and centred also for kernels that differ by r 1ᵀ + 1 rᵀ', async () => {
    const K = square(6, (i, j) => Math.exp(-((i - j) ** 2)));
    const shifted = square(6, (i, j) => 3 * K.data[i * 6 + j]! + i + j);
    expect(await analysis.kernelAlignment(K, { data: K.data.map((x) => 4 * x), shape: K.shape })).toEqual({
      centred: expect.closeTo(1, 12),
      uncentred: expect.closeTo(1, 12),
    });
    const { centred, uncentred } = await analysis.kernelAlignment(K, shifted);
    expect(centred).toBeCloseTo(1, 12);
    expect(uncentred).toBeLessThan(0.9);
  });
  it('has the values of small cases', async () => {
    // I₂ and y yᵀ with y = (1, −1): ⟨I, yyᵀ⟩ = 2, norms √2 and 2. Centring I gives yyᵀ/2.
    expect(
      await analysis.kernelAlignment(
        square(2, (i, j) => Number(i === j)),
        square(2, (i, j) => (i === j ? 1 : -1)),
      ),
    ).toEqual({ centred: expect.closeTo(1, 12), uncentred: expect.closeTo(1 / Math.SQRT2, 12) });
    expect(
      (
        await analysis.kernelAlignment(
          square(3, () => 1),
          square(3, (i, j) => Number(i === j)),
        )
      ).centred,
    ).toBeNaN();
    await expect(
      analysis.kernelAlignment(
        square(2, () => 1),
        square(3, () => 1),
      ),
    ).rejects.toEqual(code('ERR_SHAPE'));
  });
});

describe('features and classifier', () => {
  const samples: Sample[] = [
    { inputIds: [1, 2, 3, 4], scoreFrom: 2 },
    { inputIds: [5, 6, 7], scoreFrom: 2 },
    { inputIds: [8, 9, 10, 1, 2], scoreFrom: 3 },
  ];

  it('similarities are the cosines of forward’s hidden states', async () => {
    const model = await Model.fromConfig(config, { context: fp64 });
    const result = await analysis.featureSimilarity(model, samples, { bins: 4 });
    const { hiddenStates } = await model.forward(
      { inputIds: samples.map((s) => s.inputIds) },
      { hiddenStates: true },
    );
    const states = (
      await Promise.all(
        hiddenStates!.map(async (t, s) => {
          const data = await t.data();
          return Array.from({ length: samples[s]!.inputIds.length - samples[s]!.scoreFrom }, (_, l) => ({
            s,
            l,
            phi: data.slice((samples[s]!.scoreFrom - 1 + l) * 8, (samples[s]!.scoreFrom + l) * 8),
          }));
        }),
      )
    ).flat();
    const inner = (a: ArrayLike<number>, b: ArrayLike<number>) => {
      let sum = 0;
      for (let c = 0; c < 8; ++c) sum += a[c]! * b[c]!;
      return sum;
    };
    const pairs = states.flatMap((a, i) =>
      states.slice(i + 1).map((b) => ({
        a,
        b,
        cosine: inner(a.phi, b.phi) / Math.sqrt(inner(a.phi, a.phi) * inner(b.phi, b.phi)),
      })),
    );
    const average = (some: typeof pairs) => some.reduce((sum, p) => sum + p.cosine, 0) / some.length;
    const across = pairs.filter((p) => p.a.s !== p.b.s);
    expect(result.states).toBe(5);
    expect(result.across).toMatchObject({
      pairs: across.length,
      meanCosine: expect.closeTo(average(across), 12),
      positive: across.filter((p) => p.cosine > 0).length / across.length,
    });
    expect(result.across.minCosine).toBeCloseTo(Math.min(...across.map((p) => p.cosine)), 12);
    expect(result.within.meanCosine).toBeCloseTo(average(pairs.filter((p) => p.a.s === p.b.s)), 12);
    expect(result.prompts.meanCosine).toBeCloseTo(
      average(across.filter((p) => p.a.l === 0 && p.b.l === 0)),
      12,
    );
    expect(result.byPosition.map((p) => [p.position, p.states, p.pairs])).toEqual([
      [0, 3, 3],
      [1, 2, 1],
    ]);
    expect([...result.histogram].reduce((a, b) => a + b)).toBe(across.length);
    expect(result.histogram[3]).toBe(across.filter((p) => p.cosine >= 0.5).length);
  });

  it('drift and classifier norm follow a known change of the model', async () => {
    const model = await Model.fromConfig(config, { context: fp64 });
    const changed = await model.clone();
    expect(await analysis.featureDrift(model, changed, samples)).toMatchObject({
      relative: 0,
      meanCosine: expect.closeTo(1, 12),
      normRatio: expect.closeTo(1, 12),
    });
    // φ = gain ∘ x̂ + bias with gain 1, bias 0 at the start: doubling the gain doubles φ.
    await changed.setParameter('norm.weight', new Float64Array(8).fill(2));
    const W = await model.getParameter('lm_head.weight');
    await changed.setParameter('lm_head.weight', W.map((w) => 3 * w) as Float64Array);
    const drift = await analysis.featureDrift(model, changed, samples);
    expect(drift).toMatchObject({
      relative: expect.closeTo(1, 12),
      meanCosine: expect.closeTo(1, 12),
      normRatio: expect.closeTo(2, 12),
    });
    expect(drift.byPosition.map((p) => p.states)).toEqual([3, 2]);
    const before = await analysis.classifierNorm(model);
    expect(before.frobenius).toBeCloseTo(Math.hypot(...W), 12);
    expect(await analysis.classifierNorm(changed, model)).toMatchObject({
      name: 'lm_head.weight',
      tied: false,
      frobenius: expect.closeTo(3 * before.frobenius, 12),
      relativeMoved: expect.closeTo(2, 12),
    });
  });

  it('confidence of a zero classifier is uniform', async () => {
    const model = await Model.fromConfig(config, { context: fp64 });
    await model.setParameter('lm_head.weight', new Float64Array(88));
    const result = await analysis.confidence(model, samples);
    expect(result).toMatchObject({
      states: 5,
      maxProb: expect.closeTo(1 / 11, 12),
      entropy: expect.closeTo(Math.log(11), 12),
      logp: expect.closeTo(-Math.log(11), 12),
    });
    expect(result.byPosition.map((p) => p.states)).toEqual([3, 2]);
    await expect(analysis.confidence(model, [])).rejects.toEqual(code('ERR_INVALID_ARG'));
  });

  it('takes kernels as ntk.gram returns them', async () => {
    const model = await Model.fromConfig(config, { context: fp64 });
    const K = await ntk.gram(model, samples);
    expect((await analysis.spectrum(K)).trace).toBeCloseTo(K.kernel[0]! + K.kernel[4]! + K.kernel[8]!, 10);
    expect((await analysis.kernelAlignment(K, K)).uncentred).toBeCloseTo(1, 12);
  });
});

describe('diversity', () => {
  it('distinct-n and self-BLEU of small cases', () => {
    const same = analysis.diversity(['a b c d e', 'a b c d e', 'a b c d e']);
    expect(same.selfBleu).toBeCloseTo(1, 12);
    expect(same.distinctN).toEqual([5 / 15, 4 / 12, 3 / 9, 2 / 6].map((x) => expect.closeTo(x, 12)));
    expect(same).toMatchObject({
      distinctPerPrompt: 1,
      distinctCompletions: 1 / 3,
      prompts: 1,
      perPrompt: 3,
    });
    const different = analysis.diversity([
      [1, 2, 3, 4],
      [5, 6, 7, 8],
    ]);
    expect(different.distinctN).toEqual([1, 1, 1, 1]);
    // No match in any order: (ε/4 · ε/3 · ε/2 · ε/1)^(1/4), ε = 0.1.
    expect(different.selfBleu).toBeCloseTo((1e-4 / 24) ** 0.25, 12);
  });
  it('brevity, clipped counts and groups', () => {
    // "a a b" against "a b": unigrams a clipped to 1, b 1 → 2/3; bigrams "a a" none, "a b" one → 1/2;
    // trigrams ε/1. Longer: no brevity penalty.
    const longer = ((((2 / 3) * 1) / 2) * 0.1) ** (1 / 3);
    // "a b" against "a a b": 1, 1 and e^(1 − 3/2).
    expect(analysis.diversity(['a a b', 'a b']).selfBleu).toBeCloseTo((longer + Math.exp(-0.5)) / 2, 12);
    const grouped = analysis.diversity([[1], [1], [2], [3]], { perPrompt: 2, maxN: 1 });
    expect(grouped).toMatchObject({ prompts: 2, distinctN: [0.75], distinctPerPrompt: 1.5 });
    expect(analysis.diversity([[], []]).distinctN).toEqual([NaN, NaN, NaN, NaN]);
    expect(() => analysis.diversity([[1], [2], [3]], { perPrompt: 2 })).toThrow('perPrompt');
  });
});

it('bestOfN is the mean maximum over all subsets, and passAtK for rewards 0 and 1', () => {
  const random = new Random(3);
  const rewards = Array.from({ length: 7 }, () => random.gauss());
  for (let N = 1; N <= 7; ++N) {
    const maxima = Array.from({ length: 128 }, (_, mask) => rewards.filter((_r, i) => mask & (1 << i)))
      .filter((subset) => subset.length === N)
      .map((subset) => Math.max(...subset));
    expect(analysis.bestOfN(rewards, N)).toBeCloseTo(maxima.reduce((a, b) => a + b) / maxima.length, 12);
    expect(analysis.bestOfN([0, 1, 0, 0, 1, 0, 0], N)).toBeCloseTo(analysis.passAtK(7, 2, N), 12);
  }
  expect(() => analysis.bestOfN(rewards, 8)).toThrow('1 … 7');
  expect(() => analysis.bestOfN([], 1)).toThrow('N must');
});
