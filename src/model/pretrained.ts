/** Reading Hugging Face directories. Numbers stay in the files until the engine maps them. */
import { open, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';

import type { ModelSpec, ParameterSpec } from '../core/addon/contract.js';
import { anything, check, checkOptions, flag, JOB, object, type Rules, text } from '../core/check.js';
import { type Context, contextRule } from '../core/context.js';
import { io, readIfPresent } from '../core/files.js';
import { parseJson } from '../core/text.js';
import { fail } from '../errors.js';
import { ADAPTER_CONFIG, readAdapterConfig } from './adapters/adapterConfig.js';
import {
  type PeftConfig,
  type ResolvedPeftConfig,
  resolvePeftConfig,
  separatesClassifier,
} from './adapters/adapters.js';
import { type Companions, readCompanions } from './companions.js';
import type { Family, HfConfig } from './families/family.js';
import { familyOf } from './families/index.js';
import { isTied } from './parameters.js';
import { readCheckpointTensors, type TensorEntry } from './safetensors/safetensors.js';

/**
 * 'bfloat16': linear layers and the classifier multiply by weights rounded to bfloat16; activations, sums and
 * everything else stay float32. The float32 weights are kept: they are what trains and what is saved.
 */
export type ModelDtype = 'float32' | 'bfloat16';

/** @throws ERR_UNSUPPORTED for an unknown dtype, or bfloat16 in a float64 context. */
export function withDtype(
  caller: string,
  spec: ModelSpec,
  dtype: ModelDtype | undefined,
  context: Context,
): ModelSpec {
  if (dtype === undefined || dtype === 'float32') return spec;
  if (dtype !== 'bfloat16')
    fail('ERR_UNSUPPORTED', `${caller}: dtype must be 'float32' or 'bfloat16', got '${String(dtype)}'`);
  if (context.math === 'fp64')
    fail('ERR_UNSUPPORTED', `${caller}: dtype 'bfloat16' needs a context with math 'fp32', got 'fp64'`);
  return { ...spec, bfloat16: true };
}

/** How Model.fromPretrained() loads a directory. */
export interface LoadOptions {
  /** Default: a shared one, device 'auto', made on first use. */
  readonly context?: Context;
  /** Of computation; files may hold anything. Default 'float32'. */
  readonly dtype?: ModelDtype;
  /** Gives a tied model a classifier of its own, equal to the embedding at first. */
  readonly untieClassifier?: boolean;
  /** Adds fresh LoRA adapters and freezes the weights beside them (adapters.ts). */
  readonly peftConfig?: PeftConfig;
  /** A directory as saveAdapter() or peft writes it: its adapters, ready to train on. */
  readonly adapter?: string;
  /**
   * Weights that are NaN or infinite are loaded as they are. Default: they are refused, with the tensor's
   * name.
   */
  readonly allowNonFinite?: boolean;
}

const LOADABLE = ['F32', 'BF16', 'F16', 'F64'] as const;
type LoadableDtype = (typeof LOADABLE)[number];

export interface LoadedCheckpoint {
  readonly family: Family;
  readonly config: HfConfig;
  readonly spec: ModelSpec;
  /** One per spec.parameters entry, in its order. */
  readonly tensors: readonly {
    readonly name: string;
    readonly path: string;
    readonly offset: number;
    readonly dtype: LoadableDtype;
  }[];
  readonly companions: Companions;
  /** Of the adapter that is read or made. */
  readonly peftConfig: ResolvedPeftConfig | undefined;
}

/** Attention masks and rotary tables, which old checkpoints store among the weights. */
const BUFFER = /(^|\.)(attn|attention)\.(bias|masked_bias)$|\brotary_emb\.\w+$/;
/** What every way to make a model takes. */
export const CREATE_OPTIONS: Rules = { context: contextRule, dtype: anything, peftConfig: object };
const LOAD_OPTIONS: Rules = {
  ...CREATE_OPTIONS,
  ...JOB,
  untieClassifier: flag,
  adapter: text,
  allowNonFinite: flag,
};

/** Reads and checks everything but the numbers. @throws as Model.fromPretrained. */
export async function loadCheckpoint(directory: string, options: LoadOptions): Promise<LoadedCheckpoint> {
  const caller = 'fromPretrained';
  check(caller, 'directory', directory, text);
  checkOptions(caller, options, LOAD_OPTIONS);
  const configPath = join(directory, 'config.json');
  await refuseAdapterDirectory(caller, directory);
  const bytes = await io(caller, 'read', configPath, () => readFile(configPath));
  const stored = parseJson(caller, configPath, bytes);
  return inFile(configPath, async () => {
    const family = familyOf(stored);
    const complete = family.complete(stored);
    const fileSpec = family.spec(complete);
    const tensors = await readCheckpointTensors(directory, caller);
    const found = await matchTensors(directory, family, complete, fileSpec, tensors);

    const peftConfig =
      options.adapter !== undefined
        ? await readAdapterConfig(caller, options.adapter, family)
        : options.peftConfig && resolvePeftConfig(caller, family, options.peftConfig);
    const untie =
      isTied(fileSpec) &&
      (options.untieClassifier === true ||
        (peftConfig !== undefined && separatesClassifier({ family, spec: fileSpec }, peftConfig)));
    const config = untie ? { ...complete, tie_word_embeddings: false } : complete;
    const spec = untie ? family.spec(config) : fileSpec;
    // The file has no tensor for a classifier that is untied here: it begins as a copy of the embedding.
    const embedding = found.get(embeddingOf(fileSpec).name)!;
    return {
      family,
      config,
      spec: { ...spec, parameters: spec.parameters.map((parameter) => named(parameter, found)) },
      tensors: spec.parameters.map((parameter) => {
        const { name, path, offset, dtype } = found.get(parameter.name) ?? embedding;
        return { name, path, offset, dtype: dtype as LoadableDtype };
      }),
      companions: { ...(await readCompanions(caller, directory, config)), storedDtype: embedding.dtype },
      peftConfig,
    };
  });
}

/**
 * @throws ERR_UNSUPPORTED for a directory that peft wrote, which transformers reads as another model's
 * adapter.
 */
async function refuseAdapterDirectory(caller: string, directory: string): Promise<void> {
  const path = join(directory, ADAPTER_CONFIG);
  const bytes = await readIfPresent(caller, path);
  if (!bytes) return;
  const base = parseJson(caller, path, bytes)['base_model_name_or_path'];
  const name = typeof base === 'string' && base !== '' ? `'${base}'` : 'its base model';
  fail(
    'ERR_UNSUPPORTED',
    `${caller}: ${directory} is an adapter (it holds ${basename(path)}), not a model; load ${name} and give this ` +
      'directory as adapter (--adapter on the command line)',
  );
}

const embeddingOf = (spec: ModelSpec): ParameterSpec => spec.parameters.find((p) => p.role === 'embedding')!;

/** The parameter under the name that the file has for it. */
const named = (parameter: ParameterSpec, found: ReadonlyMap<string, TensorEntry>): ParameterSpec => ({
  ...parameter,
  name: found.get(parameter.name)?.name ?? parameter.name,
});

/** Errors about the config name its file. */
async function inFile<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Error && /^config(\.json)?:/.test(error.message))
      error.message = error.message.replace(/^config(\.json)?:/, `fromPretrained: ${path}:`);
    throw error;
  }
}

