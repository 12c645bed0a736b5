/**
 * policyGradient and linearCrossEntropy: against plain float64 transcriptions, results as documented, and
 * refusals.
 */
import { beforeAll, describe, expect, it } from 'vitest';

import {
  type Context,
  createContext,
  linearCrossEntropy,
  policyGradient,
  type PolicyGradientInput,
  Tensor,
} from '../../src/index.js';
import { LOSS_RULES } from '../../src/policy/losses.js';
import { Random } from '../helpers/random.js';

const IGNORED = -100;
let single: Context;
let double: Context;
beforeAll(async () => {
  single = await createContext({ device: 'cpu', threads: 2 });
  double = await createContext({ device: 'cpu', math: 'fp64' });
});

interface Problem {
  N: number;
  C: number;
  V: number;
  hidden: Float64Array;
  weight: Float64Array;
  targets: Int32Array;
  coefficients: Float64Array;
  entropyCoefficients: Float64Array;
  temperature: number;
}

function problem(N: number, C: number, V: number, { temperature = 1, scale = 1, seed = 1 } = {}): Problem {
  const random = new Random(seed);
  const rounded = (shape: number[], std: number) =>
    Float64Array.from(random.normal(shape, std).data, Math.fround);
  const targets = random.integers([N], 0, V).data;
  for (let n = 2; n < N; n += 5) targets[n] = IGNORED;
  return {
    N,
    C,
    V,
    hidden: rounded([N, C], 1),
    weight: rounded([V, C], scale),
    targets,
    coefficients: rounded([N], 1),
    entropyCoefficients: rounded([N], 0.3),
    temperature,
  };
}

/**
 * z = h Wᵀ / τ, p = softmax; g = coef (p − 1[y]) + ent p (log p + H); dh = g W / τ, dW = gᵀ h / τ. Everything
 * at once, in double.
 */
function transcription({
  N,
  C,
  V,
  hidden,
  weight,
  targets,
  coefficients,
  entropyCoefficients,
  temperature,
}: Problem) {
  const out = {
    logps: new Float64Array(N),
    entropy: new Float64Array(N),
    maxProb: new Float64Array(N),
    gradHidden: new Float64Array(N * C),
    gradWeight: new Float64Array(V * C),
    loss: 0,
  };
  for (let n = 0; n < N; ++n) {
    const z = Array.from({ length: V }, (_, v) => {
      let sum = 0;
      for (let c = 0; c < C; ++c) sum += hidden[n * C + c]! * weight[v * C + c]!;
      return sum / temperature;
    });
    const top = Math.max(...z);
    const total = z.reduce((sum, value) => sum + Math.exp(value - top), 0);
    const logp = z.map((value) => value - top - Math.log(total));
    out.entropy[n] = -logp.reduce((sum, l) => sum + Math.exp(l) * l, 0);
    out.maxProb[n] = Math.max(...logp.map(Math.exp));
    const y = targets[n]!;
    if (y === IGNORED) continue;
    out.logps[n] = logp[y]!;
    out.loss -= coefficients[n]! * logp[y]! + entropyCoefficients[n]! * out.entropy[n]!;
    for (let v = 0; v < V; ++v) {
      const p = Math.exp(logp[v]!);
      const g =
        (coefficients[n]! * (p - (v === y ? 1 : 0)) +
          entropyCoefficients[n]! * p * (logp[v]! + out.entropy[n]!)) /
        temperature;
      for (let c = 0; c < C; ++c) {
        out.gradHidden[n * C + c]! += g * weight[v * C + c]!;
        out.gradWeight[v * C + c]! += g * hidden[n * C + c]!;
      }
    }
  }
  return out;
}

