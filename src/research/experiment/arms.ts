/** One seed's base model and arms, each trained once: what is on disk already is not done again. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { record, type Recordable } from '../../analysis/record.js';
import type { Context } from '../../core/context.js';
import { evaluate, type Evaluation } from '../../evaluation/evaluate.js';
import type { Sample } from '../../model/batch.js';
import { Model } from '../../model/model.js';
import type { EvaluationRecord } from '../../report/index.js';
import { latestCheckpoint } from '../../rl/run/checkpoint.js';
import {
  CFRLTrainer,
  type GRPOConfig,
  GRPOTrainer,
  type RewardFunc,
  type RewardInput,
  type SFTRow,
  SFTTrainer,
  type StepMetrics,
} from '../../rl/index.js';
import {
  type Addition,
  correctDemonstration,
  decode,
  demonstrate,
  encode,
  MAX_RESPONSE_TOKENS,
  NOISY_ADDER_MODEL,
  PROMPT_TOKENS,
  promptText,
  reward,
  splitAdditions,
} from '../tasks/noisyAdder.js';
import { Clock } from './clock.js';
import { type Dynamics, measureDynamics } from './dynamics.js';
import { readJson, writeJson } from './jsonFiles.js';
import type { ArmPlan, Mark, Plan } from './experimentPlan.js';

export interface RunOptions {
  readonly context: Context;
  readonly plan: Plan;
  readonly seeds: readonly number[];
  readonly out: string;
  /** Where base models are: in the run, or in the study that its runs share. */
  readonly baseDirectory: string;
  readonly command: string;
  readonly environment: Readonly<Record<string, string | number>>;
  /** Forget what `out` holds and begin again. */
  readonly fresh?: boolean;
  readonly signal?: AbortSignal;
  readonly onPhase?: (phase: string, done: number, total: number, metrics?: StepMetrics) => void;
}

/** What an arm has used up at a mark. */
export interface Cost {
  readonly steps: number;
  /** Completion tokens sampled. */
  readonly tokens: number;
  /** Processor time of its steps, evaluations left out: wall time of one thread on an idle machine. */
  readonly seconds: number;
}
export type MarkRecord = EvaluationRecord & { readonly cost: Cost; readonly dynamics?: Dynamics };

/** Everything about one seed that its arms share. */
export interface SeedState {
  readonly seed: number;
  readonly base: Model;
  readonly train: readonly Addition[];
  readonly heldOut: readonly Addition[];
  /** The base model's evaluation samples: the fixed prefixes of every later evaluation. */
  readonly fixed: readonly Sample[];
}

type Trainer = Recordable & { dispose(): void };

/** Of the base model's evaluation samples: the states that a watched arm is followed at. */
const RECORDED_SAMPLES = 64;

const prompt = (pair: Addition) => encode(promptText(pair));
const evaluationsFile = (out: string, seed: number, arm: string) =>
  join(out, `seed-${seed}`, arm, 'evaluations.json');

export const readRecords = (out: string, seed: number, arm: string): readonly MarkRecord[] =>
  readJson<MarkRecord[]>(evaluationsFile(out, seed, arm)) ?? [];

const adderReward: RewardFunc = Object.assign(
  ({ completionIds, pair }: RewardInput) => completionIds.map((ids, i) => reward(pair[i], decode(ids))),
  { rewardName: 'sum' },
);

/**
 * Supervised on fresh demonstrations of the training pairs; response tokens only. Loaded when an earlier run
 * left it.
 */
async function baseModel(
  { context, plan, baseDirectory, signal, onPhase }: RunOptions,
  seed: number,
): Promise<Model> {
  const directory = join(baseDirectory, `${plan.variant}-seed${seed}-${baseKey(plan, seed)}`);
  const saved = join(directory, 'model');
  const training = join(directory, 'training');
  if (existsSync(saved)) return Model.fromPretrained(saved, { context });
  const model = await Model.fromConfig(NOISY_ADDER_MODEL, { context, seed });
  const { train } = splitAdditions(seed);
  const trainer: Trainer = new SFTTrainer({
    model,
    trainDataset: (_index, random) => {
      const pair = random.pick(train);
      return { prompt: prompt(pair), completion: encode(demonstrate(pair, random, plan.variant)) };
    },
    config: { ...plan.sft, seed, outputDir: training, overwriteOutputDir: true },
  });
  const total = plan.sft.maxSteps!;
  const resumeFrom = await latestCheckpoint(training);
  for await (const metrics of trainer.steps({ signal, resumeFrom }))
    onPhase?.(`seed ${seed} · base model`, metrics.step, total, metrics);
  trainer.dispose();
  await model.savePretrained(saved);
  rmSync(training, { recursive: true, force: true });
  return model;
}

