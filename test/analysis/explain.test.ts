/**
 * explainStep: first order really is first order, components against brute force, tied models, nothing
 * changed that should not be.
 */
import { describe, expect, it } from 'vitest';

import { AdamW, analysis, createContext, Model } from '../../src/index.js';
import { golden } from '../helpers/files.js';
import { Random } from '../helpers/random.js';

const fp64 = await createContext({ math: 'fp64' });
const V = 13;
async function small(context = fp64): Promise<Model> {
  const model = await Model.fromConfig(
    {
      model_type: 'gpt',
      vocab_size: V,
      hidden_size: 16,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      max_position_embeddings: 12,
    },
    { context, seed: 5 },
  );
  // At the start of training the classifier is so small that the policy is uniform and the gradient component
  // vanishes.
  await model.setParameter('lm_head.weight', new Random(1).normal([V * 16], 0.4).data);
  return model;
}
const random = new Random(2);
const ids = (length: number, vocabulary = V) => Array.from({ length }, () => random.integer(0, vocabulary));
const batch = [
  [8, 3, 1],
  [5, 1, -0.5],
  [10, 6, 0.7],
  [4, 3, -1.2],
].map(([length, scoreFrom, advantage]) => ({
  inputIds: ids(length!),
  scoreFrom: scoreFrom!,
  advantage: advantage!,
}));
const probes = [ids(6), [3], ids(12)];

const relative = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let [difference, size] = [0, 0];
  for (let i = 0; i < b.length; ++i)
    [difference, size] = [difference + (a[i]! - b[i]!) ** 2, size + b[i]! ** 2];
  return Math.sqrt(difference / size);
};
const weightsOf = async (model: Model) =>
  Promise.all(model.parameters().map(async (p) => [p.name, await model.getParameter(p.name)] as const));
/** T_s at the last position of a probe. */
async function centre(model: Model, probe: readonly number[], change: Float64Array): Promise<Float64Array> {
  const z = Float64Array.from(await (await model.forward({ inputIds: [probe] })).logits![0]!.data()).slice(
    -change.length,
  );
  const sum = z.reduce((s, x) => s + Math.exp(x), 0);
  const mean = change.reduce((s, x, v) => s + x * (Math.exp(z[v]!) / sum), 0);
  return change.map((x) => x - mean);
}
/** Δθ of plain ascent, through the training path one sample at a time. */
async function ascent(model: Model, learningRate: number): Promise<Record<string, Float64Array>> {
  const copy = await model.clone();
  const step = Object.fromEntries(copy.parameters().map((p) => [p.name, new Float64Array(p.size)]));
  for (const sample of batch) {
    await copy.zeroGradients();
    await copy.accumulateGradients([sample], {
      loss: 'coefficients',
      coefficients: new Float32Array(sample.inputIds.length - sample.scoreFrom).fill(-1),
    });
    for (const { name } of copy.parameters())
      (await copy.getGradient(name)).forEach(
        (g, i) => (step[name]![i]! += (learningRate * sample.advantage * g) / batch.length),
      );
  }
  copy.dispose();
  return step;
}
const last = async (tensor: { data(): Promise<ArrayLike<number>>; shape: readonly number[] }) =>
  Float64Array.from(await tensor.data()).slice(-tensor.shape[1]!);

