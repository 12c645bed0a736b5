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
import { CHECKPOINT_NAME } from './log.js';

const STATE = 'trainer_state.json';
const OPTIMIZER = 'optimizer.safetensors';
const VERSION = 2;

/**
 * Everything a run needs beside weights and optimizer. Random numbers are functions of the seed and these
 * counters.
 */
export interface TrainerState {
  /** Optimizer steps made in all stages. */
  readonly step: number;
  /** Index of the stage under way, and steps made in it. */
  readonly stage: number;
  readonly stageStep: number;
  /** Rows taken from the data set. */
  readonly rows: number;
  /** Completions sampled: the next random stream. */
  readonly completions: number;
  readonly numTokens: number;
}

export interface CheckpointContents {
  readonly state: TrainerState;
  /** Options and stages, compared on resume. */
  readonly config: Readonly<Record<string, unknown>>;
  /** A rollout batch with updates left to make, or null. */
  readonly pending: unknown;
  /** Hash of the reference model's weights, or null. */
  readonly reference: string | null;
}

interface StateFile extends CheckpointContents {
  readonly version: number;
  readonly optimizerStep: number | null;
  readonly sha256: Readonly<Record<string, string>>;
  /**
   * Hash of the weights that adapters stand beside, which the checkpoint does not hold; null without
   * adapters.
   */
  readonly base: string | null;
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

const bases = new WeakMap<Model, Promise<string>>();
/** Once per model: beside adapters these weights are frozen. */
async function baseFingerprint(model: Model): Promise<string | null> {
  const { peftConfig } = model;
  if (!peftConfig) return null;
  if (!bases.has(model))
    bases.set(
      model,
      fingerprint(
        model,
        model.spec.parameters.filter((p) => !trainsWithAdapter(p, peftConfig)),
      ),
    );
  return bases.get(model)!;
}

async function sha256(path: string): Promise<string> {
  const hash = newHash();
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

const MOMENTS = ['exp_avg', 'exp_avg_sq'] as const;

export async function writeCheckpoint(
  directory: string,
  model: Model,
  optimizer: AdamW | undefined,
  contents: CheckpointContents,
): Promise<void> {
  const caller = 'saveCheckpoint';
  const dtype: StoredDtype = model.context.math === 'fp64' ? 'F64' : 'F32';
  await replaceDirectory(caller, directory, {
    marker: STATE,
    owned: /^/,
    async write(temporary) {
      await (model.peftConfig
        ? model.saveAdapter(temporary, { dtype })
        : model.savePretrained(temporary, { dtype }));
      if (optimizer) {
        // Of trainable parameters; the others have none.
        const tensors = MOMENTS.flatMap((which) =>
          model
            .parameters()
            .filter((p) => p.trainable)
            .map(({ name, shape }) => ({
              name: `${which}.${name}`,
              shape,
              read: () => optimizer.readMoment(name, which),
            })),
        );
        await writeSafetensors(join(temporary, OPTIMIZER), tensors, dtype, caller);
      }
      const files = (await readdir(temporary)).filter((name) => name.includes('.safetensors')).sort();
      const state: StateFile = {
        version: VERSION,
        ...contents,
        base: await baseFingerprint(model),
        optimizerStep: optimizer?.stepCount ?? null,
        sha256: Object.fromEntries(
          await Promise.all(files.map(async (name) => [name, await sha256(join(temporary, name))] as const)),
        ),
      };
      await writeFileAtomically(caller, join(temporary, STATE), (file) =>
        writeAll(file, Buffer.from(`${JSON.stringify(state)}\n`)),
      );
    },
  });
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
    const file = JSON.parse(await readFile(join(directory, STATE), 'utf8')) as StateFile;
    if (file.version !== VERSION)
      throw new Error(`${STATE} has version ${file.version}, this headfirst reads ${VERSION}`);
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
    return {
      ...file,
      hasOptimizer,
      async restore(target, optimizer) {
        const state = moments && optimizer ? findMoments(target, moments) : undefined;
        for (const {
          index,
          entry: { path, offset, dtype },
        } of weights)
          await runJob(undefined, () => target.native.loadParameter(index, path, offset, dtype as 'F32'));
        if (!state || !optimizer) return;
        for (const { name, which, entry } of state) await optimizer.loadMoment(name, which, entry);
        optimizer.stepCount = file.optimizerStep!;
      },
    };
  } catch (error) {
    const older =
      outputDir === undefined
        ? undefined
        : (await listCheckpoints(outputDir)).find(
            (path) => path !== directory && stepOf(path) < stepOf(directory),
          );
    throw codedError(
      'ERR_CHECKPOINT',
      `resume: checkpoint ${directory} cannot be used: ${(error as Error).message}; ${
        older ? `resume from the older ${older}` : 'there is no older one: start anew with overwriteOutputDir'
      }`,
      error,
    );
  }
}

async function findWeights(directory: string, model: Model) {
  const { spec, tensors } = await loadCheckpoint(directory, {});
  const shape = (p: { readonly name: string; readonly shape: readonly number[] }) =>
    `${p.name} [${p.shape.join(', ')}]`;
  return model.spec.parameters.map((p, index) => {
    const saved = spec.parameters[index];
    if (!saved || saved.role !== p.role || saved.shape.join() !== p.shape.join())
      throw new Error(
        `it holds another model: ${saved ? shape(saved) : 'nothing'} where this one has ${shape(p)}`,
      );
    return { index, entry: tensors[index]! };
  });
}

function findMoments(model: Model, entries: ReadonlyMap<string, TensorEntry>) {
  return MOMENTS.flatMap((which) =>
    model
      .parameters()
      .filter((p) => p.trainable)
      .map(({ name }) => ({
        name,
        which,
        entry:
          entries.get(`${which}.${name}`) ??
          fail('ERR_CHECKPOINT', `resume: ${OPTIMIZER} has no tensor '${which}.${name}'`),
      })),
  );
}

const stepOf = (path: string): number => Number(/checkpoint-(\d+)[\\/]*$/.exec(path)?.[1] ?? Infinity);
export const checkpointPath = (outputDir: string, step: number): string =>
  join(outputDir, `checkpoint-${step}`);

/** Newest first. */
export async function listCheckpoints(outputDir: string): Promise<string[]> {
  const names = await readdir(outputDir).catch(() => []);
  return names
    .filter((name) => CHECKPOINT_NAME.test(name))
    .map((name) => join(outputDir, name))
    .sort((a, b) => stepOf(b) - stepOf(a));
}

/** Undefined when there is none. */
export const latestCheckpoint = async (outputDir: string): Promise<string | undefined> =>
  (await listCheckpoints(outputDir))[0];

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

/** @throws ERR_CHECKPOINT naming the first option that would change what the run computes. */
export function checkSameConfig(
  directory: string,
  saved: Readonly<Record<string, unknown>>,
  now: Readonly<Record<string, unknown>>,
): void {
  for (const key of new Set([...Object.keys(saved), ...Object.keys(now)])) {
    const [before, after] = [JSON.stringify(saved[key]), JSON.stringify(now[key])];
    if (!FREE.includes(key) && before !== after)
      fail(
        'ERR_CHECKPOINT',
        `resume: ${directory} was made with ${key} ${before}, now it is ${after}; a run continues with its own options: restore it, or start a new run from the checkpoint's weights`,
      );
  }
}
