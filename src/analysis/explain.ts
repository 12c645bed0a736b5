/**
 * What one update does to the policy, before and after it is taken (arXiv 2601.04670, equation of the step).
 *   Δ log π(·|s) ≈ T_s Δz(s),  T_s = I − 1 π(·|s)ᵀ,  Δz = ΔW φ(s)  +  W ∂φ(s)/∂θ_φ Δθ_φ
 *                                                   representation   gradient
 * The plain update is ascent on J = (1/N) Σ_i advantage_i f_i, f_i = Σ log π of sample i's scored tokens: Δθ
 * = η ∇J. Forward mode gives the sums without any kernel; the Gram matrix gives single pairs (sample, probe).
 * A tied matrix moves by the gradients of both its uses, ΔW = ΔW_c + ΔW_e: representation takes ΔW_c φ,
 * gradient takes ΔW_e as embedding, and cross the rest, ΔW_e φ and ΔW_c as embedding. The two gradients come
 * from a twin with an untied classifier. A step that is no gradient has no such source: then cross is 0 by
 * convention. Per probe one forward and one forward-mode pass (two when tied), shared by probes that continue
 * each other; memory: the step as one float64 vector and a scratch copy of the model.
 */
import {
  check,
  checkOptions,
  count,
  finite,
  flag,
  instance,
  JOB,
  list,
  nonNegative,
  object,
  rule,
  type Rules,
} from '../core/check.js';
import { type JobOptions, runJob } from '../core/job.js';
import { Tensor } from '../core/tensor.js';
import { fail } from '../errors.js';
import { checkSamples, type PackedPrefixes, packPrefixes, type Sample } from '../model/batch.js';
import { flatten, type ParameterVectors } from '../model/derivatives.js';
import { type Model, modelRule } from '../model/model.js';
import { AdamW } from '../model/optimizer.js';
import { classifierUse, untiedTwin } from '../model/untied.js';
import type { NativeTensor, RealArray } from '../core/addon/contract.js';
import { lastLogpFunctions, targetFunctions } from '../ntk/functions.js';
import { byteBudget } from '../ntk/gradientCall.js';
import { dot, norm } from './matrix.js';

/** A sampled response and its advantage r̂, which weighs every scored token of it. */
export type AdvantageSample = Sample & { readonly advantage: number };

/** Which step explainStep() explains, and in how much detail. */
export interface ExplainOptions extends JobOptions {
  /** η. Needed for 'gradient' and 'adam'; a given Δθ is the step itself. */
  readonly learningRate?: number;
  /**
   * 'gradient' (default): plain ascent. 'adam': what `optimizer` would do, or a new AdamW without one. Or the
   * step Δθ, by parameter name.
   */
  readonly update?: 'gradient' | 'adam' | ParameterVectors;
  /** For 'adam': its state and settings are copied, not changed. */
  readonly optimizer?: AdamW;
  /** For 'adam': gradients are clipped to this norm first (0 = not). */
  readonly maxGradNorm?: number;
  /**
   * Leave the model as it is after the step. Default false: not a bit of it changes. The optimizer is never
   * stepped.
   */
  readonly apply?: boolean;
  /** Also the gradient component by layer: one forward-mode pass each. */
  readonly layers?: boolean;
  /**
   * Also how much each sample of the batch moves a probe's chosen token: the kernel's pairs, the largest
   * `top` per probe. 'gradient' only.
   */
  readonly influences?: { readonly top?: number };
  /** Tokens to follow, one per probe; default each probe's most likely one. */
  readonly targets?: readonly number[];
  /** For influences: the kernel's working memory. Default half of the free memory. */
  readonly maxBytes?: number;
}

/** A number before the step and its changes: first-order, with its components, and real. */
export interface ChangeOf {
  readonly before: number;
  /** From moving the classifier, R. */
  readonly representation: number;
  /** From moving all below it, G. */
  readonly gradient: number;
  /** Of a tied matrix: each use's gradient moving the other use. 0 when untied. */
  readonly cross: number;
  /** representation + gradient + cross: first order. */
  readonly predicted: number;
  /** After the step less before it. */
  readonly measured: number;
}

