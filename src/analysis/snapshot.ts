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
import type { ChangeOf, Explanation, Influence, ProbeExplanation } from './explanation.js';
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
  if (options.after) checkSameModel(model, options.after);
  const samples = given.filter(({ inputIds }) => inputIds.length <= model.spec.maxPositions);
  const used = samples.slice(0, options.kernelSamples ?? 32);
  const problems = problemsOf(model, given.length, samples.length, used.length);
  if (samples.length === 0) return { samples: [], kernels: [], cosines: [], figures: [], problems };
  const kernels = used.length > 0 ? await kernelsOf(model, used, options) : [];
  const features = await featuresOf(model, samples, options);
  const states = statesOf(samples, options.states ?? 64);
  const step = states.length > 0 ? await stepOf(model, samples, states, options) : undefined;
  return {
    samples: samples.map(
      (sample, i) => sample.label ?? `#${i} ${oneLine(textOf(model, sample.inputIds)).trim()}`,
    ),
    kernels,
    ...features,
    ...(step ? { step } : {}),
    problems,
  };
}

const oneLine = (text: string) => text.replace(/\s+/g, ' ');
const textOf = (model: Model, ids: readonly number[]) =>
  model.hasTokenizer ? model.tokenizer.decode([...ids]) : ids.join(' ');

/** What of the samples is left out, as sentences. */
function problemsOf(model: Model, given: number, fitting: number, used: number): string[] {
  const problems: string[] = [];
  const long = given - fitting;
  const [were, them] = long === 1 ? ['was', 'it'] : ['were', 'them'];
  if (long > 0)
    problems.push(
      `${plural(long, 'sample')} longer than the model’s context of ${model.spec.maxPositions} tokens ` +
        `${were} left out; shorten ${them}.`,
    );
  if (fitting === 0)
    problems.push(
      'There are no samples to analyse: nothing can be drawn. Give a file of samples that fit the model’s context.',
    );
  if (used > 0 && used < fitting)
    problems.push(`The kernel is that of the first ${used} of ${fitting} samples.`);
  return problems;
}

/** The kernel by component, each with its spectrum. */
async function kernelsOf(
  model: Model,
  samples: readonly SnapshotSample[],
  { signal, onPhase }: SnapshotOptions,
): Promise<Snapshot['kernels']> {
  const { shape, ...components } = await decompose(model, samples, null, {
    signal,
    onProgress: (done, total) => onPhase?.('kernel', done, total),
  });
  const n = shape[0]!;
  const traceOf = (kernel: Float64Array) => samples.reduce((sum, _, i) => sum + kernel[i * n + i]!, 0);
  const kernels: Snapshot['kernels'][number][] = [];
  for (const [name, kernel] of Object.entries(components)) {
    if (name === 'cross' && kernel.every((x) => x === 0)) continue;
    const { eigenvalues, effectiveRank } = await spectrum({ kernel, shape }, { signal });
    kernels.push({
      name,
      rows: samples.map((_, i) => [...kernel.subarray(i * n, (i + 1) * n)]),
      eigenvalues: [...eigenvalues],
      effectiveRank,
      share: traceOf(kernel) / traceOf(components.total),
    });
  }
  return kernels;
}

/**
 * How alike features are, how sure the policy is, how large the classifier is, and with a pair what moved.
 */