function error(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(actual.length).toBe(expected.length);
  let [difference, norm] = [0, 0];
  for (let i = 0; i < expected.length; ++i) {
    difference += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(difference) / Math.max(Math.sqrt(norm), 1e-30);
}

const arrays = (p: Problem, Type: typeof Float32Array | typeof Float64Array = Float32Array) => ({
  hidden: { data: Type.from(p.hidden), shape: [p.N, p.C] },
  weight: { data: Type.from(p.weight), shape: [p.V, p.C] },
  targets: p.targets,
  coefficients: Type.from(p.coefficients),
  entropyCoefficients: Type.from(p.entropyCoefficients),
  temperature: p.temperature,
});

describe('policyGradient', () => {
  // Logits of ±1,000 in float32 are themselves only known to 6e-5.
  const problems: [string, Problem, number?][] = [
    ['odd sizes', problem(37, 19, 97)],
    ['temperature 0.1', problem(11, 8, 40, { temperature: 0.1 })],
    ['temperature 10', problem(11, 8, 40, { temperature: 10 })],
    ['V = 1', problem(6, 5, 1)],
    ['large logits', problem(9, 16, 33, { scale: 100 }), 3e-4],
  ];
  it.each(problems)(
    '%s: as transcribed, in float32 and float64, from arrays and from tensors',
    async (_, p, single32 = 3e-6) => {
      const expected = transcription(p);
      for (const [context, bound] of [
        [single, single32],
        [double, 1e-12],
      ] as const) {
        const input = arrays(p, Float64Array);
        const fromArrays = await policyGradient(
          { ...input, gradHidden: true, gradWeight: true },
          { context },
        );
        const [hidden, weight] = [
          Tensor.from(context, p.hidden, [p.N, p.C]),
          Tensor.from(context, p.weight, [p.V, p.C]),
        ];
        const fromTensors = await policyGradient({
          ...input,
          hidden,
          weight,
          gradHidden: true,
          gradWeight: true,
        });
        for (const result of [fromArrays, fromTensors]) {
          for (const name of ['logps', 'entropy', 'maxProb'] as const)
            expect(error(result[name], expected[name]), name).toBeLessThan(bound);
          for (const name of ['gradHidden', 'gradWeight'] as const)
            expect(error(await result[name]!.data(), expected[name]), name).toBeLessThan(bound * 3);
          expect(result.gradHidden!.shape).toEqual([p.N, p.C]);
          expect(result.gradWeight!.shape).toEqual([p.V, p.C]);
          expect(result.losses.reduce((a, b) => a + b, 0)).toBeCloseTo(
            expected.loss,
            context === double ? 8 : 1,
          );
        }
        expect(await fromTensors.gradWeight!.data()).toEqual(await fromArrays.gradWeight!.data());
      }
    },
  );

  it('returns what was asked for and nothing else', async () => {
    const p = problem(7, 4, 9);
    const plain = await policyGradient(arrays(p), { context: single });
    expect(Object.keys(plain).sort()).toEqual(['entropy', 'logps', 'losses', 'maxProb']);
    expect(plain.logps).toBeInstanceOf(Float32Array);
    expect((await policyGradient(arrays(p), { context: double })).logps).toBeInstanceOf(Float64Array);
    const one = await policyGradient({ ...arrays(p), gradWeight: true }, { context: single });
    expect([one.gradHidden, one.gradWeight?.shape]).toEqual([undefined, [9, 4]]);
    const { coefficients: _, entropyCoefficients: __, ...scoring } = arrays(p);
    expect((await policyGradient(scoring, { context: single })).logps).toEqual(plain.logps);
    expect(plain.logps[2]).toBe(0);
    expect(plain.entropy[2]).toBeGreaterThan(0);
  });

  it('the inputs are read when the call is made', async () => {
    const p = problem(7, 4, 9);
    const input = { ...arrays(p), gradWeight: true };
    const before = await policyGradient(input, { context: single });
    const pending = policyGradient(input, { context: single });
    input.hidden.data.fill(0);
    input.coefficients.fill(0);
    expect(await (await pending).gradWeight!.data()).toEqual(await before.gradWeight!.data());
  });

  it("loss 'clip' on policy is the coefficients A · weights; ratio 1, nothing clipped; k3 to itself is 0", async () => {
    const p = problem(13, 6, 21);
    const { coefficients, entropyCoefficients: _, ...input } = arrays(p);
    const advantages = coefficients;
    const weights = new Float32Array(13).fill(0.25);
    const given = await policyGradient(
      { ...input, coefficients: advantages.map((a) => a * 0.25), gradHidden: true, gradWeight: true },
      { context: single },
    );
    const clip = await policyGradient(
      {
        ...input,
        loss: 'clip',
        advantages,
        weights,
        beta: 0.1,
        kl: 'k3',
        refLogps: given.logps,
        gradHidden: true,
        gradWeight: true,
      },
      { context: single },
    );
    expect(error(await clip.gradWeight!.data(), await given.gradWeight!.data())).toBeLessThan(1e-6);
    expect([...clip.ratio!]).toEqual(Array(13).fill(1));
    expect([...clip.clipped!]).toEqual(Array(13).fill(0));
    expect(Math.max(...clip.kl!)).toBeLessThan(1e-9);
  });

  it("kl 'exact' against reference matrices: the gradient of Σ p (log p − log q), by finite differences in double", async () => {
    const p = problem(5, 4, 7);
    const q = problem(5, 3, 7, { seed: 9 });
    const { coefficients: _, entropyCoefficients: __, ...input } = arrays(p, Float64Array);
    const call = (weight: Float64Array) =>
      policyGradient(
        {
          ...input,
          weight: { data: weight, shape: [7, 4] },
          loss: 'clip',
          advantages: new Float64Array(5),
          kl: 'exact',
          beta: 0.7,
          gradWeight: true,
          refHidden: { data: q.hidden, shape: [5, 3] },
          refWeight: { data: q.weight, shape: [7, 3] },
        },
        { context: double },
      );
    const gradient = await (await call(p.weight)).gradWeight!.data();
    const sum = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0);
    for (const i of [0, 11, 27]) {
      const moved = async (step: number) =>
        sum((await call(p.weight.map((w, j) => (i === j ? w + step : w)))).losses);
      expect(((await moved(1e-5)) - (await moved(-1e-5))) / 2e-5).toBeCloseTo(gradient[i]!, 7);
    }
  });

  it('no rows, and only ignored rows', async () => {
    const empty = await policyGradient(
      {
        ...arrays({
          ...problem(1, 3, 5),
          N: 0,
          hidden: new Float64Array(0),
          targets: new Int32Array(0),
          coefficients: new Float64Array(0),
          entropyCoefficients: new Float64Array(0),
        }),
        gradHidden: true,
        gradWeight: true,
      },
      { context: single },
    );
    expect([empty.logps.length, empty.gradHidden!.shape]).toEqual([0, [0, 3]]);
    expect([...(await empty.gradWeight!.data())]).toEqual(Array(15).fill(0));
    const p = problem(4, 3, 5);
    const ignored = await policyGradient(
      { ...arrays(p), targets: new Int32Array(4).fill(IGNORED), gradHidden: true, gradWeight: true },
      { context: single },
    );
    expect([...(await ignored.gradHidden!.data())]).toEqual(Array(12).fill(0));
    expect([...ignored.logps]).toEqual([0, 0, 0, 0]);
    expect(Math.min(...ignored.entropy)).toBeGreaterThan(0);
  });
});

