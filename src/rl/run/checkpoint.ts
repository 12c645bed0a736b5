/**
 * Checkpoints of a run: a Hugging Face directory (any reader of the family loads it) with
 * optimizer.safetensors and trainer_state.json beside the weights. It appears whole or not at all, and its
 * files' hashes are checked before anything of it is used, so a damaged one changes nothing.
 */
import { createReadStream } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { io, replaceDirectory, writeAll, writeFileAtomically } from '../../core/files.js';
import { runJob } from '../../core/job.js';
import { codedError, fail } from '../../errors.js';
import { findAdapterTensors } from '../../model/adapters/adapterFiles.js';
import { trainsWithAdapter } from '../../model/adapters/adapters.js';
import type { Model } from '../../model/model.js';
import type { AdamW } from '../../model/optimizer.js';
import { loadCheckpoint } from '../../model/pretrained.js';
import {
  readSafetensorsHeader,
  type StoredDtype,
  type TensorEntry,
  writeSafetensors,
} from '../../model/safetensors/safetensors.js';
import type { CommonConfig } from '../config/config.js';
import type { Stage } from '../config/stages.js';
import { CHECKPOINT_NAME } from './log.js';
import type { Counters, TrainingState } from './state.js';

const STATE = 'trainer_state.json';
const OPTIMIZER = 'optimizer.safetensors';
const VERSION = 3;
/** Kept the counters in `state` and the rest of it in `pending`; still read. */
const VERSION_WITH_PENDING = 2;

export interface CheckpointContents {
  readonly state: TrainingState;
  /** Options and stages, compared on resume. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Hash of the reference model's weights, or null. */
  readonly reference: string | null;
}

/** What describes the files beside trainer_state.json. */
interface FilesRecord {
  readonly optimizerStep: number | null;
  readonly sha256: Readonly<Record<string, string>>;
  /**
   * Hash of the weights that adapters stand beside, which the checkpoint does not hold; null without
   * adapters.
   */
  readonly base: string | null;
}

interface StateFile extends CheckpointContents, FilesRecord {
  readonly version: typeof VERSION;
}
/** `pending` is null for supervised training. */
interface StateFileWithPending extends Omit<CheckpointContents, 'state'>, FilesRecord {
  readonly version: typeof VERSION_WITH_PENDING;
  readonly state: Counters;
  readonly pending: {
    readonly batch: TrainingState['batch'];
    readonly head: TrainingState['valueHead'];
    readonly entropy: TrainingState['entropy'];
  } | null;
}

/** @throws for a version that is not read here. */
async function readStateFile(directory: string): Promise<StateFile> {
  const text = await readFile(join(directory, STATE), 'utf8');
  const file = JSON.parse(text) as StateFile | StateFileWithPending;
  if (file.version === VERSION) return file;
  if (file.version !== VERSION_WITH_PENDING) {
    const { version } = file as { readonly version: unknown };
    throw new Error(
      `${STATE} has version ${version}, this headfirst reads ${VERSION_WITH_PENDING} and ${VERSION}`,
    );
  }
  const { pending, ...rest } = file;
  const { batch = null, head = null, entropy = null } = pending ?? {};
  return { ...rest, version: VERSION, state: { ...file.state, batch, valueHead: head, entropy } };
}

/** node:crypto is loaded with the first checkpoint, not with the package. */
const newHash = () => process.getBuiltinModule('node:crypto').createHash('sha256');

