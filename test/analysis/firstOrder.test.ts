/**
 * explainStep, jvp and vjp against the Jacobian itself, written out in this file: J (rows: logits, columns:
 * parameters) from jacobian(), gradients of the batch from perSampleGradients(), and plain loops in double
 * for everything else. Same numbers to 1e-12, and the same bits for any number of threads.
 */
import { describe, expect, it } from 'vitest';

import {
  AdamW,
  analysis,
  createContext,
  jacobian,
  Model,
  perSampleGradients,
  Tensor,
} from '../../src/index.js';
import { golden } from '../helpers/files.js';
import { Random } from '../helpers/random.js';

const fp64 = await createContext({ math: 'fp64' });
const TOLERANCE = 1e-12;
const sequences = [
  [1, 5, 9, 3, 7, 2, 11],
  [2, 4, 4, 8, 1],
  [3, 9, 5, 6, 7, 8, 9, 10],
];
const batch = sequences.map((inputIds, i) => ({ inputIds, scoreFrom: 2, advantage: i - 1.2 }));
// The second continues the fourth; the first comes twice.
const probes = [[7], [1, 2, 3, 4, 5, 6], [4, 5], [1, 2, 3], [7]];
const learningRate = 0.01;

const relative = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let difference = 0;
  let size = 0;
  for (let i = 0; i < b.length; ++i) {
    difference += (a[i]! - b[i]!) ** 2;
    size += b[i]! ** 2;
  }
  return Math.sqrt(difference / size);
};
const sum = (values: ArrayLike<number>): number => Array.from(values).reduce((a, b) => a + b, 0);
const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => sum(Array.from(a, (x, i) => x * b[i]!));
const plus = (a: readonly number[], b: ArrayLike<number>): number[] => a.map((x, i) => x + b[i]!);

/** J of all V logits at the last position of a prefix: V rows of P numbers. */
async function jacobianAt(model: Model, prefix: readonly number[]): Promise<Float64Array[]> {
  const V = model.spec.vocabSize;
  const outputs = Array.from({ length: V }, (_, v) => v);
  const { jacobian: tensor } = await jacobian(model, [prefix], { outputs });
  const numbers = (await tensor.data()) as Float64Array;
  const P = numbers.length / V;
  return outputs.map((v) => numbers.subarray(v * P, (v + 1) * P));
}

/** η ∇J, flat: what plain ascent adds to the parameters. */
async function ascent(model: Model): Promise<Float64Array> {
  const { gradients } = await perSampleGradients(model, batch);
  const numbers = (await gradients.data()) as Float64Array;
  const P = gradients.shape[1]!;
  const step = new Float64Array(P);
  batch.forEach(({ advantage }, s) => {
    for (let i = 0; i < P; ++i) step[i]! += ((learningRate * advantage) / batch.length) * numbers[s * P + i]!;
  });
  return step;
}

/** The entries of a flat vector that belong to the parameters chosen, zero elsewhere. */
function only(
  model: Model,
  flat: Float64Array,
  chosen: (role: string, layer: number) => boolean,
): Float64Array {
  const part = new Float64Array(flat.length);
  for (const { offset, size, role, layer } of model.parameters())
    if (chosen(role, layer)) part.set(flat.subarray(offset, offset + size), offset);
  return part;
}
const named = (model: Model, flat: Float64Array): Record<string, Float64Array> =>
  Object.fromEntries(
    model.parameters().map(({ name, offset, size }) => [name, flat.slice(offset, offset + size)]),
  );

async function logitsAt(model: Model, prefix: readonly number[]): Promise<number[]> {
  const { logits } = await model.forward({ inputIds: [prefix] });
  return Array.from((await logits![0]!.data()).slice(-model.spec.vocabSize));
}
function logSoftmax(z: readonly number[]): number[] {
  const most = Math.max(...z);
  const lse = most + Math.log(sum(z.map((x) => Math.exp(x - most))));
  return z.map((x) => x - lse);
}
/** Δ log π = (I − 1 πᵀ) J Δθ. */
function changeOf(J: readonly Float64Array[], step: Float64Array, logp: readonly number[]): number[] {
  const moved = J.map((row) => dot(row, step));
  const mean = dot(logp.map(Math.exp), moved);
  return moved.map((x) => x - mean);
}

