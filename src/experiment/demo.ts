/**
 * The embedded experiment end to end, resumable: per seed a base model (supervised, cached), then every arm of the plan from it, each
 * evaluated on held-out prompts. Layout of a run:
 *
 *   <out>/summary.json metrics.jsonl report.html       what a reader opens; rewritten after every arm
 *   <out>/seed-0/<arm>/                                the trainer's own files, evaluations.json, model/
 *   <base directory>/<key>/                            base models, shared between runs with the same plan and seed
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

import type { Context } from '../core/context.js';
import { codedError, fail } from '../errors.js';
import { evaluate, type Evaluation } from '../evaluation/evaluate.js';
import type { Sample } from '../model/batch.js';
import { Model } from '../model/model.js';
import { type EvaluationRecord, report, type RunSummary } from '../report/index.js';
import { CFRLTrainer, GRPOTrainer, type RewardFunc, type RewardInput, SFTTrainer, type StepMetrics, type TrainOptions } from '../rl/index.js';
import { type Addition, decode, demonstrate, encode, MAX_RESPONSE_TOKENS, NOISY_ADDER_MODEL, promptText, reward, splitAdditions } from '../tasks/noisyAdder.js';
import { notesOf } from './notes.js';
import type { ArmPlan, Plan } from './plan.js';

export interface DemoOptions {
  readonly context: Context;
  readonly plan: Plan;
  readonly seeds: readonly number[];
  readonly out: string;
  /** Where base models are kept between runs. */
  readonly baseDirectory: string;
  readonly command: string;
  readonly environment: Readonly<Record<string, string | number>>;
  /** Forget what `out` holds and begin again (base models are kept). */
  readonly fresh?: boolean;
  readonly signal?: AbortSignal;
  readonly onPhase?: (phase: string, done: number, total: number, metrics?: StepMetrics) => void;
}

interface Trainer {
  steps(options?: TrainOptions): AsyncIterable<StepMetrics>;
  dispose(): void;
}

const prompt = (pair: Addition) => encode(promptText(pair));

const adderReward: RewardFunc = Object.assign(
  ({ completionIds, pair }: RewardInput) => completionIds.map((ids, i) => reward(pair[i], decode(ids))),
  { rewardName: 'sum' },
);

function writeAtomically(file: string, text: string): void {
  try {
    writeFileSync(`${file}.partial`, text);
    renameSync(`${file}.partial`, file);
  } catch (error) {
    throw codedError('ERR_IO', `demo: ${file} could not be written: ${(error as Error).message}`, error);
  }
}
const readJson = <T>(file: string): T | undefined => {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as T;
  } catch {
    return undefined;
  }
};

/** Supervised on fresh demonstrations of the training pairs; response tokens only. Loaded when an earlier run left it. */
async function baseModel({ context, plan, baseDirectory, signal, onPhase }: DemoOptions, seed: number): Promise<Model> {
  const key = createHash('sha256').update(JSON.stringify([plan.variant, plan.sft, NOISY_ADDER_MODEL, seed])).digest('hex').slice(0, 10);
  const directory = join(baseDirectory, `${plan.variant}-seed${seed}-${key}`);
  const saved = join(directory, 'model');
  if (existsSync(saved)) return Model.fromPretrained(saved, { context });
  const model = await Model.fromConfig(NOISY_ADDER_MODEL, { context, seed });
  const { train } = splitAdditions(seed);
  const trainer: Trainer = new SFTTrainer({
    model,
    trainDataset: (_index, random) => {
      const pair = random.pick(train);
      return { prompt: prompt(pair), completion: encode(demonstrate(pair, random, plan.variant)) };
    },
    config: { ...plan.sft, seed, outputDir: join(directory, 'training') },
  });
  const total = plan.sft.maxSteps!;
  for await (const metrics of trainer.steps({ signal, resumeFrom: 'latest' })) onPhase?.(`seed ${seed} · base model`, metrics.step, total, metrics);
  trainer.dispose();
  await model.savePretrained(saved);
  rmSync(join(directory, 'training'), { recursive: true, force: true });
  return model;
}

/** Everything about one seed that its arms share. */
interface SeedState {
  readonly seed: number;
  readonly base: Model;
  readonly train: readonly Addition[];
  readonly heldOut: readonly Addition[];
  /** The base model's evaluation samples: the fixed prefixes of every later evaluation. */
  readonly fixed: readonly Sample[];
}

async function evaluateModel({ plan: { scale } }: DemoOptions, model: Model, heldOut: readonly Addition[], seed: number, fixed?: readonly Sample[]) {
  const pairs = heldOut.slice(0, scale.prompts);
  return evaluate(model, {
    prompts: pairs.map(prompt), reward: (i, { completionIds }) => reward(pairs[i]!, decode(completionIds)), maxNewTokens: MAX_RESPONSE_TOKENS, samples: scale.samples, seed,
    ...(fixed ? { fixed } : {}),
  });
}

function trainerOf(arm: ArmPlan, model: Model, { seed, train }: SeedState, outputDir: string): Trainer {
  const common = { model, rewardFuncs: [adderReward], trainDataset: train.map((pair) => ({ prompt: prompt(pair), pair })) };
  return arm.trainer === 'cfrl'
    ? new CFRLTrainer({ ...common, config: { ...arm.config, seed, outputDir } })
    : new GRPOTrainer({ ...common, config: { ...arm.config, seed, outputDir } });
}