async function featuresOf(
  model: Model,
  samples: readonly SnapshotSample[],
  { after, signal, onPhase }: SnapshotOptions,
): Promise<Pick<Snapshot, 'cosines' | 'figures'>> {
  const measures = after ? 3 : 2;
  onPhase?.('features', 0, measures);
  const similarity = await featureSimilarity(model, samples, { signal });
  onPhase?.('features', 1, measures);
  const sure = await confidence(model, samples, { signal });
  onPhase?.('features', 2, measures);
  const norm = await classifierNorm(after ?? model, after ? model : undefined);
  const moved = after ? await featureDrift(model, after, samples, { signal }) : undefined;
  if (after) onPhase?.('features', 3, measures);

  const figures = [
    { name: 'maxProb', value: sure.maxProb },
    { name: 'entropy', value: sure.entropy },
    { name: 'meanCosine', value: similarity.across.meanCosine },
    { name: 'positiveCosines', value: similarity.across.positive },
    { name: 'classifierNorm', value: norm.frobenius },
  ];
  if (norm.relativeMoved !== undefined) figures.push({ name: 'classifierMoved', value: norm.relativeMoved });
  if (moved) figures.push({ name: 'featureDrift', value: moved.relative });
  const cosines = similarity.byPosition
    .filter((p) => p.pairs > 0)
    .map(({ position, pairs, meanCosine, positive, histogram }) => ({
      position,
      pairs,
      mean: meanCosine,
      positive,
      histogram: [...histogram],
    }));
  return { cosines, figures };
}

type States = readonly (readonly number[])[];

/** Plain ascent on the samples, or the move to the second checkpoint, explained at some states. */
async function stepOf(
  model: Model,
  samples: readonly SnapshotSample[],
  states: States,
  { after, learningRate = 1e-3, signal, onPhase }: SnapshotOptions,
): Promise<Snapshot['step']> {
  onPhase?.('step', 0, states.length);
  const batch = after ? [] : samples.map((s) => ({ ...s, advantage: s.advantage ?? 1 }));
  const update = after ? await moveOf(model, after) : ('gradient' as const);
  const explained = await explainStep(model, batch, states, {
    update,
    layers: true,
    signal,
    onProgress: (done, total) => onPhase?.('step', Math.floor((states.length * done) / total), states.length),
    ...(after ? {} : { learningRate, influences: { top: 3 } }),
  });
  onPhase?.('step', states.length, states.length);
  const { relativeError, r2, signAgreement, entropy, maxProb } = explained;
  return {
    kind: after ? 'pair' : 'ascent',
    ...(after ? {} : { learningRate }),
    states: states.length,
    relativeError,
    r2,
    signAgreement,
    entropy,
    maxProb,
    points: pointsOf(explained),
    parts: partsOf(explained),
    probes: shownProbes(model, states, explained),
  };
}

type Step = NonNullable<Snapshot['step']>;

/** Predicted and measured changes, thinned out evenly. */
function pointsOf({ probes }: Explanation): Step['points'] {
  const pairs = probes.flatMap((p) => Array.from(p.predicted, (x, v) => [x, p.measured[v]!] as const));
  const count = Math.min(POINTS, pairs.length);
  return Array.from({ length: count }, (_, i) => pairs[Math.floor((i * pairs.length) / count)]!);
}

/** How large each part of the predicted change is. */
function partsOf({ probes }: Explanation): Step['parts'] {
  const size = (pick: (probe: ProbeExplanation) => Float64Array) =>
    Math.sqrt(probes.reduce((sum, p) => sum + pick(p).reduce((s, x) => s + x * x, 0), 0));
  const whole = size((p) => p.predicted);
  const components = (['representation', 'gradient', 'cross'] as const)
    .map((name) => ({ name: name as string, share: size((p) => p[name]) / whole }))
    .filter(({ share }) => share > 0);
  const layers = probes[0]!.layers!.map(({ name }, l) => ({
    name: `gradient: ${name}`,
    share: size((p) => p.layers![l]!.change) / whole,
  }));
  return [...components, ...layers];
}

/** Some states, spread evenly. Completions of one prompt have states in common: each is shown once. */
function shownProbes(model: Model, states: States, { probes }: Explanation): Step['probes'] {
  const distinct = [...new Map(states.map((ids, i) => [ids.join(), i] as const)).values()];
  const every = Math.max(1, Math.floor(distinct.length / SHOWN_PROBES));
  return distinct
    .filter((_, i) => i % every === 0)
    .slice(0, SHOWN_PROBES)
    .map((i) => {
      const { target, logp, influences = [] } = probes[i]!;
      return {
        label: oneLine(textOf(model, states[i]!)).slice(-32),
        token: textOf(model, [target]),
        predicted: logp.predicted,
        measured: logp.measured,
        influences,
      };
    });
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