export const fingerprint = async (
  model: Model,
  parameters: readonly { readonly name: string }[] = model.spec.parameters,
): Promise<string> => {
  const hash = newHash();
  for (const { name } of parameters) {
    const data = await model.getParameter(name);
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest('hex');
};

/** Once per model: beside adapters these weights are frozen. */
const bases = new WeakMap<Model, Promise<string>>();

async function baseFingerprint(model: Model): Promise<string | null> {
  const { peftConfig } = model;
  if (!peftConfig) return null;
  const known = bases.get(model);
  if (known !== undefined) return known;
  const frozen = model.spec.parameters.filter((parameter) => !trainsWithAdapter(parameter));
  const base = fingerprint(model, frozen);
  bases.set(model, base);
  return base;
}

async function sha256(path: string): Promise<string> {
  const hash = newHash();
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** Of AdamW, for every trainable parameter; the others have none. */
const MOMENTS = ['exp_avg', 'exp_avg_sq'] as const;

const momentsOf = (model: Model) =>
  MOMENTS.flatMap((which) =>
    model
      .parameters()
      .filter(({ trainable }) => trainable)
      .map(({ name, shape }) => ({ name, shape, which, tensor: `${which}.${name}` })),
  );

/** Hashes of the safetensors files in a directory. */
async function hashFiles(directory: string): Promise<Record<string, string>> {
  const names = (await readdir(directory)).filter((name) => name.includes('.safetensors')).sort();
  const hashes = await Promise.all(
    names.map(async (name) => [name, await sha256(join(directory, name))] as const),
  );
  return Object.fromEntries(hashes);
}

export async function writeCheckpoint(
  directory: string,
  model: Model,
  optimizer: AdamW | undefined,
  contents: CheckpointContents,
): Promise<void> {
  const caller = 'saveCheckpoint';
  const dtype: StoredDtype = model.context.math === 'fp64' ? 'F64' : 'F32';

  async function write(temporary: string): Promise<void> {
    if (model.peftConfig) await model.saveAdapter(temporary, { dtype });
    else await model.savePretrained(temporary, { dtype });
    if (optimizer) {
      const tensors = momentsOf(model).map(({ name, which, tensor, shape }) => ({
        name: tensor,
        shape,
        read: () => optimizer.readMoment(name, which),
      }));
      await writeSafetensors(join(temporary, OPTIMIZER), tensors, dtype, caller);
    }
    const state: StateFile = {
      version: VERSION,
      ...contents,
      base: await baseFingerprint(model),
      optimizerStep: optimizer?.stepCount ?? null,
      sha256: await hashFiles(temporary),
    };
    const text = Buffer.from(`${JSON.stringify(state)}\n`);
    await writeFileAtomically(caller, join(temporary, STATE), (file) => writeAll(file, text));
  }

  await replaceDirectory(caller, directory, { marker: STATE, owned: /^/, write });
}

export interface OpenedCheckpoint extends CheckpointContents {
  readonly hasOptimizer: boolean;
  /** Puts the weights, and the moments if it has them, in place. */
  restore(model: Model, optimizer: AdamW | undefined): Promise<void>;
}

/** @throws ERR_CHECKPOINT naming the damaged or foreign file and what to do instead. */
export async function openCheckpoint(
  directory: string,
  outputDir: string | undefined,
  model: Model,
): Promise<OpenedCheckpoint> {
  try {
    return await openUndamaged(directory, model);
  } catch (error) {
    const older = await olderCheckpoint(directory, outputDir);
    const remedy = older
      ? `resume from the older ${older}`
      : 'there is no older one: start anew with overwriteOutputDir';
    throw codedError(
      'ERR_CHECKPOINT',
      `resume: checkpoint ${directory} cannot be used: ${(error as Error).message}; ${remedy}`,
      error,
    );
  }
}

async function openUndamaged(directory: string, model: Model): Promise<OpenedCheckpoint> {
  const file = await readStateFile(directory);
  for (const [name, expected] of Object.entries(file.sha256))
    if ((await sha256(join(directory, name))) !== expected)
      throw new Error(`${name} is damaged: its SHA-256 is not the one in ${STATE}`);
  if (file.base !== (await baseFingerprint(model)))
    throw new Error('its adapters stand beside other weights than this model’s');
  const weights = model.peftConfig
    ? await findAdapterTensors('resume', directory, model)
    : await findWeights(directory, model);
  const hasOptimizer = file.optimizerStep !== null;
  const moments = hasOptimizer
    ? await readSafetensorsHeader(join(directory, OPTIMIZER), 'resume')
    : undefined;

  async function restore(target: Model, optimizer: AdamW | undefined): Promise<void> {
    // What is missing is noticed before the first weight is replaced.
    const found = moments && optimizer ? findMoments(target, moments) : [];
    for (const { index, entry } of weights) {
      const { path, offset, dtype } = entry;
      await runJob(undefined, () => target.native.loadParameter(index, path, offset, dtype as 'F32'));
    }
    if (!moments || !optimizer) return;
    for (const { name, which, entry } of found) await optimizer.loadMoment(name, which, entry);
    optimizer.stepCount = file.optimizerStep!;
  }

  return { ...file, hasOptimizer, restore };
}

async function findWeights(directory: string, model: Model) {
  const { spec, tensors } = await loadCheckpoint(directory, {});
  const shown = (parameter: { readonly name: string; readonly shape: readonly number[] }) =>
    `${parameter.name} [${parameter.shape.join(', ')}]`;
  return model.spec.parameters.map((parameter, index) => {
    const saved = spec.parameters[index];
    const isSame = saved?.role === parameter.role && saved.shape.join() === parameter.shape.join();
    if (!isSame)
      throw new Error(
        `it holds another model: ${saved ? shown(saved) : 'nothing'} where this one has ${shown(parameter)}`,
      );
    return { index, entry: tensors[index]! };
  });
}

function findMoments(model: Model, entries: ReadonlyMap<string, TensorEntry>) {
  return momentsOf(model).map(({ name, which, tensor }) => {
    const entry = entries.get(tensor);
    if (!entry) fail('ERR_CHECKPOINT', `resume: ${OPTIMIZER} has no tensor '${tensor}'`);
    return { name, which, entry };
  });
}

const stepOf = (path: string): number => Number(/checkpoint-(\d+)[\\/]*$/.exec(path)?.[1] ?? Infinity);
export const checkpointPath = (outputDir: string, step: number): string =>
  join(outputDir, `checkpoint-${step}`);

/** Newest first. */
async function listCheckpoints(outputDir: string): Promise<string[]> {
  const names = await readdir(outputDir).catch(() => []);
  return names
    .filter((name) => CHECKPOINT_NAME.test(name))
    .map((name) => join(outputDir, name))
    .sort((a, b) => stepOf(b) - stepOf(a));
}

/** Undefined when there is none. */
export const latestCheckpoint = async (outputDir: string): Promise<string | undefined> =>
  (await listCheckpoints(outputDir))[0];

async function olderCheckpoint(
  directory: string,
  outputDir: string | undefined,
): Promise<string | undefined> {
  if (outputDir === undefined) return undefined;
  const all = await listCheckpoints(outputDir);
  return all.find((path) => path !== directory && stepOf(path) < stepOf(directory));
}

/** Deletes the oldest checkpoints beyond `limit`; `newest` always stays. */
export async function pruneCheckpoints(outputDir: string, limit: number, newest: string): Promise<void> {
  const others = (await listCheckpoints(outputDir)).filter((path) => path !== newest);
  for (const path of others.slice(Math.max(limit - 1, 0)))
    await io('saveCheckpoint', 'remove', path, () => rm(path, { recursive: true }));
}

/**
 * What may differ between a run and its continuation: where and how often things are written, how long to
 * wait, how far to go.
 */
const FREE = [
  'outputDir',
  'reportTo',
  'overwriteOutputDir',
  'loggingSteps',
  'saveSteps',
  'saveTotalLimit',
  'evalSteps',
  'logCompletions',
  'gradientCheckpointing',
  'rewardTimeoutMs',
  'maxSteps',
  'numTrainEpochs',
  'numGenerationsEval',
];

/**
 * What a checkpoint is compared with: options as they are, stages without their lengths (and the rule that
 * shortens one, which is an option).
 */
export function comparableConfig(
  config: CommonConfig,
  stages: readonly Stage[],
  { dtype }: Pick<Model, 'dtype'>,
): Record<string, unknown> {
  const comparableStages = stages.map(({ steps: _, endsWhen: _rule, trainable, ...stage }) => ({
    ...stage,
    trainable: String(trainable),
  }));
  return { ...config, dtype, trainable: String(config.trainable), stages: comparableStages };
}

/** @throws ERR_CHECKPOINT naming the first option that would change what the run computes. */
export function checkSameConfig(
  directory: string,
  saved: Readonly<Record<string, unknown>>,
  now: Readonly<Record<string, unknown>>,
): void {
  for (const key of new Set([...Object.keys(saved), ...Object.keys(now)])) {
    if (FREE.includes(key)) continue;
    const before = JSON.stringify(saved[key]);
    const after = JSON.stringify(now[key]);
    if (before !== after)
      fail(
        'ERR_CHECKPOINT',
        `resume: ${directory} was made with ${key} ${before}, now it is ${after}; ` +
          'a run continues with its own options: restore it, ' +
          "or start a new run from the checkpoint's weights",
      );
  }
}