describe('plain ascent on an untied model', () => {
  it('is first order: halving the rate halves the error, at two rates below 5 %', async () => {
    const model = await small();
    for (const learningRate of [2e-3, 5e-4]) {
      const [whole, half] = [
        await analysis.explainStep(model, batch, probes, { learningRate }),
        await analysis.explainStep(model, batch, probes, { learningRate: learningRate / 2 }),
      ];
      expect(whole.relativeError).toBeLessThan(0.05);
      expect(whole.relativeError / half.relativeError).toBeGreaterThan(1.8);
      expect(whole.relativeError / half.relativeError).toBeLessThan(2.2);
      expect(whole.r2).toBeGreaterThan(0.99);
      expect(whole.signAgreement).toBeGreaterThan(0.9);
      // The error of a single change is second order; of the largest probability only while the same token
      // has it.
      const stays = ({ logp, maxProb }: analysis.ProbeExplanation) =>
        Math.abs(Math.exp(logp.before + logp.measured) - Math.exp(logp.before) - maxProb.measured) < 1e-12;
      const kept = probes.map((_, s) => s).filter((s) => stays(whole.probes[s]!) && stays(half.probes[s]!));
      expect(kept.length).toBeGreaterThan(1);
      const [e, f] = [whole, half].map(({ probes: all }) =>
        Math.hypot(
          ...kept.flatMap((s) =>
            (['maxProb', 'entropy', 'logp'] as const).map(
              (key) => all[s]![key].predicted - all[s]![key].measured,
            ),
          ),
        ),
      );
      expect(e! / f!).toBeGreaterThan(3.5);
      expect(e! / f!).toBeLessThan(4.5);
    }
  });

  it('representation is T ΔW φ, gradient T W ∂φ Δθ, their sum T times the JVP along the whole step', async () => {
    const model = await small();
    const learningRate = 0.01;
    const step = await ascent(model, learningRate);
    const result = await analysis.explainStep(model, batch, probes, { learningRate });
    const { 'lm_head.weight': head, ...body } = step;
    const [all, below] = [
      await model.jvp({ inputIds: probes }, step),
      await model.jvp({ inputIds: probes }, body),
    ];
    const { hiddenStates } = await model.forward({ inputIds: probes }, { hiddenStates: true });
    for (const [s, probe] of result.probes.entries()) {
      const phi = await last(hiddenStates![s]!);
      const moved = Float64Array.from({ length: V }, (_, v) =>
        phi.reduce((sum, x, c) => sum + x * head![v * 16 + c]!, 0),
      );
      expect(relative(probe.representation, await centre(model, probes[s]!, moved))).toBeLessThan(1e-10);
      const W = await model.getParameter('lm_head.weight');
      const tangent = await last(below.hiddenStates[s]!);
      const through = Float64Array.from({ length: V }, (_, v) =>
        tangent.reduce((sum, x, c) => sum + x * W[v * 16 + c]!, 0),
      );
      expect(relative(probe.gradient, await centre(model, probes[s]!, through))).toBeLessThan(1e-10);
      expect(probe.cross.every((x) => x === 0)).toBe(true);
      expect(
        relative(probe.predicted, await centre(model, probes[s]!, await last(all.logits[s]!))),
      ).toBeLessThan(1e-10);
      expect(
        relative(
          probe.representation.map((r, v) => r + probe.gradient[v]! + probe.cross[v]!),
          probe.predicted,
        ),
      ).toBeLessThan(1e-12);
    }
    expect(result.stepNorm).toBeCloseTo(
      Math.hypot(...Object.values(step).map((part) => Math.hypot(...part))),
      10,
    );
    expect(result).toMatchObject({ crossDefined: true, applied: false });
  });

  it('probes that continue each other share a pass and are explained as on their own, in any order and twice', async () => {
    const model = await small();
    const story = ids(12);
    const states = [
      story.slice(0, 5),
      ids(7),
      story,
      story.slice(0, 5),
      story.slice(0, 1),
      [...story.slice(0, 4), (story[4]! + 1) % V],
    ];
    const together = await analysis.explainStep(model, batch, states, { learningRate: 0.01, layers: true });
    for (const [s, state] of states.entries()) {
      const {
        probes: [alone],
      } = await analysis.explainStep(model, batch, [state], { learningRate: 0.01, layers: true });
      for (const key of ['representation', 'gradient', 'predicted', 'measured'] as const)
        expect(relative(together.probes[s]![key], alone![key])).toBeLessThan(1e-12);
      expect(together.probes[s]!.layers!.map((l) => l.change[0]!)).toEqual(
        alone!.layers!.map((l) => expect.closeTo(l.change[0]!, 12)),
      );
    }
  });

  it('layers sum to the gradient component; influences to the predicted change of the token, by component', async () => {
    const model = await small();
    const targets = [2, 7, 11];
    const result = await analysis.explainStep(model, batch, probes, {
      learningRate: 0.01,
      layers: true,
      influences: {},
      targets,
    });
    for (const [s, probe] of result.probes.entries()) {
      expect(probe.layers!.map((l) => l.name)).toEqual(['embedding', 'layer 0', 'layer 1', 'final norm']);
      expect(
        relative(
          probe.layers!.reduce((sum, l) => sum.map((x, v) => x + l.change[v]!), new Float64Array(V)),
          probe.gradient,
        ),
      ).toBeLessThan(1e-12);
      const total = (key: 'representation' | 'gradient' | 'cross' | 'total') =>
        probe.influences!.reduce((sum, i) => sum + i[key], 0);
      expect(total('representation')).toBeCloseTo(probe.representation[targets[s]!]!, 12);
      expect(total('gradient')).toBeCloseTo(probe.gradient[targets[s]!]!, 12);
      expect(total('total')).toBeCloseTo(probe.logp.predicted, 12);
      expect(probe.influences!.map((i) => Math.abs(i.total))).toEqual(
        probe.influences!.map((i) => Math.abs(i.total)).sort((a, b) => b - a),
      );
    }
    const top = await analysis.explainStep(model, batch, probes, {
      learningRate: 0.01,
      influences: { top: 1 },
      targets,
    });
    expect(top.probes[0]!.influences).toEqual(result.probes[0]!.influences!.slice(0, 1));
    const one = await analysis.explainStep(model, batch, probes, { learningRate: 0.01, layers: true });
    const { 'layers.1.attention.qkv.weight': _, ...rest } = await ascent(model, 0.01);
    expect(Object.keys(rest).length).toBe(model.parameters().length - 1);
    const onlyLayer = Object.fromEntries(
      Object.entries(await ascent(model, 0.01)).filter(([name]) => name.startsWith('layers.1.')),
    );
    expect(
      relative(
        one.probes[0]!.layers![2]!.change,
        await centre(
          model,
          probes[0]!,
          await last((await model.jvp({ inputIds: [probes[0]!] }, onlyLayer)).logits[0]!),
        ),
      ),
    ).toBeLessThan(1e-10);
  });

  it('changes no bit of weights or gradients, unless asked to apply exactly what it measured', async () => {
    const model = await small();
    await model.accumulateGradients([batch[0]!], {
      loss: 'coefficients',
      coefficients: new Float32Array(5).fill(1),
    });
    const gradient = await model.getGradient('layers.0.mlp.up.weight');
    const before = await weightsOf(model);
    const {
      probes: [first],
    } = await analysis.explainStep(model, batch, probes, { learningRate: 0.1, layers: true, influences: {} });
    expect(await weightsOf(model)).toEqual(before);
    expect(await model.getGradient('layers.0.mlp.up.weight')).toEqual(gradient);
    const logp = (z: Float64Array) => {
      const sum = Math.log(z.reduce((s, x) => s + Math.exp(x), 0));
      return z.map((x) => x - sum);
    };
    const old = logp(await last((await model.forward({ inputIds: [probes[0]!] })).logits![0]!));
    const applied = await analysis.explainStep(model, batch, probes, { learningRate: 0.1, apply: true });
    expect(applied.applied).toBe(true);
    expect(applied.probes[0]!.measured).toEqual(first!.measured);
    const now = logp(await last((await model.forward({ inputIds: [probes[0]!] })).logits![0]!));
    expect(
      relative(
        first!.measured,
        now.map((l, v) => l - old[v]!),
      ),
    ).toBeLessThan(1e-12);
  });

  it('moves only what trains, and nothing with zero advantages', async () => {
    const model = await small();
    model.setTrainable('classifier');
    const head = await analysis.explainStep(model, batch, probes, { learningRate: 0.01, influences: {} });
    expect(
      head.probes.every(
        (p) => p.gradient.every((x) => x === 0) && p.influences!.every((i) => i.gradient === 0),
      ),
    ).toBe(true);
    expect(head.probes[0]!.representation.some((x) => x !== 0)).toBe(true);
    model.setTrainable('all');
    const still = await analysis.explainStep(
      model,
      batch.map((s) => ({ ...s, advantage: 0 })),
      probes,
      { learningRate: 1 },
    );
    expect(still).toMatchObject({ relativeError: 0, r2: 1, signAgreement: 1, stepNorm: 0 });
    expect(
      still.probes.every((p) => p.predicted.every((x) => x === 0) && p.measured.every((x) => x === 0)),
    ).toBe(true);
  });
});