/**
 * How much one sample of the batch moves a probe's target, by component: η · advantage / N times the kernel's
 * entry.
 */
export interface Influence {
  /** Index in the batch. */
  readonly sample: number;
  /** Contributions to the predicted Δ log π(target | probe). */
  readonly representation: number;
  readonly gradient: number;
  readonly cross: number;
  readonly total: number;
}

/**
 * How well a prediction matches: ‖predicted − measured‖ / ‖measured‖, 1 − residual / variance, share of
 * entries with the right sign.
 */
export interface Accuracy {
  /** 0 when nothing moved and nothing was predicted. */
  readonly relativeError: number;
  readonly r2: number;
  readonly signAgreement: number;
}

/** What the step does to the next-token distribution at one probe, in nats. */
export interface ProbeExplanation extends Accuracy {
  /** Δ log π(· | probe), V each; predicted = representation + gradient + cross. */
  readonly representation: Float64Array;
  readonly gradient: Float64Array;
  readonly cross: Float64Array;
  readonly predicted: Float64Array;
  readonly measured: Float64Array;
  /** The token followed: options.targets, or the likeliest before the step. */
  readonly target: number;
  /** Of the target's log-probability, of the largest probability, and of the entropy in nats. */
  readonly logp: ChangeOf;
  readonly maxProb: ChangeOf;
  readonly entropy: ChangeOf;
  /** Δ log π by layer; they sum to `gradient`. */
  readonly layers?: readonly { readonly name: string; readonly change: Float64Array }[];
  /** The samples that move the target most, largest first. */
  readonly influences?: readonly Influence[];
}

/**
 * What explainStep() found; the figures of accuracy are over the Δ log π of all probes and tokens together.
 */
export interface Explanation extends Accuracy {
  /** In the order given. */
  readonly probes: readonly ProbeExplanation[];
  /**
   * False when the step is no gradient and the model is tied: the move of its matrix has no source to split
   * by.
   */
  readonly crossDefined: boolean;
  /** ‖Δθ‖₂; a tied matrix counts once. */
  readonly stepNorm: number;
  /** Means over probes. */
  readonly maxProb: ChangeOf;
  readonly entropy: ChangeOf;
  /** Whether the model was left as it is after the step (options.apply). */
  readonly applied: boolean;
}

const OPTIONS: Rules = {
  ...JOB,
  learningRate: nonNegative,
  optimizer: instance('an AdamW', AdamW),
  maxGradNorm: nonNegative,
  apply: flag,
  layers: flag,
  influences: object,
  targets: list,
  maxBytes: count,
  update: rule(
    "'gradient', 'adam' or named arrays",
    (value) => value === 'gradient' || value === 'adam' || object.accepts(value),
  ),
};
const INFLUENCES: Rules = { top: count };
const caller = 'analysis.explainStep';

function checkCall(
  model: Model,
  batch: readonly AdvantageSample[],
  probes: readonly (readonly number[])[],
  options: ExplainOptions,
): void {
  check(caller, 'model', model, modelRule);
  checkOptions(caller, options, OPTIONS);
  checkSamples(caller, batch, 'batch');
  check(caller, 'probes', probes, list);
  if (options.influences !== undefined) checkOptions(`${caller}: influences`, options.influences, INFLUENCES);
  const { update = 'gradient', learningRate, targets, influences } = options;
  if (probes.length === 0)
    fail(
      'ERR_INVALID_ARG',
      `${caller}: probes must not be empty; a probe is a prefix whose next-token distribution is followed`,
    );
  if (typeof update === 'string') {
    if (batch.length === 0) fail('ERR_INVALID_ARG', `${caller}: batch must not be empty`);
    check(caller, 'learningRate', learningRate, nonNegative);
  }
  batch.forEach(({ advantage }, i) => {
    check(caller, `batch[${i}].advantage`, advantage, finite);
  });
  if (influences && update !== 'gradient')
    fail(
      'ERR_UNSUPPORTED',
      `${caller}: influences of single samples need update 'gradient'; no other update is a sum over samples`,
    );
  if (options.optimizer && update !== 'adam')
    fail('ERR_INVALID_ARG', `${caller}: optimizer is only used with update 'adam'`);
  if (targets && targets.length !== probes.length)
    fail(
      'ERR_SHAPE',
      `${caller}: targets must have one token per probe (${probes.length}), got ${targets.length}`,
    );
  for (const [i, target] of (targets ?? []).entries())
    if (!(Number.isInteger(target) && target >= 0 && target < model.spec.vocabSize))
      fail(
        'ERR_INVALID_ARG',
        `${caller}: targets[${i}] must be a token id in 0 … ${model.spec.vocabSize - 1}, got ${target}`,
      );
}