async function explicit(model: Model, twin: Model): Promise<analysis.Explanation> {
  const result = await analysis.explainStep(model, batch, probes, {
    learningRate,
    layers: true,
    influences: {},
  });
  const step = await ascent(twin);
  const isClassifier = (role: string) => role === 'classifier';
  const direct = only(twin, step, isClassifier);
  const below = only(twin, step, (role) => !isClassifier(role));
  for (const [s, probe] of result.probes.entries()) {
    const J = await jacobianAt(twin, probes[s]!);
    const logp = logSoftmax(await logitsAt(model, probes[s]!));
    const representation = changeOf(J, direct, logp);
    const gradient = changeOf(J, below, logp);
    expect(relative(probe.representation, representation)).toBeLessThan(TOLERANCE);
    expect(relative(probe.gradient, gradient)).toBeLessThan(TOLERANCE);
    const groups = [
      (role: string) => role === 'embedding' || role === 'position',
      ...Array.from({ length: model.spec.layers }, (_, l) => (_role: string, layer: number) => layer === l),
      (role: string) => role.startsWith('final_norm'),
    ];
    expect(probe.layers!.length).toBe(groups.length);
    for (const [l, group] of groups.entries())
      expect(
        relative(probe.layers![l]!.change, changeOf(J, only(twin, step, group), logp)),
        probe.layers![l]!.name,
      ).toBeLessThan(TOLERANCE);

    let cross = new Array<number>(logp.length).fill(0);
    if (model.tied) {
      // Each use's gradient moves the other use.
      const embedding = twin.parameters((p) => p.role === 'embedding')[0]!;
      const classifier = twin.parameters((p) => p.role === 'classifier')[0]!;
      const swapped = new Float64Array(step.length);
      swapped.set(step.subarray(embedding.offset, embedding.offset + embedding.size), classifier.offset);
      swapped.set(step.subarray(classifier.offset, classifier.offset + classifier.size), embedding.offset);
      cross = changeOf(J, swapped, logp);
      expect(relative(probe.cross, cross)).toBeLessThan(TOLERANCE);
    } else {
      expect(Array.from(probe.cross)).toEqual(cross);
    }
    const predicted = plus(plus(representation, gradient), cross);
    expect(relative(probe.predicted, predicted)).toBeLessThan(TOLERANCE);

    // The numbers that follow, by formulas of their own.
    const p = logp.map(Math.exp);
    const top = p.indexOf(Math.max(...p));
    expect(probe.target).toBe(top);
    const change = (found: analysis.ChangeOf, before: number, first: number) => {
      expect(Math.abs(found.before - before)).toBeLessThan(TOLERANCE);
      expect(Math.abs(found.predicted - first)).toBeLessThan(TOLERANCE * Math.max(1, Math.abs(first)));
      expect(Math.abs(found.representation + found.gradient + found.cross - found.predicted)).toBeLessThan(
        TOLERANCE,
      );
    };
    change(probe.logp, logp[top]!, predicted[top]!);
    change(probe.maxProb, p[top]!, p[top]! * predicted[top]!);
    const entropy = -dot(p, logp);
    const movedEntropy = -sum(p.map((x, v) => x * predicted[v]! * (logp[v]! + 1)));
    change(probe.entropy, entropy, movedEntropy);

    for (const key of ['representation', 'gradient', 'cross'] as const)
      expect(Math.abs(sum(probe.influences!.map((i) => i[key])) - probe[key][top]!)).toBeLessThan(TOLERANCE);
  }
  return result;
}

describe('explainStep in double, against J Δθ', () => {
  it.each(['gpt', 'llama', 'qwen3'])('%s, untied', async (name) => {
    const model = await Model.fromPretrained(golden(name), { context: fp64, untieClassifier: true });
    const { stepNorm } = await explicit(model, model);
    expect(relative([stepNorm], [Math.sqrt(dot(await ascent(model), await ascent(model)))])).toBeLessThan(
      TOLERANCE,
    );
  });

  it('gpt2, tied: three components by the two uses of the matrix', async () => {
    const model = await Model.fromPretrained(golden('gpt2'), { context: fp64 });
    const twin = await Model.fromPretrained(golden('gpt2'), { context: fp64, untieClassifier: true });
    const { crossDefined, probes: explained } = await explicit(model, twin);
    expect(crossDefined).toBe(true);
    expect(explained[0]!.cross.some((x) => x !== 0)).toBe(true);
  });

  it('what is measured is log π of the model that has moved; accuracy is of all entries together', async () => {
    const model = await Model.fromPretrained(golden('llama'), { context: fp64 });
    const result = await analysis.explainStep(model, batch, probes, { learningRate });
    const moved = await model.clone();
    const step = await ascent(model);
    for (const { name, offset, size } of model.parameters()) {
      const weights = await model.getParameter(name);
      await moved.setParameter(
        name,
        weights.map((w, i) => w + step.subarray(offset, offset + size)[i]!),
      );
    }
    const [predicted, measured]: [number[], number[]] = [[], []];
    for (const [s, probe] of result.probes.entries()) {
      const before = logSoftmax(await logitsAt(model, probes[s]!));
      const after = logSoftmax(await logitsAt(moved, probes[s]!));
      for (const [v, x] of probe.measured.entries())
        expect(Math.abs(x - (after[v]! - before[v]!))).toBeLessThan(TOLERANCE);
      expect(probe.maxProb.measured).toBeCloseTo(
        Math.exp(Math.max(...after)) - Math.exp(Math.max(...before)),
        12,
      );
      predicted.push(...probe.predicted);
      measured.push(...probe.measured);
    }
    const residual = sum(predicted.map((x, i) => (x - measured[i]!) ** 2));
    const mean = sum(measured) / measured.length;
    const variance = sum(measured.map((x) => (x - mean) ** 2));
    expect(relative([result.relativeError], [relative(predicted, measured)])).toBeLessThan(1e-9);
    expect(result.r2).toBeCloseTo(1 - residual / variance, 9);
    expect(result.signAgreement).toBe(
      sum(predicted.map((x, i) => Number(Math.sign(x) === Math.sign(measured[i]!)))) / measured.length,
    );
  });
});