describe('other updates', () => {
  it('adam: the optimizer’s own step, which stays where it was', async () => {
    const model = await small();
    const optimizer = new AdamW(model, { betas: [0.8, 0.9], weightDecay: 0.01 });
    const coefficients = new Float32Array(5).fill(1);
    await model.accumulateGradients([batch[0]!], { loss: 'coefficients', coefficients });
    await optimizer.step({ learningRate: 1e-4 });
    const state = await optimizer.state();
    const before = await weightsOf(model);
    const result = await analysis.explainStep(model, batch, probes, {
      learningRate: 1e-4,
      update: 'adam',
      optimizer,
    });
    expect(result.relativeError).toBeLessThan(0.08);
    expect(await optimizer.state()).toEqual(state);
    expect(await weightsOf(model)).toEqual(before);
    await model.accumulateGradients(batch, {
      loss: 'coefficients',
      coefficients: Float32Array.from(
        batch.flatMap((s) =>
          new Array<number>(s.inputIds.length - s.scoreFrom).fill(s.advantage / batch.length),
        ),
      ),
    });
    await optimizer.step({ learningRate: 1e-4 });
    const step = Object.fromEntries(
      (await weightsOf(model)).map(([name, w], p) => [name, w.map((x, i) => x - before[p]![1][i]!)]),
    );
    for (const [name, w] of before) await model.setParameter(name, w);
    const given = await analysis.explainStep(model, [], probes, { update: step });
    for (const s of probes.keys()) {
      expect(relative(result.probes[s]!.predicted, given.probes[s]!.predicted)).toBeLessThan(1e-6);
      expect(relative(result.probes[s]!.measured, given.probes[s]!.measured)).toBeLessThan(1e-6);
    }
    await expect(
      analysis.explainStep(model, batch, probes, { update: 'adam', learningRate: 1e-4, influences: {} }),
    ).rejects.toThrow('gradient');
  });
});