describe('linearCrossEntropy', () => {
  it('is −log softmax of the target with its gradients: mean, sum and none', async () => {
    const p = { ...problem(23, 11, 31), entropyCoefficients: new Float64Array(23) };
    const counted = p.targets.filter((y) => y !== IGNORED).length;
    for (const reduction of ['mean', 'sum', 'none'] as const) {
      const share = reduction === 'mean' ? 1 / counted : 1;
      const expected = transcription({ ...p, coefficients: new Float64Array(23).fill(share) });
      const { hidden, weight, targets } = arrays(p, Float64Array);
      const result = await linearCrossEntropy(
        { hidden, weight, targets, reduction, gradHidden: true, gradWeight: true },
        { context: double },
      );
      expect(result.loss).toBeCloseTo(expected.loss, 10);
      expect(
        error(
          result.losses,
          expected.logps.map((l) => -l),
        ),
      ).toBeLessThan(1e-12);
      expect(error(await result.gradHidden!.data(), expected.gradHidden)).toBeLessThan(1e-12);
      expect(error(await result.gradWeight!.data(), expected.gradWeight)).toBeLessThan(1e-12);
    }
  });
  it('another ignoreIndex; no row that counts gives 0', async () => {
    const p = problem(9, 4, 6);
    const { hidden, weight } = arrays(p);
    const standard = await linearCrossEntropy({ hidden, weight, targets: p.targets }, { context: single });
    const other = await linearCrossEntropy(
      { hidden, weight, targets: p.targets.map((y) => (y === IGNORED ? -1 : y)), ignoreIndex: -1 },
      { context: single },
    );
    expect(other).toEqual(standard);
    const none = await linearCrossEntropy(
      { hidden, weight, targets: new Int32Array(9).fill(3), ignoreIndex: 3, gradWeight: true },
      { context: single },
    );
    expect([none.loss, Math.max(...(await none.gradWeight!.data()))]).toEqual([0, 0]);
    await expect(
      linearCrossEntropy({ hidden, weight, targets: p.targets, ignoreIndex: 3 }, { context: single }),
    ).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG',
      message: expect.stringContaining('got -100 in row 2'),
    });
  });
});