describe('jvp and vjp in double, against J', () => {
  it.each(['gpt', 'gpt2', 'llama'])('%s', async (name) => {
    const model = await Model.fromPretrained(golden(name), { context: fp64 });
    const V = model.spec.vocabSize;
    const random = new Random(3);
    const direction = random.normal([model.parameters().reduce((total, p) => total + p.size, 0)])
      .data as Float64Array;
    const moved = await model.jvp({ inputIds: sequences }, named(model, direction));
    for (const [s, sequence] of sequences.entries()) {
      const J = await jacobianAt(model, sequence);
      const last = (await moved.logits[s]!.data()).slice(-V);
      expect(
        relative(
          last,
          J.map((row) => dot(row, direction)),
        ),
      ).toBeLessThan(TOLERANCE);

      // Two cotangents, at the last position alone.
      const g = random.normal([2, V]).data;
      const cotangent = new Float64Array(2 * sequence.length * V);
      for (const i of [0, 1])
        cotangent.set(g.subarray(i * V, (i + 1) * V), ((i + 1) * sequence.length - 1) * V);
      const gradients = await model.vjp({ inputIds: [sequence] }, [
        Tensor.from(fp64, cotangent, [2, sequence.length, V]),
      ]);
      expect(Object.keys(gradients)).toEqual(model.parameters().map((p) => p.name));
      for (const { name: parameter, offset, size, shape } of model.parameters()) {
        expect(gradients[parameter]!.shape).toEqual([2, ...shape]);
        const found = await gradients[parameter]!.data();
        for (const i of [0, 1]) {
          const expected = Array.from({ length: size }, (_, j) =>
            sum(J.map((row, v) => g[i * V + v]! * row[offset + j]!)),
          );
          const mine = found.subarray(i * size, (i + 1) * size);
          const scale = Math.sqrt(dot(expected, expected));
          if (scale < 1e-9) expect(Math.sqrt(dot(mine, mine))).toBeLessThan(1e-12);
          else expect(relative(mine, expected), `${parameter} ${i}`).toBeLessThan(TOLERANCE);
        }
      }
    }
  });
});

describe('the number of threads', () => {
  it.each([
    ['gpt2', 'fp32'],
    ['gpt2', 'fp64'],
    ['llama', 'fp32'],
    ['llama', 'fp64'],
  ] as const)('%s %s: the same bits', async (name, math) => {
    const results = await Promise.all(
      [1, 2, 3].map(async (threads) => {
        const context = await createContext({ math, threads });
        const model = await Model.fromPretrained(golden(name), { context });
        const direction = Object.fromEntries(
          model
            .parameters()
            .map((p) => [p.name, Float64Array.from({ length: p.size }, (_, i) => Math.sin(i) / 50)]),
        );
        const plain = await analysis.explainStep(model, batch, probes, {
          learningRate,
          layers: true,
          influences: {},
        });
        const adam = await analysis.explainStep(model, batch, probes, {
          learningRate: 1e-3,
          update: 'adam',
          optimizer: new AdamW(model, { weightDecay: 0.1 }),
          maxGradNorm: 0.1,
        });
        const given = await analysis.explainStep(model, [], probes, { update: direction });
        const { logits, hiddenStates } = await model.jvp({ inputIds: sequences }, direction);
        const cotangents = sequences.map((ids) => {
          const shape = [2, ids.length, model.spec.vocabSize];
          const size = shape.reduce((a, b) => a * b, 1);
          return Tensor.from(
            context,
            Float64Array.from({ length: size }, (_, i) => Math.cos(i)),
            shape,
          );
        });
        const gradients = await model.vjp({ inputIds: sequences }, cotangents);
        const read = (tensors: readonly Tensor[]) => Promise.all(tensors.map((tensor) => tensor.data()));
        return {
          plain,
          adam,
          given,
          forward: [...(await read(logits)), ...(await read(hiddenStates))],
          reverse: await read(Object.values(gradients)),
        };
      }),
    );
    expect(results[1]).toEqual(results[0]);
    expect(results[2]).toEqual(results[0]);
  });
});

it('explainStep tells how far it is, and can be ended', async () => {
  const model = await Model.fromPretrained(golden('gpt2'), { context: fp64 });
  const seen: number[] = [];
  await analysis.explainStep(model, batch, probes, {
    learningRate,
    onProgress: (done, total) => void seen.push(done / total),
  });
  expect(seen).toEqual([...seen].sort((a, b) => a - b));
  expect(seen.at(-1)).toBe(1);
  const controller = new AbortController();
  const call = analysis.explainStep(model, batch, probes, {
    learningRate,
    layers: true,
    apply: true,
    signal: controller.signal,
  });
  controller.abort(new Error('enough'));
  await expect(call).rejects.toThrow('enough');
});