/** Trains one arm to its end, evaluating at its marks; what is already on disk is not done again. */
async function runArm(options: DemoOptions, arm: ArmPlan, state: SeedState): Promise<EvaluationRecord[]> {
  const { seed } = state;
  const directory = join(options.out, `seed-${seed}`, arm.id);
  const file = join(directory, 'evaluations.json');
  const last = arm.marks.at(-1)!.step;
  let records = readJson<EvaluationRecord[]>(file) ?? [];
  const missing = () => arm.marks.filter(({ step }) => !records.some((r) => r.step === step));
  if (missing().length === 0) return records;

  const model = await state.base.clone();
  try {
    const evaluateAt = async (step: number): Promise<void> => {
      const mark = missing().find((m) => m.step === step);
      if (!mark) return;
      const { evaluation } = await evaluateModel(options, model, state.heldOut, seed, state.fixed);
      records = [...records, { row: mark.row, arm: arm.id, seed, step, ...evaluation }];
      writeAtomically(file, JSON.stringify(records, null, 2));
    };
    mkdirSync(directory, { recursive: true });
    const trainer = trainerOf(arm, model, state, directory);
    for await (const metrics of trainer.steps({ signal: options.signal, resumeFrom: 'latest' })) {
      options.onPhase?.(`seed ${seed} · ${arm.label}`, metrics.step, last, metrics);
      await evaluateAt(metrics.step);
    }
    trainer.dispose();
    await evaluateAt(last);
    await model.savePretrained(join(directory, 'model'));
  } finally {
    model.dispose();
  }
  if (missing().length === 0) return records;
  // Stopped hard between a checkpoint and its evaluation: those weights are gone, so the arm is trained again.
  rmSync(directory, { recursive: true });
  return runArm(options, arm, state);
}

const writeMetrics = (out: string, arms: readonly ArmPlan[], seeds: readonly number[]): void => {
  const lines = arms.flatMap(({ id }) => seeds.flatMap((seed) => {
    const file = join(out, `seed-${seed}`, id, 'metrics.jsonl');
    return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').map((line) => line.replace(/^\{/, `{"arm":${JSON.stringify(id)},"seed":${seed},`)) : [];
  }));
  writeAtomically(join(out, 'metrics.jsonl'), lines.map((line) => `${line}\n`).join(''));
};

/** `out` belongs to one plan: results of different plans are never mixed. */
function claimDirectory({ out, plan, fresh }: DemoOptions): void {
  const file = join(out, 'plan.json');
  const text = JSON.stringify(plan, null, 2);
  if (fresh) rmSync(out, { recursive: true, force: true });
  const held = existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  if (held !== undefined && held !== text) fail('ERR_INVALID_ARG', `demo: ${out} holds a run with other settings; choose another --out, or --fresh to replace it`);
  try {
    mkdirSync(out, { recursive: true });
  } catch (error) {
    throw codedError('ERR_IO', `demo: ${out} cannot be written (${(error as Error).message}); choose another --out`, error);
  }
  writeAtomically(file, text);
}

export async function runDemo(options: DemoOptions): Promise<RunSummary> {
  const { plan, seeds, out } = options;
  claimDirectory(options);
  const evaluations: EvaluationRecord[] = [];
  const finish = async (): Promise<RunSummary> => {
    const summary: RunSummary = {
      name: basename(out),
      title: plan.variant === 'main' ? 'Noisy adder: RL and classifier-first RL' : 'Noisy adder, contrast task: RL and classifier-first RL',
      created: new Date().toISOString(), command: options.command, seeds, evaluations,
      arms: [
        { id: 'base', label: 'base', description: `Supervised on ${plan.scale.baseSteps} × ${plan.scale.baseBatch} demonstrations.` },
        ...plan.arms.map(({ id, label, description, trainer, config }) => ({ id, label, description, ...(trainer === 'cfrl' ? { classifierSteps: config.classifierSteps! } : {}) })),
      ],
      notes: notesOf(plan, evaluations),
      environment: { ...options.environment, 'peak memory': `${Math.round(process.resourceUsage().maxRSS / 1024)} MB` },
      config: plan,
    };
    writeMetrics(out, plan.arms, seeds);
    writeAtomically(join(out, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
    await report.write(out, join(out, 'report.html'));
    return summary;
  };
  for (const seed of seeds) {
    const base = await baseModel(options, seed);
    try {
      const { train, heldOut } = splitAdditions(seed);
      const { evaluation, samples } = await evaluateModel(options, base, heldOut, seed);
      // On the base model's own samples the two sets of prefixes are the same.
      const both: Evaluation = { ...evaluation, fixed: evaluation.onPolicy };
      evaluations.push({ row: 'base', arm: 'base', seed, step: 0, ...both });
      const state: SeedState = { seed, base, train, heldOut, fixed: samples };
      for (const arm of plan.arms) {
        evaluations.push(...(await runArm(options, arm, state)));
        await finish();
      }
    } finally {
      base.dispose();
    }
  }
  return finish();
}
