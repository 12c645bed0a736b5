/**
 * snapshot: what a report draws, in agreement with the functions it is made of; bad input is said and left
 * out.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { analysis, createContext, Model, ntk } from '../../src/index.js';
import { report } from '../../src/report/index.js';
import { temporaryDirectory } from '../helpers/files.js';
import { Random } from '../helpers/random.js';

const context = await createContext({ math: 'fp64' });
const V = 11;
async function small(seed = 5): Promise<Model> {
  const model = await Model.fromConfig(
    {
      model_type: 'gpt',
      vocab_size: V,
      hidden_size: 16,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      max_position_embeddings: 10,
    },
    { context, seed },
  );
  await model.setParameter('lm_head.weight', new Random(1).normal([V * 16], 0.4).data);
  return model;
}
const random = new Random(3);
const sample = (length: number) => ({
  inputIds: Array.from({ length }, () => random.integer(0, V)),
  scoreFrom: 2,
  advantage: random.uniform() - 0.5,
});
const samples = Array.from({ length: 6 }, (_, i) => sample(5 + (i % 4)));

describe('analysis.snapshot', () => {
  it('has the kernel by component, its spectra, cosines that count every pair, and a step that first order explains', async () => {
    const model = await small();
    const s = await analysis.snapshot(model, samples, { kernelSamples: 4, states: 10, learningRate: 1e-3 });
    const { total, representation, gradient } = await ntk.decompose(model, samples.slice(0, 4));
    expect(s.kernels.map((k) => k.name)).toEqual(['representation', 'gradient', 'total']);
    expect(s.kernels[2]!.rows.flat()).toEqual([...total]);
    const trace = (k: Float64Array) => [0, 5, 10, 15].reduce((sum, i) => sum + k[i]!, 0);
    expect(s.kernels[0]!.share).toBeCloseTo(trace(representation) / trace(total), 12);
    expect(s.kernels[0]!.share + s.kernels[1]!.share).toBeCloseTo(1, 12);
    expect(s.kernels[1]!.eigenvalues.reduce((a, b) => a + b, 0)).toBeCloseTo(trace(gradient), 10);
    for (const { pairs, histogram } of s.cosines) expect(histogram.reduce((a, b) => a + b, 0)).toBe(pairs);
    expect(s.cosines[0]!.pairs).toBe(15);
    expect(s.step).toMatchObject({ kind: 'ascent', states: 10 });
    expect(s.step!.relativeError).toBeLessThan(0.02);
    expect(s.step!.points).toHaveLength(10 * V);
    expect(s.step!.probes.every((p) => p.influences.length === 3)).toBe(true);
    expect(s.problems).toEqual(['The kernel is that of the first 4 of 6 samples.']);
    expect(s.samples[1]).toBe(`#1 ${samples[1]!.inputIds.join(' ')}`);
  });

  it('shows a state that several samples share once, and tells how far it is', async () => {
    const phases: string[] = [];
    const s = await analysis.snapshot(
      await small(),
      samples.flatMap((sample) => [sample, sample]),
      {
        kernelSamples: 4,
        states: 100,
        onPhase: (phase, done, total) => void (done === total && phases.push(phase)),
      },
    );
    const shown = s.step!.probes.map((p) => p.label);
    expect(shown.length).toBeGreaterThan(4);
    expect(new Set(shown).size).toBe(shown.length);
    expect([...new Set(phases)]).toEqual(['kernel', 'features', 'step']);
  });

  it('of a pair explains the move between the two', async () => {
    const [before, after] = [await small(), await small()];
    const weights = await after.getParameter('layers.0.mlp.up.weight');
    await after.setParameter(
      'layers.0.mlp.up.weight',
      weights.map((w) => w + 1e-4 * random.gauss()),
    );
    const s = await analysis.snapshot(before, samples, { after, kernelSamples: 0 });
    expect(s.step!.kind).toBe('pair');
    expect(s.step!.entropy.representation).toBeCloseTo(0, 14);
    expect(s.step!.relativeError).toBeLessThan(0.01);
    expect(s.figures.map((f) => f.name)).toContain('featureDrift');
    expect([s.kernels, s.problems]).toEqual([[], []]);
    const other = await Model.fromConfig(
      {
        model_type: 'gpt',
        vocab_size: V,
        hidden_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        max_position_embeddings: 10,
      },
      { context, seed: 1 },
    );
    await expect(analysis.snapshot(before, samples, { after: other, kernelSamples: 0 })).rejects.toThrow(
      "analysis.snapshot: after must be a checkpoint of the same model; 'embed.weight' is [11, 16] in the first and [11, 8] in the second",
    );
  });

  it.each([
    [
      'samples longer than the context',
      [...samples, { ...sample(10), inputIds: new Array<number>(30).fill(1) }],
      '1 sample longer than the model’s context of 10 tokens was left out; shorten it.',
    ],
    ['no samples', [], 'There are no samples to analyse: nothing can be drawn.'],
  ])('%s are said in the report, which is a page', async (_, given, said) => {
    const directory = join(temporaryDirectory(), 'a');
    mkdirSync(directory);
    writeFileSync(
      join(directory, 'analysis.json'),
      JSON.stringify(await analysis.snapshot(await small(), given)),
    );
    await report.write(directory, join(directory, 'report.html'));
    expect(readFileSync(join(directory, 'report.html'), 'utf8')).toContain(said);
    expect(report.terminal(directory)).toContain(`note: ${said}`);
  });
});