describe('refusals', () => {
  const p = problem(5, 4, 6);
  const good = () => ({ ...arrays(p), gradHidden: true, gradWeight: true });
  const detached = (data: Float32Array) => {
    structuredClone(data.buffer, { transfer: [data.buffer as ArrayBuffer] });
    return data;
  };
  const cases: [string, () => object, string, string][] = [
    [
      'weight of another width',
      () => ({ weight: { data: new Float32Array(18), shape: [6, 3] } }),
      'ERR_SHAPE',
      'weight must have 4 columns',
    ],
    [
      'a vector for a matrix',
      () => ({ hidden: new Float32Array(20) }),
      'ERR_SHAPE',
      'hidden must be a Tensor or',
    ],
    [
      'a shape beyond the data',
      () => ({ hidden: { data: new Float32Array(19), shape: [5, 4] } }),
      'ERR_SHAPE',
      'needs 20 elements, but its data has 19',
    ],
    [
      'integer matrices',
      () => ({ hidden: { data: new Int32Array(20), shape: [5, 4] } }),
      'ERR_DTYPE',
      'hidden must be a Float32Array',
    ],
    [
      'targets of another length',
      () => ({ targets: new Int32Array(4) }),
      'ERR_SHAPE',
      'targets must have 5 entries',
    ],
    ['targets that are not integers', () => ({ targets: new Float32Array(5) }), 'ERR_DTYPE', 'Int32Array'],
    [
      'a target outside the vocabulary',
      () => ({ targets: Int32Array.of(0, 1, 6, 0, 0) }),
      'ERR_INVALID_ARG',
      'got 6 in row 2',
    ],
    [
      'coefficients of another length',
      () => ({ coefficients: new Float32Array(6) }),
      'ERR_SHAPE',
      'coefficients must have 5 entries',
    ],
    [
      'a plain array of coefficients',
      () => ({ coefficients: [1, 1, 1, 1, 1] }),
      'ERR_DTYPE',
      'coefficients must be a Float32Array',
    ],
    [
      'a NaN coefficient',
      () => ({ coefficients: Float32Array.of(0, NaN, 0, 0, 0) }),
      'ERR_INVALID_ARG',
      'coefficients must be finite, got nan in row 1',
    ],
    [
      'an infinite entropy coefficient',
      () => ({ entropyCoefficients: Float32Array.of(0, 0, 0, Infinity, 0) }),
      'ERR_INVALID_ARG',
      'must be finite, got inf in row 3',
    ],
    [
      'a detached matrix',
      () => ({ hidden: { data: detached(new Float32Array(20)), shape: [5, 4] } }),
      'ERR_INVALID_ARG',
      'detached',
    ],
    [
      'detached coefficients',
      () => ({ coefficients: detached(new Float32Array(5)) }),
      'ERR_INVALID_ARG',
      'detached',
    ],
    [
      'a shared matrix',
      () => ({ weight: { data: new Float32Array(new SharedArrayBuffer(96)), shape: [6, 4] } }),
      'ERR_INVALID_ARG',
      'SharedArrayBuffer',
    ],
    [
      'shared targets',
      () => ({ targets: new Int32Array(new SharedArrayBuffer(20)) }),
      'ERR_INVALID_ARG',
      'SharedArrayBuffer',
    ],
    ['temperature 0', () => ({ temperature: 0 }), 'ERR_INVALID_ARG', 'temperature must be a positive number'],
    [
      'gradients of nothing',
      () => ({ coefficients: undefined, entropyCoefficients: undefined }),
      'ERR_INVALID_ARG',
      'gradients need coefficients',
    ],
    [
      'clip without advantages',
      () => ({ loss: 'clip', coefficients: undefined, entropyCoefficients: undefined }),
      'ERR_INVALID_ARG',
      'advantages',
    ],
    [
      'an unknown loss',
      () => ({ loss: 'ppo' }),
      'ERR_INVALID_ARG',
      `loss must be ${LOSS_RULES.loss.expected}, got 'ppo'`,
    ],
    ['an unknown argument', () => ({ temprature: 2 }), 'ERR_INVALID_ARG', "Did you mean 'temperature'?"],
    [
      'a tensor of another context',
      () => ({ hidden: Tensor.from(double, p.hidden, [5, 4]) }),
      'ERR_INVALID_ARG',
      'another context',
    ],
  ];
  it.each(cases)('%s', async (_, change, code, message) => {
    const { tensors } = single.memory();
    await expect(
      policyGradient({ ...good(), ...change() } as PolicyGradientInput, { context: single }),
    ).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
    expect(single.memory().tensors - tensors).toBeLessThanOrEqual(0);
  });
  it('a disposed tensor and a cancelled call', async () => {
    const hidden = Tensor.from(single, p.hidden, [5, 4]);
    const weight = Tensor.from(single, p.weight, [6, 4]);
    const { hidden: _, weight: __, ...rest } = good();
    await expect(
      policyGradient({ ...rest, hidden, weight }, { signal: AbortSignal.abort(new Error('enough')) }),
    ).rejects.toThrow('enough');
    hidden.dispose();
    await expect(policyGradient({ ...rest, hidden, weight })).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
  });
});