describe('a tied model (gpt2)', async () => {
  const load = () => Model.fromPretrained(golden('gpt2'), { context: fp64 });
  const width = (await load()).spec.vocabSize;
  const tiedBatch = batch.map((s) => ({ ...s, inputIds: s.inputIds.map((id) => id % width) }));
  const tiedProbes = probes.map((p) => p.map((id) => (id * 3) % width));

  it('cross is exact: the total is the JVP along the tied step, each component that of the untied gradients', async () => {
    const [model, untied] = [
      await load(),
      await Model.fromPretrained(golden('gpt2'), { context: fp64, untieClassifier: true }),
    ];
    const learningRate = 1e-3;
    const result = await analysis.explainStep(model, tiedBatch, tiedProbes, { learningRate, influences: {} });
    expect(result.crossDefined).toBe(true);
    // Gradients by use from the checkpoint loaded untied.
    const N = tiedBatch.length;
    const step: Record<string, Float64Array> = Object.fromEntries(
      untied.parameters().map((p) => [p.name, new Float64Array(p.size)]),
    );
    for (const sample of tiedBatch) {
      await untied.zeroGradients();
      await untied.accumulateGradients([sample], {
        loss: 'coefficients',
        coefficients: new Float32Array(sample.inputIds.length - sample.scoreFrom).fill(-1),
      });
      for (const { name } of untied.parameters())
        (await untied.getGradient(name)).forEach(
          (g, i) => (step[name]![i]! += (learningRate * sample.advantage * g) / N),
        );
    }
    const [head, embedding] = [
      untied.parameters((p) => p.role === 'classifier')[0]!.name,
      untied.parameters((p) => p.role === 'embedding')[0]!.name,
    ];
    const { [head]: classifierMove, ...body } = step;
    const along = async (m: Model, tangents: Record<string, Float64Array>, s: number) =>
      centre(
        untied,
        tiedProbes[s]!,
        await last((await m.jvp({ inputIds: [tiedProbes[s]!] }, tangents)).logits[0]!),
      );
    const tiedName = model.parameters((p) => p.role === 'embedding')[0]!.name;
    const { [embedding]: embeddingMove, ...others } = body;
    for (const [s, probe] of result.probes.entries()) {
      expect(
        relative(probe.representation, await along(untied, { [head]: classifierMove! }, s)),
      ).toBeLessThan(1e-10);
      expect(relative(probe.gradient, await along(untied, body, s))).toBeLessThan(1e-10);
      expect(
        relative(
          probe.cross,
          await along(untied, { [head]: embeddingMove!, [embedding]: classifierMove! }, s),
        ),
      ).toBeLessThan(1e-10);
      const tied = await along(
        model,
        { ...others, [tiedName]: embeddingMove!.map((x, i) => x + classifierMove![i]!) },
        s,
      );
      expect(relative(probe.predicted, tied)).toBeLessThan(1e-10);
      expect(probe.cross.some((x) => Math.abs(x) > 1e-3 * Math.max(...probe.predicted.map(Math.abs)))).toBe(
        true,
      );
      for (const key of ['representation', 'gradient', 'cross'] as const)
        expect(probe.influences!.reduce((sum, i) => sum + i[key], 0)).toBeCloseTo(
          probe[key][probe.target]!,
          11,
        );
    }
    const half = await analysis.explainStep(model, tiedBatch, tiedProbes, { learningRate: learningRate / 2 });
    expect(result.relativeError / half.relativeError).toBeGreaterThan(1.8);
    expect(result.relativeError / half.relativeError).toBeLessThan(2.2);
  });

  it('has no cross for a step without a source, and says so; the total is the same', async () => {
    const model = await load();
    const before = await weightsOf(model);
    const {
      probes: [gradient],
    } = await analysis.explainStep(model, tiedBatch, tiedProbes, { learningRate: 1e-3 });
    const copy = await model.clone();
    await analysis.explainStep(copy, tiedBatch, tiedProbes, { learningRate: 1e-3, apply: true });
    const step = Object.fromEntries(
      (await weightsOf(copy)).map(([name, w], p) => [name, w.map((x, i) => x - before[p]![1][i]!)]),
    );
    const given = await analysis.explainStep(model, [], tiedProbes, { update: step });
    expect(given.crossDefined).toBe(false);
    expect(given.probes[0]!.cross.every((x) => x === 0)).toBe(true);
    expect(relative(given.probes[0]!.predicted, gradient!.predicted)).toBeLessThan(1e-8);
    expect(given.probes[0]!.representation).not.toEqual(gradient!.representation);
    expect(await weightsOf(model)).toEqual(before);
  });
});

