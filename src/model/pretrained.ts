/** Hugging Face directories: reading and writing. Numbers stay in the files until the engine maps them. */
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import {
  anything,
  check,
  checkOptions,
  flag,
  JOB,
  object,
  positive,
  rule,
  type Rules,
  text,
} from '../core/check.js';
import { type Context, contextRule } from '../core/context.js';
import {
  io,
  parseJson,
  readIfPresent,
  replaceDirectory,
  writeAll,
  writeFileAtomically,
} from '../core/files.js';
import { type JobOptions, runJob } from '../core/job.js';
import { fail } from '../errors.js';
import type { ModelSpec, ParameterSpec } from '../core/addon/contract.js';
import { isAdapter, type PeftConfig } from './adapters/adapters.js';
import { type Family, familyOf, type HfConfig } from './families/index.js';
import type { Model } from './model.js';
import {
  readCheckpointTensors,
  type StoredDtype,
  type TensorEntry,
  writeCheckpointTensors,
} from './safetensors/safetensors.js';
import { createTokenizer, type Tokenizer } from './tokenizer/tokenizer.js';

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
}

/** How Model.savePretrained() writes a directory. */
export interface SaveOptions {
  /** What the file stores; rounded to nearest even. Default 'F32'. */
  readonly dtype?: StoredDtype;
  /** Above this the weights are split into several files. Default 5·10⁹, as transformers'. */
  readonly maxShardBytes?: number;
}

/** What a directory holds beside config and weights. */
export interface Companions {
  readonly tokenizer?: Tokenizer;
  /** generation_config.json, {} when there is none. */
  readonly generationConfig: HfConfig;
  /** Files that savePretrained() writes again byte for byte. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

const LOADABLE = ['F32', 'BF16', 'F16', 'F64'] as const;
type LoadableDtype = (typeof LOADABLE)[number];

export interface LoadedCheckpoint {
  readonly family: Family;
  readonly config: HfConfig;
  readonly spec: ModelSpec;
  /** One per spec.parameters entry, in its order. */
  readonly tensors: readonly {
    readonly path: string;
    readonly offset: number;
    readonly dtype: LoadableDtype;
  }[];
  readonly companions: Companions;
}

/** Carried over from where a model was loaded to where it is saved. */
const COMPANION_FILES = [
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'tokenizer.model',
  'chat_template.jinja',
  'chat_template.json',
];
/** Attention masks and rotary tables, which old checkpoints store among the weights. */
const BUFFER = /(^|\.)(attn|attention)\.(bias|masked_bias)$|\brotary_emb\.\w+$/;
export const CREATE_OPTIONS: Rules = { context: contextRule, dtype: anything, peftConfig: object };
const LOAD_OPTIONS: Rules = { ...CREATE_OPTIONS, ...JOB, untieClassifier: flag, adapter: text };
export const STORED = rule(
  'F64, F32, BF16 or F16',
  (value) => typeof value === 'string' && Object.hasOwn(TORCH_NAMES, value),
);
const SAVE_OPTIONS: Rules = { ...JOB, dtype: STORED, maxShardBytes: positive };

/** Reads and checks everything but the numbers. @throws as Model.fromPretrained. */
export async function loadCheckpoint(directory: string, options: LoadOptions): Promise<LoadedCheckpoint> {
  const caller = 'fromPretrained';
  check(caller, 'directory', directory, text);
  checkOptions(caller, options, LOAD_OPTIONS);
  const configPath = join(directory, 'config.json');
  const stored = parseJson(
    caller,
    configPath,
    await io(caller, 'read', configPath, () => readFile(configPath)),
  );
  return inFile(configPath, async () => {
    const family = familyOf(stored);
    const complete = family.complete(stored);
    const fileSpec = family.spec(complete);
    const tensors = await readCheckpointTensors(directory, caller);
    const found = await matchTensors(directory, family, complete, fileSpec, tensors);
    const untie = options.untieClassifier === true && !hasClassifier(fileSpec);
    const config = untie ? { ...complete, tie_word_embeddings: false } : complete;
    const spec = untie ? family.spec(config) : fileSpec;
    const source = (parameter: ParameterSpec) =>
      found.get(parameter.name) ?? found.get(fileSpec.parameters.find((p) => p.role === 'embedding')!.name)!;
    return {
      family,
      config,
      spec: {
        ...spec,
        parameters: spec.parameters.map((parameter) => ({
          ...parameter,
          name: found.get(parameter.name)?.name ?? parameter.name,
        })),
      },
      tensors: spec.parameters.map((parameter) => {
        const { path, offset, dtype } = source(parameter);
        return { path, offset, dtype: dtype as LoadableDtype };
      }),
      companions: await readCompanions(caller, directory),
    };
  });
}

