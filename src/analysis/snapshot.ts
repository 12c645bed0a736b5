/**
 * One checkpoint, or a pair, as plain numbers for a report: the kernel of samples by component, its spectra,
 * cosines of features by position, and a step explained. With one checkpoint the step is plain ascent on the
 * samples (advantage 1 where none is given: their likelihood); with a pair it is the whole move from the
 * first to the second, which is first-order only as far as it is small.
 */
import { check, checkOptions, func, natural, nonNegative, type Rules, SIGNAL } from '../core/check.js';
import type { JobOptions } from '../core/job.js';
import { fail } from '../errors.js';
import { checkSamples, type Sample } from '../model/batch.js';
import { type Model, modelRule } from '../model/model.js';
import { decompose } from '../ntk/gram.js';
import { classifierNorm } from './classifier.js';
import { confidence } from './confidence.js';
import { explainStep } from './explain.js';
import type { ChangeOf, Influence } from './explanation.js';
import { featureDrift, featureSimilarity } from './features.js';
import { statesOf, weightsOf } from './record.js';
import { spectrum } from './spectrum.js';

/**
 * A sample, with the advantage that the plain step gives it (default 1: its likelihood rises) and a label for
 * figures (default: its text).
 */
export type SnapshotSample = Sample & { readonly advantage?: number; readonly label?: string };

/** What snapshot() looks at. */
export interface SnapshotOptions extends Pick<JobOptions, 'signal'> {
  /** The checkpoint that `model` became. */
  readonly after?: Model;
  /** η of the plain step; unused with `after`. Default 1e-3. */
  readonly learningRate?: number;
  /** Samples in the kernel: the first so many. Default 32. */
  readonly kernelSamples?: number;
  /** States the step is explained at. Default 64. */
  readonly states?: number;
  readonly onPhase?: (phase: 'kernel' | 'features' | 'step', done: number, total: number) => void;
}

/** Plain numbers for a report: `headfirst analyze` writes them as analysis.json. */
export interface Snapshot {
  /** Labels of those that fit the context; the kernels are of the first ones. */
  readonly samples: readonly string[];
  /** By component, a zero cross term left out: the matrix, its spectrum, and its trace over the total's. */
  readonly kernels: readonly {
    readonly name: string;
    readonly rows: readonly (readonly number[])[];
    readonly eigenvalues: readonly number[];
    readonly effectiveRank: number;
    readonly share: number;
  }[];
  /**
   * Of features at equal positions in different samples: mean, share above 0, and counts in equal bins over
   * [−1, 1].
   */
  readonly cosines: readonly {
    readonly position: number;
    readonly pairs: number;
    readonly mean: number;
    readonly positive: number;
    readonly histogram: readonly number[];
  }[];
  /** Absent when there is no state to explain it at. */
  readonly step?: {
    readonly kind: 'ascent' | 'pair';
    readonly learningRate?: number;
    readonly states: number;
    readonly relativeError: number;
    readonly r2: number;
    readonly signAgreement: number;
    readonly entropy: ChangeOf;
    readonly maxProb: ChangeOf;
    /** Predicted and measured Δ log π, thinned out evenly to at most 600. */
    readonly points: readonly (readonly [number, number])[];
    /** ‖·‖ of each part of the predicted change over that of the whole. */
    readonly parts: readonly { readonly name: string; readonly share: number }[];
    /** The likeliest token at some states and the samples that move it most. */
    readonly probes: readonly {
      readonly label: string;
      readonly token: string;
      readonly predicted: number;
      readonly measured: number;
      readonly influences: readonly Influence[];
    }[];
  };
  readonly figures: readonly { readonly name: string; readonly value: number }[];
  /** What could not be analysed, as sentences. */
  readonly problems: readonly string[];
}

const OPTIONS: Rules = {
  ...SIGNAL,
  after: modelRule,
  learningRate: nonNegative,
  kernelSamples: natural,
  states: natural,
  onPhase: func,
};
const SHOWN_PROBES = 8;
const POINTS = 600;
const plural = (n: number, noun: string) => `${n} ${noun}${n === 1 ? '' : 's'}`;

