/**
 * The features φ(s) after the final norm, at the states s of samples: inputIds[<t], t ≥ scoreFrom. Position l
 * is the number of scored tokens a state already has: 0 = the prompt alone.
 */
import { check, checkOptions, count, JOB, nonEmptyList, type Rules } from '../core/check.js';
import type { JobOptions } from '../core/job.js';
import { fail } from '../errors.js';
import type { Sample } from '../model/batch.js';
import { type Model, modelRule } from '../model/model.js';
import { dot, norm } from './matrix.js';

const SIMILARITY: Rules = { ...JOB, bins: count };

interface States {
  /** [states, d], samples one after the other. */
  readonly phi: Float64Array;
  readonly width: number;
  readonly sample: readonly number[];
  readonly position: readonly number[];
}

async function statesOf(
  caller: string,
  model: Model,
  samples: readonly Sample[],
  job?: JobOptions,
): Promise<States> {
  check(caller, 'model', model, modelRule);
  check(caller, 'samples', samples, nonEmptyList);
  const tensor = await model.features(samples, job);
  const phi = Float64Array.from(await tensor.data());
  tensor.dispose();
  const states = samples.flatMap(({ inputIds, scoreFrom }, s) =>
    Array.from({ length: inputIds.length - scoreFrom }, (_, l) => [s, l] as const),
  );
  return {
    phi,
    width: model.spec.hiddenSize,
    sample: states.map(([s]) => s),
    position: states.map(([, l]) => l),
  };
}

/** Of the inner products ⟨φ, φ′⟩ of pairs of different states. */
export interface PairStatistics {
  readonly pairs: number;
  /** Mean, standard deviation and extremes of the cosines. NaN without pairs. */
  readonly meanCosine: number;
  readonly stdCosine: number;
  readonly minCosine: number;
  readonly maxCosine: number;
  /** Share of pairs with ⟨φ, φ′⟩ > 0. */
  readonly positive: number;
}