/**
 * The file's tensor for every parameter, by the parameter's full name. Buffers aside, the file must hold
 * these and no others.
 */
async function matchTensors(
  directory: string,
  family: Family,
  config: HfConfig,
  spec: ModelSpec,
  tensors: ReadonlyMap<string, TensorEntry>,
): Promise<Map<string, TensorEntry>> {
  const prefix = family.basePrefix ?? '';
  const bare = ![...tensors.keys()].some((name) => name.startsWith(prefix));
  const fileName = (name: string) => (bare && name.startsWith(prefix) ? name.slice(prefix.length) : name);
  const found = new Map<string, TensorEntry>();
  for (const parameter of spec.parameters)
    found.set(parameter.name, matchTensor(directory, fileName(parameter.name), parameter, tensors));
  await refuseOthers(family, config, tensors, found, found.get(embeddingOf(spec).name)!);
  return found;
}

/** The tensor of one parameter. @throws ERR_IO when it is missing, ERR_DTYPE, ERR_SHAPE, ERR_UNSUPPORTED. */
function matchTensor(
  directory: string,
  name: string,
  { role, shape }: ParameterSpec,
  tensors: ReadonlyMap<string, TensorEntry>,
): TensorEntry {
  const entry = tensors.get(name);
  if (!entry) {
    const remedy =
      role === 'classifier'
        ? 'if the classifier is the embedding, set tie_word_embeddings to true in config.json'
        : 'the checkpoint is incomplete or config.json describes another model';
    return fail(
      'ERR_IO',
      `fromPretrained: ${directory}: tensor '${name}' is missing from the safetensors files; ${remedy}`,
    );
  }
  checkDtype(entry);
  const sameShape = entry.shape.length === shape.length && entry.shape.every((n, i) => n === shape[i]);
  if (!sameShape)
    fail(
      'ERR_SHAPE',
      `fromPretrained: ${entry.path}: tensor '${entry.name}' must have shape [${shape.join(', ')}] by ` +
        `config.json, got [${entry.shape.join(', ')}]; config.json describes another model`,
    );
  return entry;
}

