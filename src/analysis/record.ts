/**
 * Watches a training run: before it and at every k-th step, how sure, varied and good the policy is, where
 * its features and classifier have gone, and what the step just made did, split into the paper's components.
 * The step is explained as the update it was (Δθ, so any optimizer): predicted to first order from the
 * weights before it, measured on the weights after it. Cost of an explained step with 64 probes: one copy of
 * the model, forward mode and a forward pass over the probes, 0.4 to 1.3 training steps
 * (docs/examples/explain-step.md); the kernel and the sampling come on top where asked for. `seconds` of
 * every row says what it took.
 */
import { appendFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import {
  checkOptions,
  count,
  natural,
  nonEmptyList,
  object,
  required,
  type Rules,
  shown,
  SIGNAL,
  text,
} from '../core/check.js';
import { io, readIfPresent, writeAll, writeFileAtomically } from '../core/files.js';
import { fail } from '../errors.js';
import { bestOfN, mean, passAtK } from '../evaluation/estimators.js';
import { checkSamples, type Sample } from '../model/batch.js';
import type { Completion, GenerateOptions } from '../model/generation.js';
import { type Model, modelRule } from '../model/model.js';
import type { RealArray } from '../core/addon/contract.js';
import { gram } from '../ntk/gram.js';
import type { StepMetrics, TrainOptions } from '../rl/interfaces.js';
import { classifierNorm } from './classifier.js';
import { confidence } from './confidence.js';
import { diversity } from './diversity.js';
import { explainStep } from './explain.js';
import type { ChangeOf } from './explanation.js';
import { featureDrift, featureSimilarity } from './features.js';
import { kernelAlignment, spectrum } from './spectrum.js';

/** Any trainer of this package. */
export interface Recordable {
  readonly model: Model;
  readonly config: { readonly outputDir?: string | undefined };
  readonly step: number;
  steps(options?: Pick<TrainOptions, 'signal' | 'resumeFrom'>): AsyncGenerator<StepMetrics, void, undefined>;
}

/** What analysis.record() measures, and how often. */
export interface RecordOptions extends Pick<TrainOptions, 'signal' | 'resumeFrom'> {
  /** Steps between rows; the first row is of step 0. */
  readonly every: number;
  /** Texts whose states (a prefix up to each scored token) are followed. */
  readonly probes: readonly Sample[];
  /** Samples prompts at every row: diversity, and with a reward pass@k and best-of-n. */
  readonly sampling?: GenerateOptions & {
    readonly prompts: readonly (string | readonly number[])[];
    /** A completion is right from 1 on. */
    readonly reward?: (promptIndex: number, completion: Completion) => number;
  };
  /**
   * Also the kernel of the first so many probes: its effective rank, and how alike it is to the first row's.
   * 0 = not (default).
   */
  readonly kernelProbes?: number;
  /**
   * States whose distributions the step is explained at, spread over the probes. Default 64; 0 = steps are
   * not explained.
   */
  readonly explainedStates?: number;
  /**
   * What drift is measured from. Default: the model as it is when recording begins; give the first model when
   * a run is resumed.
   */
  readonly origin?: Model;
}

/**
 * Changes are means over states: first-order by component, predicted in all, and measured. Keys of one row of
 * analysis.jsonl.
 */
export type RecordedChange = Omit<ChangeOf, 'before'>;
/** One row of analysis.jsonl. Entropy and logp in nats; features and classifier against `origin`. */
export interface AnalysisRow {
  /** Optimizer steps made; 0 before the first. */
  readonly step: number;
  /** Of that step; 'start' before the first. */
  readonly stage: string;
  /** Means over the probes' states (analysis.confidence). */
  readonly maxProb: number;
  readonly entropy: number;
  readonly logp: number;
  /**
   * Cosines of features of different probes: their mean, and the share above 0 (analysis.featureSimilarity).
   */
  readonly meanCosine: number;
  readonly positiveCosines: number;
  /** ‖Φ − Φ₀‖ / ‖Φ₀‖ (analysis.featureDrift). */
  readonly featureDrift: number;
  /** ‖W‖_F, and ‖W − W₀‖_F / ‖W₀‖_F. */
  readonly classifierNorm: number;
  readonly classifierMoved: number;
  /** Of the step that led here; absent at step 0 and right after a resume. */
  readonly explained?: {
    readonly maxProb: RecordedChange;
    readonly entropy: RecordedChange;
    readonly relativeError: number;
    readonly r2: number;
    readonly signAgreement: number;
    readonly stepNorm: number;
  };
  /**
   * Of the kernel of the first kernelProbes probes: effective rank, and centred alignment with the first
   * row's.
   */
  readonly kernel?: { readonly effectiveRank: number; readonly alignment: number };
  /**
   * Of `n` samples per prompt: different completions per prompt, distinct-1 and -2, self-BLEU, and with a
   * reward its mean, pass@1, pass@n, best-of-n.
   */
  readonly sampled?: {
    readonly distinct: number;
    readonly distinct1: number;
    readonly distinct2: number;
    readonly selfBleu: number;
    readonly reward?: number;
    readonly passAt1?: number;
    readonly passAtK?: number;
    readonly bestOfN?: number;
    readonly n: number;
  };
  /** Wall time this row took. */
  readonly seconds: number;
}

const caller = 'analysis.record';
const FILE = 'analysis.jsonl';
const OPTIONS: Rules = {
  every: required(count),
  probes: required(nonEmptyList),
  sampling: object,
  kernelProbes: natural,
  explainedStates: natural,
  origin: modelRule,
  ...SIGNAL,
  resumeFrom: text,
};

/**
 * `count` states, spread evenly over all states of the samples, at varying positions (golden-ratio offsets).
 */
export function statesOf(samples: readonly Sample[], count: number): number[][] {
  const all = samples.flatMap(({ inputIds, scoreFrom }) =>
    Array.from({ length: inputIds.length - scoreFrom }, (_, l) => inputIds.slice(0, scoreFrom + l)),
  );
  const n = Math.min(count, all.length);
  return Array.from(
    { length: n },
    (_, i) => all[Math.floor(((i + (n < all.length ? (i * 0.618034) % 1 : 0)) * all.length) / n)]!,
  );
}

export const weightsOf = async (model: Model): Promise<Record<string, RealArray>> =>
  Object.fromEntries(
    await Promise.all(
      model.parameters().map(async ({ name }) => [name, await model.getParameter(name)] as const),
    ),
  );

async function explained(
  before: Model,
  after: Model,
  states: readonly (readonly number[])[],
  signal: AbortSignal | undefined,
): Promise<Required<AnalysisRow>['explained']> {
  const [from, to] = [await weightsOf(before), await weightsOf(after)];
  const update = Object.fromEntries(
    Object.entries(to).map(([name, weights]) => [
      name,
      Float64Array.from(weights, (w, i) => w - from[name]![i]!),
    ]),
  );
  const { maxProb, entropy, relativeError, r2, signAgreement, stepNorm } = await explainStep(
    before,
    [],
    states,
    { update, signal },
  );
  const change = ({ before: _, ...rest }: ChangeOf): RecordedChange => rest;
  return { maxProb: change(maxProb), entropy: change(entropy), relativeError, r2, signAgreement, stepNorm };
}

async function sampled(
  model: Model,
  { prompts, reward, ...options }: Required<RecordOptions>['sampling'],
  signal: AbortSignal | undefined,
): Promise<Required<AnalysisRow>['sampled']> {
  const n = options.numReturnSequences ?? 8;
  const completions = await model.generate(prompts, { seed: 0, ...options, numReturnSequences: n, signal });
  const { distinctPerPrompt, distinctN, selfBleu } = diversity(completions, { perPrompt: n });
  const varied = {
    distinct: distinctPerPrompt,
    distinct1: distinctN[0]!,
    distinct2: distinctN[1]!,
    selfBleu,
    n,
  };
  if (!reward) return varied;
  const groups = prompts.map((_, p) =>
    completions.slice(p * n, (p + 1) * n).map((completion) => reward(p, completion)),
  );
  const right = (group: readonly number[]) => group.filter((r) => r >= 1).length;
  return {
    ...varied,
    reward: mean(groups.flat()),
    passAt1: mean(groups.map((g) => passAtK(n, right(g), 1))),
    passAtK: mean(groups.map((g) => passAtK(n, right(g), n))),
    bestOfN: mean(groups.map((g) => bestOfN(g, n))),
  };
}

/** analysis.jsonl of a run, without rows after `step`; undefined when nothing is written. */
async function openLog(
  outputDir: string | undefined,
  step: number,
): Promise<((row: AnalysisRow) => Promise<void>) | undefined> {
  if (outputDir === undefined) return undefined;
  const path = join(outputDir, FILE);
  await io(caller, 'write', outputDir, () => mkdir(outputDir, { recursive: true }));
  const kept = ((await readIfPresent(caller, path))?.toString('utf8') ?? '').split('\n').filter((line) => {
    try {
      return (JSON.parse(line) as AnalysisRow).step < step;
    } catch {
      return false; // the last line of a run that was killed while writing it
    }
  });
  await writeFileAtomically(caller, path, (file) =>
    writeAll(file, Buffer.from(kept.map((line) => `${line}\n`).join(''))),
  );
  return (row) => io(caller, 'write', path, () => appendFile(path, `${JSON.stringify(row)}\n`));
}

function check(trainer: Recordable, options: RecordOptions): void {
  if (typeof trainer?.steps !== 'function')
    fail(
      'ERR_INVALID_ARG',
      `${caller}: trainer must be a trainer (GRPOTrainer, CFRLTrainer, SFTTrainer …), got ${shown(trainer)}`,
    );
  checkOptions(caller, options, OPTIONS);
  checkSamples(caller, options.probes, 'probes');
}

/**
 * Trains `trainer` to its end and yields each step's metrics, with an analysis at every k-th; a run that
 * starts anew begins with the analysis of its start, step 0. Rows also go to outputDir/analysis.jsonl, which
 * reports draw. Watching changes nothing of the training.
 * @throws what trainer.steps() does, ERR_INVALID_ARG for options and for probes the model cannot take.
 */
export async function* record(
  trainer: Recordable,
  options: RecordOptions,
): AsyncGenerator<{ readonly metrics?: StepMetrics; readonly analysis?: AnalysisRow }, void, undefined> {
  check(trainer, options);
  const { every, probes, sampling, kernelProbes = 0, explainedStates = 64, signal, resumeFrom } = options;
  const { model } = trainer;
  const states = statesOf(probes, explainedStates);
  const start = await model.clone();
  const origin = options.origin ?? start;
  let firstKernel: Awaited<ReturnType<typeof gram>> | undefined;

  const kernel = async (of: Model) => {
    if (kernelProbes === 0) return {};
    const compute = (each: Model) => gram(each, probes.slice(0, kernelProbes), null, { signal });
    const now = await compute(of);
    firstKernel ??= options.origin ? await compute(origin) : now;
    return {
      kernel: {
        effectiveRank: (await spectrum(now, { signal })).effectiveRank,
        alignment: (await kernelAlignment(firstKernel, now)).centred,
      },
    };
  };
  const measure = async (of: Model, step: number, stage: string, before?: Model): Promise<AnalysisRow> => {
    const began = performance.now();
    const { maxProb, entropy, logp } = await confidence(of, probes, { signal });
    const { across } = await featureSimilarity(of, probes, { signal });
    const norm = await classifierNorm(of, origin);
    const row = {
      step,
      stage,
      maxProb,
      entropy,
      logp,
      meanCosine: across.meanCosine,
      positiveCosines: across.positive,
      featureDrift: (await featureDrift(origin, of, probes, { signal })).relative,
      classifierNorm: norm.frobenius,
      classifierMoved: norm.relativeMoved!,
      ...(before ? { explained: await explained(before, of, states, signal) } : {}),
      ...(await kernel(of)),
      ...(sampling ? { sampled: await sampled(of, sampling, signal) } : {}),
    };
    return { ...row, seconds: (performance.now() - began) / 1000 };
  };
  const explains = (step: number) => explainedStates > 0 && step % every === 0;

  /** The weights before a step that will be explained. */
  let before: Model | undefined;
  try {
    let write: Awaited<ReturnType<typeof openLog>>;
    for await (const metrics of trainer.steps({ signal, resumeFrom })) {
      const { step, stage } = metrics;
      write ??= await openLog(trainer.config.outputDir, step === 1 ? 0 : step);
      if (step === 1) {
        const analysis = await measure(start, 0, 'start');
        await write?.(analysis);
        yield { analysis };
      }
      const analysis =
        step % every === 0
          ? await measure(model, step, stage, explains(step) ? (step === 1 ? start : before) : undefined)
          : undefined;
      if (analysis) await write?.(analysis);
      yield { metrics, ...(analysis ? { analysis } : {}) };
      before?.dispose();
      before = explains(step + 1) ? await model.clone() : undefined;
    }
  } finally {
    before?.dispose();
    start.dispose();
  }
}