/**
 * One checkpoint, or with `after` a pair, in numbers: the kernel of the samples by component with its
 * spectra, cosines of features by position, and a step explained: plain ascent on the samples, or with
 * `after` the whole move between the two, which is first-order only as far as it is small. What cannot be
 * analysed (samples longer than the context) is said in `problems`.
 * @throws ERR_INVALID_ARG (options, token ids), ERR_SHAPE when `after` is another architecture.
 */
export async function snapshot(
  model: Model,
  given: readonly SnapshotSample[],
  options: SnapshotOptions = {},
): Promise<Snapshot> {
  const caller = 'analysis.snapshot';
  check(caller, 'model', model, modelRule);
  checkSamples(caller, given);
  checkOptions(caller, options, OPTIONS);
  const { after, learningRate = 1e-3, kernelSamples = 32, states: count = 64, signal, onPhase } = options;
  if (after) checkSameModel(model, after);
  const problems: string[] = [];
  const limit = model.spec.maxPositions;
  const samples = given.filter(({ inputIds }) => inputIds.length <= limit);
  const long = given.length - samples.length;
  if (long > 0)
    problems.push(
      `${plural(long, 'sample')} longer than the model’s context of ${limit} tokens ${long === 1 ? 'was' : 'were'} left out; shorten ${long === 1 ? 'it' : 'them'}.`,
    );
  if (samples.length === 0)
    problems.push(
      'There are no samples to analyse: nothing can be drawn. Give a file of samples that fit the model’s context.',
    );
  const text = (ids: readonly number[]) =>
    model.hasTokenizer ? model.tokenizer.decode([...ids]) : ids.join(' ');
  const labels = samples.map(
    (sample, i) => sample.label ?? `#${i} ${text(sample.inputIds).replace(/\s+/g, ' ').trim()}`,
  );
  if (samples.length === 0) return { samples: [], kernels: [], cosines: [], figures: [], problems };

  const used = samples.slice(0, kernelSamples);
  if (used.length > 0 && used.length < samples.length)
    problems.push(`The kernel is that of the first ${used.length} of ${samples.length} samples.`);
  const kernels: Snapshot['kernels'][number][] = [];
  if (used.length > 0) {
    const { shape, ...components } = await decompose(model, used, null, {
      signal,
      onProgress: (done, total) => onPhase?.('kernel', done, total),
    });
    const n = shape[0]!;
    const traceOf = (k: Float64Array) => used.reduce((sum, _, i) => sum + k[i * n + i]!, 0);
    for (const [name, kernel] of Object.entries(components)) {
      if (name === 'cross' && kernel.every((x) => x === 0)) continue;
      const { eigenvalues, effectiveRank } = await spectrum({ kernel, shape }, { signal });
      kernels.push({
        name,
        rows: used.map((_, i) => [...kernel.subarray(i * n, (i + 1) * n)]),
        eigenvalues: [...eigenvalues],
        effectiveRank,
        share: traceOf(kernel) / traceOf(components.total),
      });
    }
  }
  const measures = after ? 3 : 2;
  onPhase?.('features', 0, measures);
  const similarity = await featureSimilarity(model, samples, { signal });
  onPhase?.('features', 1, measures);
  const sure = await confidence(model, samples, { signal });
  onPhase?.('features', 2, measures);
  const norm = await classifierNorm(after ?? model, after ? model : undefined);
  const moved = after ? await featureDrift(model, after, samples, { signal }) : undefined;
  if (after) onPhase?.('features', 3, measures);

  const states = statesOf(samples, count);
  let step: Snapshot['step'];
  if (states.length > 0) {
    onPhase?.('step', 0, states.length);
    const update = after ? await moveOf(model, after) : ('gradient' as const);
    const e = await explainStep(
      model,
      after ? [] : samples.map((s) => ({ ...s, advantage: s.advantage ?? 1 })),
      states,
      {
        update,
        layers: true,
        signal,
        onProgress: (done, total) =>
          onPhase?.('step', Math.floor((states.length * done) / total), states.length),
        ...(after ? {} : { learningRate, influences: { top: 3 } }),
      },
    );
    const pairs = e.probes.flatMap((p) => Array.from(p.predicted, (x, v) => [x, p.measured[v]!] as const));
    const size = (pick: (p: (typeof e.probes)[number]) => Float64Array) =>
      Math.sqrt(e.probes.reduce((sum, p) => sum + pick(p).reduce((s, x) => s + x * x, 0), 0));
    const whole = size((p) => p.predicted);
    onPhase?.('step', states.length, states.length);
    // Completions of one prompt have states in common: each is shown once.
    const distinct = [...new Map(states.map((ids, i) => [ids.join(), i] as const)).values()];
    const every = Math.max(1, Math.floor(distinct.length / SHOWN_PROBES));
    step = {
      kind: after ? 'pair' : 'ascent',
      ...(after ? {} : { learningRate }),
      states: states.length,
      relativeError: e.relativeError,
      r2: e.r2,
      signAgreement: e.signAgreement,
      entropy: e.entropy,
      maxProb: e.maxProb,
      points: Array.from(
        { length: Math.min(POINTS, pairs.length) },
        (_, i) => pairs[Math.floor((i * pairs.length) / Math.min(POINTS, pairs.length))]!,
      ),
      parts: [
        ...(['representation', 'gradient', 'cross'] as const)
          .map((name) => ({ name: name as string, share: size((p) => p[name]) / whole }))
          .filter(({ share }) => share > 0),
        ...e.probes[0]!.layers!.map(({ name }, l) => ({
          name: `gradient: ${name}`,
          share: size((p) => p.layers![l]!.change) / whole,
        })),
      ],
      probes: distinct
        .filter((_, i) => i % every === 0)
        .slice(0, SHOWN_PROBES)
        .map((i) => {
          const { target, logp, influences = [] } = e.probes[i]!;
          return {
            label: text(states[i]!).replace(/\s+/g, ' ').slice(-32),
            token: text([target]),
            predicted: logp.predicted,
            measured: logp.measured,
            influences,
          };
        }),
    };
  }
  return {
    samples: labels,
    kernels,
    cosines: similarity.byPosition
      .filter((p) => p.pairs > 0)
      .map(({ position, pairs, meanCosine, positive, histogram }) => ({
        position,
        pairs,
        mean: meanCosine,
        positive,
        histogram: [...histogram],
      })),
    ...(step ? { step } : {}),
    figures: [
      { name: 'maxProb', value: sure.maxProb },
      { name: 'entropy', value: sure.entropy },
      { name: 'meanCosine', value: similarity.across.meanCosine },
      { name: 'positiveCosines', value: similarity.across.positive },
      { name: 'classifierNorm', value: norm.frobenius },
      ...(norm.relativeMoved === undefined ? [] : [{ name: 'classifierMoved', value: norm.relativeMoved }]),
      ...(moved ? [{ name: 'featureDrift', value: moved.relative }] : []),
    ],
    problems,
  };
}

/** @throws ERR_SHAPE */
function checkSameModel(before: Model, after: Model): void {
  const shapes = ({ spec }: Model) =>
    new Map(spec.parameters.map(({ name, shape }) => [name, `[${shape.join(', ')}]`]));
  const [from, to] = [shapes(before), shapes(after)];
  for (const name of new Set([...from.keys(), ...to.keys()]))
    if (from.get(name) !== to.get(name))
      fail(
        'ERR_SHAPE',
        `analysis.snapshot: after must be a checkpoint of the same model; '${name}' is ${from.get(name) ?? 'not'} in the first and ${to.get(name) ?? 'not'} in the second`,
      );
}

async function moveOf(before: Model, after: Model): Promise<Record<string, Float64Array>> {
  const [from, to] = [await weightsOf(before), await weightsOf(after)];
  return Object.fromEntries(
    Object.entries(from).map(([name, weights]) => {
      const now = to[name]!;
      return [name, Float64Array.from(weights, (w, i) => now[i]! - w)];
    }),
  );
}