/** Ten digits for all that a base model depends on. */
function baseKey({ variant, sft }: Plan, seed: number): string {
  const text = JSON.stringify([variant, sft, NOISY_ADDER_MODEL, seed]);
  return createHash('sha256').update(text).digest('hex').slice(0, 10);
}

async function evaluateModel(
  { plan: { scale } }: RunOptions,
  model: Model,
  heldOut: readonly Addition[],
  seed: number,
  fixed?: readonly Sample[],
) {
  const pairs = heldOut.slice(0, scale.prompts);
  return evaluate(model, {
    prompts: pairs.map(prompt),
    reward: (i, { completionIds }) => reward(pairs[i]!, decode(completionIds)),
    maxNewTokens: MAX_RESPONSE_TOKENS,
    samples: scale.samples,
    seed,
    ...(fixed ? { fixed } : {}),
  });
}

/** What the study asks of a model besides its evaluation, where the plan wants it. */
async function dynamicsOf(
  { plan }: RunOptions,
  model: Model,
  { base, fixed, train, seed }: SeedState,
): Promise<{ dynamics?: Dynamics }> {
  if (!plan.dynamics) return {};
  const dynamics = await measureDynamics(base, model, {
    fixed,
    prompts: train.slice(0, plan.scale.prompts / 4).map(prompt),
    reward: (i, text) => reward(train[i]!, text),
    seed,
  });
  return { dynamics };
}

/** Evaluates the base model, whose samples the arms are measured on. */
export async function openSeed(options: RunOptions, seed: number): Promise<SeedState> {
  const base = await baseModel(options, seed);
  const { train, heldOut } = splitAdditions(seed);
  const { evaluation, samples } = await evaluateModel(options, base, heldOut, seed);
  const state: SeedState = { seed, base, train, heldOut, fixed: samples };
  if (readRecords(options.out, seed, 'base').length === 0) {
    // On the base model's own samples the two sets of prefixes are the same.
    const both: Evaluation = { ...evaluation, fixed: evaluation.onPolicy };
    writeJson(evaluationsFile(options.out, seed, 'base'), [
      {
        row: 'base',
        arm: 'base',
        seed,
        step: 0,
        ...both,
        cost: { steps: 0, tokens: 0, seconds: 0 },
        ...(await dynamicsOf(options, base, state)),
      },
    ]);
  }
  return state;
}

const classifierName = (model: Model): string => model.parameters((p) => p.role === 'classifier')[0]!.name;

/** The model an arm begins with. */
async function startOf(arm: ArmPlan, { base, seed }: SeedState): Promise<Model> {
  const model = await base.clone();
  const name = classifierName(model);
  if (arm.trainer === 'none')
    await model.setParameter(
      name,
      (await model.getParameter(name)).map((w) => w * arm.scaleClassifier),
    );
  if (arm.trainer === 'sft' && arm.freshClassifier) {
    using fresh = await Model.fromConfig(NOISY_ADDER_MODEL, { context: base.context, seed: seed + 1000 });
    await model.setParameter(name, await fresh.getParameter(name));
  }
  return model;
}

function trainerOf(
  arm: Exclude<ArmPlan, { trainer: 'none' }>,
  variant: Plan['variant'],
  model: Model,
  { seed, train }: SeedState,
  outputDir: string,
): Trainer {
  // Runs go on from their last checkpoint; what was written before the first one is not wanted.
  const place = { seed, outputDir, overwriteOutputDir: true };
  if (arm.trainer === 'sft') {
    return new SFTTrainer({
      model,
      trainDataset: (_index, random): SFTRow => {
        const pair = random.pick(train);
        return { prompt: prompt(pair), completion: encode(correctDemonstration(pair, random, variant)) };
      },
      config: { ...arm.config, ...place },
    });
  }
  const common = {
    model,
    rewardFuncs: [adderReward],
    trainDataset: train.map((pair) => ({ prompt: prompt(pair), pair })),
  };
  return arm.trainer === 'cfrl'
    ? new CFRLTrainer({ ...common, config: { ...arm.config, ...place } })
    : new GRPOTrainer({ ...common, config: { ...arm.config, ...place } });
}