/** @throws ERR_UNSUPPORTED for a tensor that is neither a parameter nor a buffer. */
async function refuseOthers(
  family: Family,
  config: HfConfig,
  tensors: ReadonlyMap<string, TensorEntry>,
  found: ReadonlyMap<string, TensorEntry>,
  embedding: TensorEntry,
): Promise<void> {
  const expected = new Set([...found.values()].map((entry) => entry.name));
  // A tied model's file may hold the shared matrix under both names.
  const untied = family.spec({ ...config, tie_word_embeddings: false });
  const classifier = untied.parameters.find((p) => p.role === 'classifier')!.name;
  for (const [name, entry] of tensors) {
    if (expected.has(name) || BUFFER.test(name)) continue;
    if (name === classifier) {
      if (await sameBytes(entry, embedding)) continue;
      fail(
        'ERR_UNSUPPORTED',
        `fromPretrained: ${entry.path}: tensor '${name}' differs from the embedding '${embedding.name}', but ` +
          'config.json says tie_word_embeddings; set it to false to use this classifier, or remove the tensor',
      );
    }
    checkDtype(entry);
    fail(
      'ERR_UNSUPPORTED',
      `fromPretrained: ${entry.path}: tensor '${name}' has no place in a ${family.modelType} model of this ` +
        'config; config.json describes another model, or the checkpoint has parts that are not supported',
    );
  }
}

/** Whether two tensors are the same numbers in the same type. */
async function sameBytes(a: TensorEntry, b: TensorEntry): Promise<boolean> {
  if (a.dtype !== b.dtype || a.bytes !== b.bytes) return false;
  const fileA = await open(a.path, 'r');
  const fileB = await open(b.path, 'r');
  try {
    const size = Math.min(a.bytes, 1 << 22);
    const bufferA = Buffer.alloc(size);
    const bufferB = Buffer.alloc(size);
    for (let done = 0; done < a.bytes; done += size) {
      const length = Math.min(size, a.bytes - done);
      await fileA.read(bufferA, 0, length, a.offset + done);
      await fileB.read(bufferB, 0, length, b.offset + done);
      if (bufferA.compare(bufferB, 0, length, 0, length) !== 0) return false;
    }
    return true;
  } finally {
    await fileA.close();
    await fileB.close();
  }
}

function checkDtype({ path, name, dtype }: TensorEntry): void {
  if ((LOADABLE as readonly string[]).includes(dtype)) return;
  if (/^(F8|[IU]8)/.test(dtype))
    fail(
      'ERR_UNSUPPORTED',
      `fromPretrained: ${path}: tensor '${name}' is stored as ${dtype}: ` +
        'a quantised checkpoint is not supported; use the unquantised one',
    );
  fail(
    'ERR_DTYPE',
    `fromPretrained: ${path}: tensor '${name}' must be ${LOADABLE.join(', ')}, got ${dtype}; ` +
      'save the model in one of these',
  );
}