const hasClassifier = (spec: ModelSpec) => spec.parameters.some((p) => p.role === 'classifier');

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
  for (const { name, role, shape } of spec.parameters) {
    const entry = tensors.get(fileName(name));
    if (!entry)
      fail(
        'ERR_IO',
        `fromPretrained: ${directory}: tensor '${fileName(name)}' is missing from the safetensors files; ${
          role === 'classifier'
            ? 'if the classifier is the embedding, set tie_word_embeddings to true in config.json'
            : 'the checkpoint is incomplete or config.json describes another model'
        }`,
      );
    checkDtype(entry);
    if (entry.shape.length !== shape.length || entry.shape.some((n, i) => n !== shape[i]))
      fail(
        'ERR_SHAPE',
        `fromPretrained: ${entry.path}: tensor '${entry.name}' must have shape [${shape.join(', ')}] by config.json, got [${entry.shape.join(', ')}]; config.json describes another model`,
      );
    found.set(name, entry);
  }
  const expected = new Set([...found.values()].map((entry) => entry.name));
  // A tied model's file may hold the shared matrix under both names.
  const classifier = family
    .spec({ ...config, tie_word_embeddings: false })
    .parameters.find((p) => p.role === 'classifier')!.name;
  const embedding = found.get(spec.parameters.find((p) => p.role === 'embedding')!.name)!;
  for (const [name, entry] of tensors) {
    if (expected.has(name) || BUFFER.test(name)) continue;
    if (name === classifier) {
      if (await sameBytes(entry, embedding)) continue;
      fail(
        'ERR_UNSUPPORTED',
        `fromPretrained: ${entry.path}: tensor '${name}' differs from the embedding '${embedding.name}', but config.json says tie_word_embeddings; set it to false to use this classifier, or remove the tensor`,
      );
    }
    checkDtype(entry);
    fail(
      'ERR_UNSUPPORTED',
      `fromPretrained: ${entry.path}: tensor '${name}' has no place in a ${family.modelType} model of this config; config.json describes another model, or the checkpoint has parts that are not supported`,
    );
  }
  return found;
}

async function sameBytes(a: TensorEntry, b: TensorEntry): Promise<boolean> {
  if (a.dtype !== b.dtype || a.bytes !== b.bytes) return false;
  const [fileA, fileB] = [await open(a.path, 'r'), await open(b.path, 'r')];
  try {
    const size = Math.min(a.bytes, 1 << 22);
    const [bufferA, bufferB] = [Buffer.alloc(size), Buffer.alloc(size)];
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
      `fromPretrained: ${path}: tensor '${name}' is stored as ${dtype}: a quantised checkpoint is not supported; use the unquantised one`,
    );
  fail(
    'ERR_DTYPE',
    `fromPretrained: ${path}: tensor '${name}' must be ${LOADABLE.join(', ')}, got ${dtype}; save the model in one of these`,
  );
}

async function readCompanions(caller: string, directory: string): Promise<Companions> {
  const files = new Map<string, Uint8Array>();
  for (const name of COMPANION_FILES) {
    const bytes = await readIfPresent(caller, join(directory, name));
    if (bytes) files.set(name, bytes);
  }
  const json = (name: string) => {
    const bytes = files.get(name);
    return bytes && parseJson(caller, join(directory, name), bytes);
  };
  const tokenizerJson = json('tokenizer.json');
  const jinja = files.get('chat_template.jinja');
  const chatTemplate = jinja
    ? Buffer.from(jinja).toString('utf8')
    : (json('chat_template.json')?.['chat_template'] as string | undefined);
  return {
    ...(tokenizerJson
      ? {
          tokenizer: createTokenizer(
            join(directory, 'tokenizer.json'),
            tokenizerJson,
            json('tokenizer_config.json') ?? {},
            chatTemplate,
          ),
        }
      : {}),
    generationConfig: json('generation_config.json') ?? {},
    files,
  };
}

const TORCH_NAMES = { F64: 'float64', F32: 'float32', BF16: 'bfloat16', F16: 'float16' } as const;

/**
 * @throws ERR_IO naming the path (unwritable, disk full), ERR_DTYPE (numbers beyond float16); an existing
 * directory is then unchanged.
 */
export async function saveCheckpointDirectory(
  model: Model,
  directory: string,
  options: SaveOptions & JobOptions,
): Promise<void> {
  const caller = 'savePretrained';
  check(caller, 'directory', directory, text);
  checkOptions(caller, options, SAVE_OPTIONS);
  const { dtype = 'F32', maxShardBytes = 5e9 } = options;
  const { family, spec } = model;
  // Readers of a headless model's names find no classifier among them.
  const prefix = hasClassifier(spec) ? (family.basePrefix ?? '') : '';
  const bare = prefix !== '' && !spec.parameters.some((p) => p.name.startsWith(prefix));
  let done = 0;
  // Adapters come after all else.
  const tensors = spec.parameters
    .filter((p) => !isAdapter(p))
    .map(({ name, role, shape }, index) => ({
      name: bare && role !== 'classifier' ? prefix + name : name,
      shape,
      async read() {
        const data = await runJob(options, () => model.native.readMerged(index));
        options.onProgress?.(++done, tensors.length);
        return data;
      },
    }));
  const dtypeKey = 'dtype' in model.config ? 'dtype' : 'torch_dtype';
  const config = {
    ...(family.architecture ? { architectures: [family.architecture] } : {}),
    ...model.config,
    [dtypeKey]: TORCH_NAMES[dtype],
  };
  await replaceDirectory(caller, directory, {
    marker: 'config.json',
    owned: new RegExp(
      `^(config\\.json|.*\\.safetensors(\\.index\\.json)?|${COMPANION_FILES.map((name) => name.replaceAll('.', '\\.')).join('|')})$`,
    ),
    async write(temporary) {
      const write = (name: string, bytes: Uint8Array) =>
        writeFileAtomically(caller, join(temporary, name), (file) => writeAll(file, bytes));
      await write('config.json', Buffer.from(`${JSON.stringify(config, null, 2)}\n`));
      for (const [name, bytes] of model.companions.files) await write(name, bytes);
      await writeCheckpointTensors(temporary, tensors, dtype, maxShardBytes, caller);
    },
  });
}