/** ∇ of −J on `copy`, accumulated. Frozen parameters of the model are frozen in it. */
async function accumulate(
  model: Model,
  copy: Model,
  batch: readonly AdvantageSample[],
  job: JobOptions,
): Promise<void> {
  const frozen = new Set(model.parameters((p) => !p.trainable).map((p) => p.name));
  for (const name of [...frozen]) frozen.add(classifierUse(name));
  const chosen = copy
    .parameters((p) => !frozen.has(p.name))
    .map((p) => p.name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  copy.setTrainable(new RegExp(`^(?:${chosen.join('|')})$`));
  const coefficients = batch.flatMap((s) =>
    new Array<number>(Math.max(s.inputIds.length - s.scoreFrom, 0)).fill(s.advantage / batch.length),
  );
  // In a fp64 context native code takes these in double; rounding them to float32 first would show at 1e-8.
  const numbers =
    model.context.math === 'fp64'
      ? (Float64Array.from(coefficients) as unknown as Float32Array)
      : Float32Array.from(coefficients);
  await copy.accumulateGradients(batch, { loss: 'coefficients', coefficients: numbers, signal: job.signal });
}

const parametersOf = async (model: Model): Promise<Float64Array> => {
  const flat = new Float64Array(model.native.size);
  await Promise.all(
    model.parameters().map(async ({ name, offset }) => flat.set(await model.getParameter(name), offset)),
  );
  return flat;
};
/** θ + Δθ, as far as the step names it. */
async function move(model: Model, step: Float64Array): Promise<void> {
  await Promise.all(
    model.parameters().map(async ({ name, offset, size }) => {
      const part = step.subarray(offset, offset + size);
      if (part.every((x) => x === 0)) return;
      const weights = await model.getParameter(name);
      addScaled(weights, 0, 1, part);
      await model.setParameter(name, weights);
    }),
  );
}

/**
 * to[offset + i] += factor · values[i]. False when one of them is not finite. (A loop of its own, without
 * captured variables, is ten times as fast.)
 */
function addScaled(to: RealArray, offset: number, factor: number, values: RealArray): boolean {
  let notFinite = 0;
  for (let i = 0; i < values.length; ++i) {
    const value = values[i]!;
    to[offset + i]! += factor * value;
    notFinite += 0 * value;
  }
  return notFinite === 0;
}

interface Step {
  /** In the model's own parameter order. */
  readonly total: Float64Array;
  /** A tied model's gradient update, in its twin's order: the classifier's own move comes last. */
  readonly byUse?: Float64Array;
}

async function stepOf(
  model: Model,
  scratch: Model,
  twin: Model | undefined,
  batch: readonly AdvantageSample[],
  options: ExplainOptions,
): Promise<Step> {
  const { update = 'gradient', learningRate = 0 } = options;
  if (typeof update !== 'string') return { total: flatten(caller, model, update) };
  if (update === 'adam') {
    const before = await parametersOf(scratch);
    await accumulate(model, scratch, batch, options);
    const optimizer = options.optimizer ? await options.optimizer.cloneFor(scratch) : new AdamW(scratch);
    const { applied } = await optimizer.step({
      learningRate,
      maxGradNorm: options.maxGradNorm ?? 0,
      signal: options.signal,
    });
    optimizer.dispose();
    if (!applied)
      fail(
        'ERR_INVALID_ARG',
        `${caller}: the gradient is not finite; the model's weights contain NaN or infinity: check the checkpoint`,
      );
    const after = await parametersOf(scratch);
    for (const { name, offset, size } of scratch.parameters())
      await scratch.setParameter(name, before.subarray(offset, offset + size));
    return { total: after.map((w, i) => w - before[i]!) };
  }
  const source = twin ?? scratch;
  await accumulate(model, source, batch, options);
  const ascent = new Float64Array(source.native.size);
  let finite = true;
  await Promise.all(
    source
      .parameters((p) => p.trainable)
      .map(async ({ name, offset }) => {
        finite = addScaled(ascent, offset, -learningRate, await source.getGradient(name)) && finite;
      }),
  );
  if (!finite)
    fail(
      'ERR_INVALID_ARG',
      `${caller}: the gradient is not finite; the model's weights contain NaN or infinity: check the checkpoint`,
    );
  if (!twin) return { total: ascent };
  const total = ascent.slice(0, model.native.size);
  const embedding = model.parameters((p) => p.role === 'embedding')[0]!;
  addScaled(total, embedding.offset, 1, ascent.subarray(model.native.size));
  return { total, byUse: ascent };
}

interface Tangents {
  readonly logits: Float64Array;
  readonly direct: Float64Array;
  /** [group][probe · V + v] */
  readonly indirect: readonly Float64Array[];
}

async function lastTangents(
  model: Model,
  { packed, row }: PackedPrefixes,
  step: Float64Array | null,
  groups: Int32Array,
  job: JobOptions,
): Promise<Tangents> {
  const order = [...row.keys()].sort((p, q) => row[p]! - row[q]!);
  // Converted here once: native code copies numbers of its own type as they are.
  const tangent = step && (model.context.math === 'fp64' ? step : Float32Array.from(step));
  const result = await runJob(job, (onProgress) =>
    model.native.rowTangents(
      packed,
      Int32Array.from(order, (p) => row[p]!),
      tangent,
      groups,
      onProgress,
    ),
  );
  const V = model.spec.vocabSize;
  /** (rows, count, V) in the rows' order → [count][probe · V + v] in the probes'. */
  const byProbe = async (native: NativeTensor, count: number): Promise<Float64Array[]> => {
    using tensor = new Tensor(native);
    const numbers = await tensor.data();
    return Array.from({ length: count }, (_, g) => {
      const out = new Float64Array(row.length * V);
      order.forEach((p, i) => out.set(numbers.subarray((i * count + g) * V, (i * count + g + 1) * V), p * V));
      return out;
    });
  };
  const [logits] = await byProbe(result.logits, 1);
  const [direct] = await byProbe(result.direct, 1);
  return {
    logits: logits!,
    direct: direct!,
    indirect: await byProbe(result.indirect, Math.max(0, ...groups.map((g) => g + 1))),
  };
}

function logSoftmax(z: Float64Array): Float64Array {
  const largest = z[largestOf(z)]!;
  let sum = 0;
  for (let v = 0; v < z.length; ++v) sum += Math.exp(z[v]! - largest);
  const shift = largest + Math.log(sum);
  const out = new Float64Array(z.length);
  for (let v = 0; v < z.length; ++v) out[v] = z[v]! - shift;
  return out;
}
/** T_s Δz. */
function centre(change: Float64Array, p: Float64Array): Float64Array {
  const mean = dot(p, change);
  const out = new Float64Array(change.length);
  for (let v = 0; v < out.length; ++v) out[v] = change[v]! - mean;
  return out;
}
function plus(a: Float64Array, b: Float64Array): Float64Array {
  const out = new Float64Array(a.length);
  for (let i = 0; i < out.length; ++i) out[i] = a[i]! + b[i]!;
  return out;
}
function entropyOf(logp: Float64Array): number {
  let h = 0;
  for (let v = 0; v < logp.length; ++v) if (logp[v] !== -Infinity) h -= Math.exp(logp[v]!) * logp[v]!;
  return h;
}
function largestOf(values: Float64Array): number {
  let at = 0;
  for (let v = 1; v < values.length; ++v) if (values[v]! > values[at]!) at = v;
  return at;
}

function accuracy(pairs: readonly (readonly [Float64Array, Float64Array])[]): Accuracy {
  let [residual, squares, sum, n, signs] = [0, 0, 0, 0, 0];
  for (const [predicted, measured] of pairs)
    for (let i = 0; i < predicted.length; ++i) {
      const [p, m] = [predicted[i]!, measured[i]!];
      residual += (p - m) ** 2;
      squares += m * m;
      sum += m;
      signs += Math.sign(p) === Math.sign(m) ? 1 : 0;
      ++n;
    }
  const variance = squares - (sum * sum) / n;
  return {
    relativeError: residual === 0 ? 0 : Math.sqrt(residual / squares),
    r2: residual === 0 ? 1 : 1 - residual / variance,
    signAgreement: signs / n,
  };
}

const mean = (changes: readonly ChangeOf[]): ChangeOf => {
  const of = (key: keyof ChangeOf) => changes.reduce((sum, c) => sum + c[key], 0) / changes.length;
  return {
    before: of('before'),
    representation: of('representation'),
    gradient: of('gradient'),
    cross: of('cross'),
    predicted: of('predicted'),
    measured: of('measured'),
  };
};

/** The groups of parameters that the gradient component is reported by, in order from the input up. */
function layerGroups(model: Model): { names: string[]; groups: Int32Array } {
  const names = [
    'embedding',
    ...Array.from({ length: model.spec.layers }, (_, l) => `layer ${l}`),
    'final norm',
  ];
  return {
    names,
    groups: Int32Array.from(model.spec.parameters, (p) =>
      p.role === 'classifier'
        ? -1
        : p.layer >= 0
          ? p.layer + 1
          : p.role === 'embedding' || p.role === 'position'
            ? 0
            : names.length - 1,
    ),
  };
}

async function influencesOf(
  model: Model,
  batch: readonly AdvantageSample[],
  probes: readonly (readonly number[])[],
  targets: readonly number[],
  options: ExplainOptions,
): Promise<Influence[][]> {
  const first = lastLogpFunctions(caller, model, probes, targets);
  const second = targetFunctions(caller, model, batch, 'sequence');
  const wanted = Uint8Array.from(model.parameters(), (p) => (p.trainable ? 1 : 0));
  const [representation, gradient, cross] = (await runJob({ signal: options.signal }, () =>
    model.native.gram(first, second, {
      implementation: 'structured-derivatives',
      split: 'components',
      wanted,
      maxBytes: byteBudget(caller, options.maxBytes),
    }),
  )) as [Float64Array, Float64Array, Float64Array];
  const top = options.influences?.top ?? batch.length;
  return probes.map((_, p) =>
    batch
      .map(({ advantage }, sample): Influence => {
        const at = p * batch.length + sample;
        const factor = (options.learningRate! * advantage) / batch.length;
        const [r, g, c] = [factor * representation[at]!, factor * gradient[at]!, factor * cross[at]!];
        return { sample, representation: r, gradient: g, cross: c, total: r + g + c };
      })
      .sort((a, b) => Math.abs(b.total) - Math.abs(a.total) || a.sample - b.sample)
      .slice(0, top),
  );
}

/**
 * Predicts what a step does to the next-token distribution of every probe (a prefix), takes the step on a
 * scratch copy, and compares. Only trainable parameters move in 'gradient' and 'adam'. Logits at temperature
 * 1.
 * @throws ERR_INVALID_ARG (no probes, a probe longer than the context, a bad sample, advantage, option or Δθ
 * name, weights that are not finite),
 *   ERR_SHAPE, ERR_UNSUPPORTED.
 */
export async function explainStep(
  model: Model,
  batch: readonly AdvantageSample[],
  probes: readonly (readonly number[])[],
  options: ExplainOptions = {},
): Promise<Explanation> {
  checkCall(model, batch, probes, options);
  const packed = packPrefixes(caller, model, probes, 'probes');
  const job: JobOptions = { signal: options.signal };
  const isGradient = (options.update ?? 'gradient') === 'gradient';
  const scratch = await model.clone(job);
  const twin = model.tied && isGradient ? await untiedTwin(model, job) : undefined;
  try {
    const step = await stepOf(model, scratch, twin, batch, options);
    const { names, groups } = options.layers
      ? layerGroups(twin ?? model)
      : {
          names: [],
          groups: Int32Array.from((twin ?? model).spec.parameters, (p) => (p.role === 'classifier' ? -1 : 0)),
        };
    const main = await lastTangents(twin ?? model, packed, step.byUse ?? step.total, groups, options);
    const exchanged = twin ? await crossTangents(model, twin, packed, step.byUse!, job) : undefined;
    await move(scratch, step.total);
    const after = (
      await lastTangents(scratch, packed, null, new Int32Array(model.spec.parameters.length).fill(-1), job)
    ).logits;

    const V = model.spec.vocabSize;
    const tables = probes.map((_, s) => {
      const row = (all: Float64Array) => all.subarray(s * V, (s + 1) * V);
      const before = logSoftmax(row(main.logits));
      const p = before.map(Math.exp);
      const layers = main.indirect.map((change) => centre(row(change), p));
      const representation = centre(row(main.direct), p);
      const gradient = layers.reduce(plus, new Float64Array(V));
      const cross = exchanged ? centre(row(exchanged), p) : new Float64Array(V);
      const now = logSoftmax(row(after));
      return {
        before,
        p,
        now,
        layers,
        representation,
        gradient,
        cross,
        predicted: plus(plus(representation, gradient), cross),
        measured: now.map((l, v) => l - before[v]!),
      };
    });
    const targets = options.targets ?? tables.map(({ p }) => largestOf(p));
    const influences = options.influences
      ? await influencesOf(model, batch, probes, targets, options)
      : undefined;
    const explained = tables.map((t, s): ProbeExplanation => {
      const { before, p, now, layers, representation, gradient, cross, predicted, measured } = t;
      const change = (value: number, real: number, first: (delta: Float64Array) => number): ChangeOf => ({
        before: value,
        representation: first(representation),
        gradient: first(gradient),
        cross: first(cross),
        predicted: first(predicted),
        measured: real - value,
      });
      const target = targets[s]!;
      const slope = p.map((x, v) => (x === 0 ? 0 : x * before[v]!));
      const likeliest = largestOf(p);
      return {
        representation,
        gradient,
        cross,
        predicted,
        measured,
        target,
        ...accuracy([[predicted, measured]]),
        logp: change(before[target]!, now[target]!, (delta) => delta[target]!),
        maxProb: change(
          p[likeliest]!,
          Math.exp(now[largestOf(now)]!),
          (delta) => p[likeliest]! * delta[likeliest]!,
        ),
        // dH = −Σ dπ (log π + 1), and Σ dπ = 0.
        entropy: change(entropyOf(before), entropyOf(now), (delta) => -dot(delta, slope)),
        ...(options.layers ? { layers: names.map((name, l) => ({ name, change: layers[l]! })) } : {}),
        ...(influences ? { influences: influences[s]! } : {}),
      };
    });
    if (options.apply) {
      for (const { name, offset, size } of model.parameters())
        if (step.total.subarray(offset, offset + size).some((x) => x !== 0))
          await model.setParameter(name, await scratch.getParameter(name));
    }
    return {
      probes: explained,
      ...accuracy(explained.map((e) => [e.predicted, e.measured])),
      crossDefined: !model.tied || isGradient,
      stepNorm: norm(step.total),
      maxProb: mean(explained.map((e) => e.maxProb)),
      entropy: mean(explained.map((e) => e.entropy)),
      applied: options.apply === true,
    };
  } finally {
    scratch.dispose();
    twin?.dispose();
  }
}

/** ΔW_e φ + W ∂φ/∂W_e ΔW_c: each use's gradient moving the other use. */
async function crossTangents(
  model: Model,
  twin: Model,
  packed: PackedPrefixes,
  byUse: Float64Array,
  job: JobOptions,
): Promise<Float64Array> {
  const embedding = model.parameters((p) => p.role === 'embedding')[0]!;
  const [own, classifier] = [embedding.offset, model.native.size];
  const swapped = new Float64Array(byUse.length);
  swapped.set(byUse.subarray(classifier, classifier + embedding.size), own);
  swapped.set(byUse.subarray(own, own + embedding.size), classifier);
  const groups = Int32Array.from(twin.spec.parameters, (p) => (p.role === 'embedding' ? 0 : -1));
  const { direct, indirect } = await lastTangents(twin, packed, swapped, groups, job);
  return plus(direct, indirect[0]!);
}