class Accumulator {
  #n = 0;
  #sum = 0;
  #squares = 0;
  #positive = 0;
  #min = Infinity;
  #max = -Infinity;
  readonly histogram: Int32Array | undefined;
  constructor(bins?: number) {
    this.histogram = bins ? new Int32Array(bins) : undefined;
  }
  add(cosine: number): void {
    ++this.#n;
    this.#sum += cosine;
    this.#squares += cosine * cosine;
    this.#positive += cosine > 0 ? 1 : 0;
    this.#min = Math.min(this.#min, cosine);
    this.#max = Math.max(this.#max, cosine);
    const bins = this.histogram;
    if (bins) ++bins[Math.min(Math.max(Math.floor(((cosine + 1) / 2) * bins.length), 0), bins.length - 1)]!;
  }
  get result(): PairStatistics {
    const n = this.#n;
    const mean = this.#sum / n;
    return {
      pairs: n,
      meanCosine: mean,
      stdCosine: Math.sqrt(Math.max(this.#squares / n - mean * mean, 0)),
      minCosine: n ? this.#min : NaN,
      maxCosine: n ? this.#max : NaN,
      positive: this.#positive / n,
    };
  }
}

/**
 * How alike the features φ of different states are. Position l = scored tokens a state already has; 0 = the
 * prompt alone.
 */
export interface FeatureSimilarity {
  /** Pairs of states of different samples. */
  readonly across: PairStatistics;
  /** Pairs of states of the same sample. */
  readonly within: PairStatistics;
  /** Prompts against prompts: position 0 of different samples, as the paper tabulates. */
  readonly prompts: PairStatistics;
  /** Different samples at equal positions. */
  readonly byPosition: readonly (PairStatistics & {
    readonly position: number;
    readonly states: number;
    readonly histogram: Int32Array;
  })[];
  /**
   * `across` after the mean feature of all states is taken away: what is left besides the common direction.
   */
  readonly centred: PairStatistics;
  /** Cosines of `across`, in equal bins over [−1, 1], as those of each position. */
  readonly histogram: Int32Array;
  readonly states: number;
}

/**
 * Cosines and signs of ⟨φ, φ′⟩ between the states of samples. O(states² d) time in JavaScript, O(states d)
 * memory: a few thousand states.
 * @throws ERR_INVALID_ARG as model.features.
 */
export async function featureSimilarity(
  model: Model,
  samples: readonly Sample[],
  options: JobOptions & { readonly bins?: number } = {},
): Promise<FeatureSimilarity> {
  const caller = 'analysis.featureSimilarity';
  checkOptions(caller, options, SIMILARITY);
  const { bins = 40, ...job } = options;
  const { phi, width, sample, position } = await statesOf(caller, model, samples, job);
  const m = sample.length;
  const unit = (rows: Float64Array) =>
    Array.from({ length: m }, (_, i) => {
      const row = rows.subarray(i * width, (i + 1) * width);
      const length = norm(row);
      return length > 0 ? row.map((x) => x / length) : row;
    });
  const mean = new Float64Array(width);
  phi.forEach((x, i) => (mean[i % width]! += x / m));
  const [units, centredUnits] = [unit(phi), unit(phi.map((x, i) => x - mean[i % width]!))];
  const [across, within, centred] = [new Accumulator(bins), new Accumulator(), new Accumulator()];
  const positions = Array.from({ length: Math.max(...position) + 1 }, () => new Accumulator(bins));
  for (let i = 0; i < m; ++i) {
    job.signal?.throwIfAborted();
    for (let j = i + 1; j < m; ++j) {
      const cosine = dot(units[i]!, units[j]!);
      if (sample[i] === sample[j]) {
        within.add(cosine);
        continue;
      }
      across.add(cosine);
      centred.add(dot(centredUnits[i]!, centredUnits[j]!));
      if (position[i] === position[j]) positions[position[i]!]!.add(cosine);
    }
  }
  return {
    across: across.result,
    within: within.result,
    prompts: positions[0]!.result,
    byPosition: positions.map((p, l) => ({
      position: l,
      states: position.filter((at) => at === l).length,
      ...p.result,
      histogram: p.histogram!,
    })),
    centred: centred.result,
    histogram: across.histogram!,
    states: m,
  };
}

/** How far the features φ′ of one model are from those of another, φ, at the same states. */
export interface FeatureDrift {
  /** ‖Φ′ − Φ‖ / ‖Φ‖ over all states. */
  readonly relative: number;
  /** Mean cosine between a state's features before and after. */
  readonly meanCosine: number;
  /** Mean ‖φ′‖ / ‖φ‖. */
  readonly normRatio: number;
  readonly byPosition: readonly {
    readonly position: number;
    readonly states: number;
    readonly relative: number;
    readonly meanCosine: number;
  }[];
}

/**
 * How far training moved the features of the same states. @throws ERR_SHAPE when the models' widths differ.
 */
export async function featureDrift(
  before: Model,
  after: Model,
  samples: readonly Sample[],
  job?: JobOptions,
): Promise<FeatureDrift> {
  const caller = 'analysis.featureDrift';
  check(caller, 'before', before, modelRule);
  check(caller, 'after', after, modelRule);
  if (before.spec.hiddenSize !== after.spec.hiddenSize)
    fail(
      'ERR_SHAPE',
      `${caller}: both models must have the same width, got ${before.spec.hiddenSize} and ${after.spec.hiddenSize}`,
    );
  const [a, b] = [await statesOf(caller, before, samples, job), await statesOf(caller, after, samples, job)];
  const rows = a.position.map((position, i) => {
    const [x, y] = [a, b].map((s) => s.phi.subarray(i * s.width, (i + 1) * s.width)) as [
      Float64Array,
      Float64Array,
    ];
    return {
      position,
      moved: norm(y.map((value, c) => value - x[c]!)),
      before: norm(x),
      after: norm(y),
      inner: dot(x, y),
    };
  });
  const summary = (some: typeof rows) => ({
    relative: norm(some.map((r) => r.moved)) / norm(some.map((r) => r.before)),
    meanCosine: some.reduce((sum, r) => sum + r.inner / (r.before * r.after), 0) / some.length,
  });
  return {
    ...summary(rows),
    normRatio: rows.reduce((sum, r) => sum + r.after / r.before, 0) / rows.length,
    byPosition: Array.from({ length: Math.max(...a.position) + 1 }, (_, l) => {
      const some = rows.filter((r) => r.position === l);
      return { position: l, states: some.length, ...summary(some) };
    }),
  };
}