/** The trainer's steps, watched where the plan says so. */
async function* watchedSteps(
  { plan, signal }: RunOptions,
  trainer: Trainer,
  { base, fixed }: SeedState,
): AsyncGenerator<StepMetrics, void, undefined> {
  const go = { signal, resumeFrom: await latestCheckpoint(trainer.config.outputDir!) };
  if (!plan.record) return yield* trainer.steps(go);
  const every = Math.max(1, Math.floor(fixed.length / RECORDED_SAMPLES));
  const probes = fixed.filter((_, i) => i % every === 0).slice(0, RECORDED_SAMPLES);
  for await (const { metrics } of record(trainer, { every: plan.record, probes, origin: base, ...go }))
    if (metrics) yield metrics;
}

/** Trains one arm to its last mark, evaluating at every one. */
export async function runArm(options: RunOptions, arm: ArmPlan, state: SeedState): Promise<void> {
  const directory = join(options.out, `seed-${state.seed}`, arm.id);
  if (missingMarks(options, arm, state).length === 0) return;
  mkdirSync(directory, { recursive: true });
  const model = await startOf(arm, state);
  try {
    await trainArm(options, arm, state, model, directory);
  } finally {
    model.dispose();
  }
  if (missingMarks(options, arm, state).length === 0) return;
  // Stopped hard between a checkpoint and its evaluation: those weights are gone, so the arm is trained
  // again.
  rmSync(directory, { recursive: true });
  return runArm(options, arm, state);
}

/** Marks that have not been evaluated. */
function missingMarks({ out }: RunOptions, arm: ArmPlan, { seed }: SeedState): Mark[] {
  const records = readRecords(out, seed, arm.id);
  return arm.marks.filter(({ step }) => !records.some((record) => record.step === step));
}

async function trainArm(
  options: RunOptions,
  arm: ArmPlan,
  state: SeedState,
  model: Model,
  directory: string,
): Promise<void> {
  const clock = new Clock(directory);
  const last = arm.marks.at(-1)!.step;
  let tokens = 0;
  const evaluateAt = async (step: number): Promise<void> => {
    const mark = missingMarks(options, arm, state).find((one) => one.step === step);
    if (!mark) return;
    const cost: Cost = { steps: step, tokens, seconds: clock.until(step) };
    await evaluateMark(options, arm, state, model, mark, cost);
  };
  if (arm.trainer !== 'none') {
    const trainer = trainerOf(arm, options.plan.variant, model, state, directory);
    clock.start();
    for await (const metrics of watchedSteps(options, trainer, state)) {
      const { step } = metrics;
      clock.stop(step);
      if (arm.trainer !== 'sft') tokens = sampledTokens(metrics, arm.config);
      options.onPhase?.(`seed ${state.seed} · ${arm.label}`, step, last, metrics);
      await evaluateAt(step);
      if (step === last) break;
      clock.start();
    }
    trainer.dispose();
    await model.savePretrained(join(directory, 'model'));
  }
  await evaluateAt(last);
}

/** Completion tokens sampled so far: all that the trainer has seen, but for the prompts. */
function sampledTokens(metrics: StepMetrics, { perDeviceTrainBatchSize }: GRPOConfig): number {
  const prompts = metrics.step * perDeviceTrainBatchSize! * PROMPT_TOKENS;
  return (metrics['num_tokens'] as number) - prompts;
}

async function evaluateMark(
  options: RunOptions,
  arm: ArmPlan,
  state: SeedState,
  model: Model,
  { row, step }: Mark,
  cost: Cost,
): Promise<void> {
  const { seed, heldOut, fixed } = state;
  const { evaluation } = await evaluateModel(options, model, heldOut, seed, fixed);
  const measured = await dynamicsOf(options, model, state);
  const record: MarkRecord = { row, arm: arm.id, seed, step, ...evaluation, cost, ...measured };
  const before = readRecords(options.out, seed, arm.id);
  writeJson(evaluationsFile(options.out, seed, arm.id), [...before, record]);
}