describe('float32 and bad input', () => {
  it('float32 agrees with float64', async () => {
    const [exact, single] = [await small(), await small(await createContext())];
    const [a, b] = await Promise.all(
      [exact, single].map((model) => analysis.explainStep(model, batch, probes, { learningRate: 0.01 })),
    );
    for (const s of probes.keys())
      for (const key of ['representation', 'gradient', 'predicted'] as const)
        expect(relative(b!.probes[s]![key], a!.probes[s]![key])).toBeLessThan(1e-5);
    expect(b!.relativeError).toBeCloseTo(a!.relativeError, 3);
  });

  it('refuses, naming what is wrong', async () => {
    const model = await small();
    const refused = async (code: string, text: string, ...[b, p, o]: [typeof batch, number[][], object]) => {
      const error = await analysis.explainStep(model, b, p, { learningRate: 0.1, ...o }).then(
        () => {
          throw new Error('nothing was thrown');
        },
        (e: Error & { code: string }) => e,
      );
      expect(error.message).toContain(text);
      expect(error.code).toBe(code);
    };
    await refused('ERR_INVALID_ARG', 'probes must not be empty', batch, [], {});
    await refused(
      'ERR_INVALID_ARG',
      "probes[1] has 13 tokens, but the model's context is 12",
      batch,
      [[1], ids(13)],
      {},
    );
    await refused('ERR_INVALID_ARG', 'probes[0] is empty', batch, [[]], {});
    await refused('ERR_INVALID_ARG', 'batch must not be empty', [], probes, {});
    await refused('ERR_INVALID_ARG', 'batch[0].advantage', [{ ...batch[0]!, advantage: NaN }], probes, {});
    await refused('ERR_INVALID_ARG', 'scoreFrom', [{ ...batch[0]!, scoreFrom: 8 }], probes, {});
    await refused('ERR_INVALID_ARG', 'learningRate', batch, probes, { learningRate: undefined });
    await refused('ERR_INVALID_ARG', "Did you mean 'layers'?", batch, probes, { layer: true });
    await refused('ERR_INVALID_ARG', 'lm_head.wight', batch, probes, {
      update: { 'lm_head.wight': new Float64Array(1) },
    });
    await refused('ERR_SHAPE', 'targets', batch, probes, { targets: [1] });
    const broken = await model.clone();
    await broken.setParameter('norm.weight', new Float64Array(16).fill(Number.NaN));
    await expect(analysis.explainStep(broken, batch, probes, { learningRate: 0.1 })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG',
    });
    const controller = new AbortController();
    controller.abort(new Error('enough'));
    await expect(
      analysis.explainStep(model, batch, probes, { learningRate: 0.1, signal: controller.signal }),
    ).rejects.toThrow('enough');
  });
});
