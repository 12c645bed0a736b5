/**
 * LoRA (Hu et al. 2021, 2106.09685) on linear layers, by peft's names and in peft's files: y = W x + s · B A
 * x with A [r, in], B [out, r] and s = loraAlpha / r. Adapters are parameters like any other; the weights
 * beside them are frozen.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import {
  anything,
  checkOptions,
  count,
  flag,
  listOf,
  orNull,
  positive,
  rule,
  type Rules,
} from '../../core/check.js';
import { io, parseJson, replaceDirectory, writeAll, writeFileAtomically } from '../../core/files.js';
import { type JobOptions, runJob } from '../../core/job.js';
import { camelCaseKeys } from '../../core/names.js';
import { fail } from '../../errors.js';
import type { ModelSpec, ParameterRole, ParameterSpec } from '../../core/addon/contract.js';
import type { Family, HfConfig } from '../families/index.js';
import type { Model } from '../model.js';
import {
  readSafetensorsHeader,
  type StoredDtype,
  type TensorEntry,
  writeSafetensors,
} from '../safetensors/safetensors.js';

/**
 * LoRA adapters (Hu et al. 2021, 2106.09685) by peft's names, in camelCase or snake_case: y = W x + s · B A
 * x, A [r, in], B [out, r], s = loraAlpha / r. The weights beside them are frozen.
 */
export interface PeftConfig {
  /** Rank of the adapters. Default 8. */
  readonly r?: number;
  /** Default 8. */
  readonly loraAlpha?: number;
  /**
   * Ends of module names ('q_proj'), a pattern of whole names, or 'all-linear'. Default: peft's for the
   * family.
   */
  readonly targetModules?: readonly string[] | string;
  /** s = loraAlpha / √r. */
  readonly useRslora?: boolean;
  /** Ends of names of modules that train in full and are saved with the adapter, e.g. the classifier. */
  readonly modulesToSave?: readonly string[] | null;
  /** 0: dropout is not implemented. */
  readonly loraDropout?: number;
}

/** With defaults filled in and targets found. */
export interface ResolvedPeftConfig {
  readonly r: number;
  readonly loraAlpha: number;
  readonly useRslora: boolean;
  readonly targetModules: readonly string[] | string;
  readonly modulesToSave: readonly string[] | null;
}

const CONFIG = 'adapter_config.json';
const WEIGHTS = 'adapter_model.safetensors';
const PREFIX = 'base_model.model.';
const isName = (value: unknown) => typeof value === 'string' && value !== '';
const NAMES = listOf('an array of module names', isName);
const OPTIONS: Rules = {
  r: count,
  loraAlpha: positive,
  useRslora: flag,
  loraDropout: anything,
  modulesToSave: orNull(NAMES),
  targetModules: rule(
    "'all-linear', a pattern or an array of module names",
    (value) => isName(value) || NAMES.accepts(value),
  ),
};
const LINEAR: readonly ParameterRole[] = [
  'q',
  'k',
  'v',
  'qkv',
  'attention_out',
  'mlp_gate',
  'mlp_up',
  'mlp_down',
];

export const isAdapter = (p: { readonly role: ParameterRole }): boolean =>
  p.role === 'lora_A' || p.role === 'lora_B';
const moduleOf = (p: ParameterSpec): string => p.name.replace(/\.(weight|bias)$/, '');
const endsWith = (module: string, ends: readonly string[]): boolean =>
  ends.some((end) => module === end || module.endsWith(`.${end}`));

/**
 * snake_case names are accepted too. @throws ERR_INVALID_ARG naming the option, ERR_UNSUPPORTED for dropout.
 */
export function resolvePeftConfig(caller: string, family: Family, given: PeftConfig): ResolvedPeftConfig {
  const config = camelCaseKeys(given) as PeftConfig;
  checkOptions(`${caller}: peftConfig`, config, OPTIONS);
  const {
    r = 8,
    loraAlpha = 8,
    useRslora = false,
    loraDropout = 0,
    modulesToSave = null,
    targetModules = family.loraTargets,
  } = config;
  if (loraDropout !== 0)
    fail(
      'ERR_UNSUPPORTED',
      `${caller}: peftConfig.loraDropout ${loraDropout} is not implemented: the log-probs that are sampled and those that are trained must be the same; use 0`,
    );
  return { r, loraAlpha, useRslora, targetModules, modulesToSave };
}

/**
 * The description with adapters at its end. @throws ERR_INVALID_ARG when a target matches nothing or is not a
 * linear layer.
 */
export function withAdapters(
  caller: string,
  spec: ModelSpec,
  { r, loraAlpha, useRslora, targetModules, modulesToSave }: ResolvedPeftConfig,
): ModelSpec {
  const linear = spec.parameters.filter((p) => LINEAR.includes(p.role));
  let wanted: (module: string) => boolean;
  if (targetModules === 'all-linear') wanted = (module) => linear.some((p) => moduleOf(p) === module);
  else if (typeof targetModules === 'string')
    wanted = (module) => new RegExp(`^(?:${targetModules})$`).test(module);
  else wanted = (module) => endsWith(module, targetModules);
  const matched = spec.parameters.filter((p) => p.name.endsWith('.weight') && wanted(moduleOf(p)));
  const ends = [...new Set(linear.map((p) => moduleOf(p).split('.').at(-1)!))];
  const other = matched.find((p) => !linear.includes(p));
  if (other)
    fail(
      'ERR_UNSUPPORTED',
      `${caller}: peftConfig.targetModules names ${moduleOf(other)}, which is no linear layer of the body; linear are ${ends.join(', ')}; name it in modulesToSave to train it in full`,
    );
  if (matched.length === 0)
    fail(
      'ERR_INVALID_ARG',
      `${caller}: peftConfig.targetModules ${JSON.stringify(targetModules)} matches no module; linear layers are ${ends.join(', ')}`,
    );
  const adapters = matched.flatMap((p): ParameterSpec[] => {
    const [out, input] = spec.transposedLinears ? [p.shape[1]!, p.shape[0]!] : [p.shape[0]!, p.shape[1]!];
    const common = { layer: p.layer, target: spec.parameters.indexOf(p) };
    return [
      { ...common, name: `${moduleOf(p)}.lora_A.weight`, role: 'lora_A', shape: [r, input] },
      { ...common, name: `${moduleOf(p)}.lora_B.weight`, role: 'lora_B', shape: [out, r] },
    ];
  });
  const saved = modulesToSave ?? [];
  for (const end of saved)
    if (!spec.parameters.some((p) => endsWith(moduleOf(p), [end])))
      fail(
        'ERR_INVALID_ARG',
        `${caller}: peftConfig.modulesToSave '${end}' matches no module; names look like '${moduleOf(spec.parameters[0]!)}'`,
      );
  return {
    ...spec,
    loraScale: loraAlpha / (useRslora ? Math.sqrt(r) : r),
    parameters: [...spec.parameters, ...adapters],
  };
}

/** What trains beside an adapted model's frozen weights, and is saved with the adapter. */
export const trainsWithAdapter = (p: ParameterSpec, { modulesToSave }: ResolvedPeftConfig): boolean =>
  isAdapter(p) || endsWith(moduleOf(p), modulesToSave ?? []);

/**
 * B = 0, so the model computes at first what it did without; A normal with the variance of peft's uniform, 1
 * / (3 in).
 */
export async function initialiseAdapters(model: Model, seed: number): Promise<void> {
  for (const [index, { role, shape }] of model.spec.parameters.entries())
    if (role === 'lora_A')
      await runJob(undefined, () => model.native.initParameter(index, 1 / Math.sqrt(3 * shape[1]!), 0, seed));
}

// ---- files ------------------------------------------------------------------------------------------------

/** Keys of adapter_config.json that change the maths, with the values that do not. */
const NEUTRAL: Readonly<Record<string, readonly unknown[]>> = {
  peft_type: ['LORA'],
  bias: ['none', undefined],
  use_dora: [false, undefined],
  lora_bias: [false, undefined],
  layers_to_transform: [null, undefined],
  layer_replication: [null, undefined],
  exclude_modules: [null, undefined],
  target_parameters: [null, undefined],
  trainable_token_indices: [null, undefined],
  use_qalora: [false, undefined],
  alora_invocation_tokens: [null, undefined],
};

export async function readAdapterConfig(
  caller: string,
  directory: string,
  family: Family,
): Promise<ResolvedPeftConfig> {
  const path = join(directory, CONFIG);
  const config: HfConfig = parseJson(caller, path, await io(caller, 'read', path, () => readFile(path)));
  for (const [key, values] of Object.entries(NEUTRAL))
    if (!values.includes(config[key]))
      fail(
        'ERR_UNSUPPORTED',
        `${caller}: ${path}: ${key} ${JSON.stringify(config[key])} is not supported; supported: ${JSON.stringify(values[0])}`,
      );
  for (const key of ['rank_pattern', 'alpha_pattern'])
    if (Object.keys((config[key] as object | undefined) ?? {}).length > 0)
      fail(
        'ERR_UNSUPPORTED',
        `${caller}: ${path}: ${key} is not supported: one rank and alpha serve all adapters here`,
      );
  return resolvePeftConfig(caller, family, {
    r: config['r'] as number,
    loraAlpha: config['lora_alpha'] as number,
    useRslora: config['use_rslora'] === true,
    modulesToSave: config['modules_to_save'] as string[] | null,
    // Dropout is a thing of training; a finished adapter computes without.
    ...(config['target_modules'] ? { targetModules: config['target_modules'] as string[] | string } : {}),
  });
}

/**
 * Where the file has each parameter of the adapter. @throws ERR_IO for one that is missing, ERR_SHAPE,
 * ERR_UNSUPPORTED for one that has no place.
 */
export async function findAdapterTensors(
  caller: string,
  directory: string,
  model: Model,
): Promise<{ readonly index: number; readonly entry: TensorEntry }[]> {
  const tensors = await readSafetensorsHeader(join(directory, WEIGHTS), caller);
  const found = adapterParameters(model).map(({ index, fileName, shape }) => {
    const entry =
      tensors.get(fileName) ??
      fail(
        'ERR_IO',
        `${caller}: ${directory}: tensor '${fileName}' is missing from ${WEIGHTS}; the adapter is incomplete or belongs to another model`,
      );
    if (entry.shape.join() !== shape.join())
      fail(
        'ERR_SHAPE',
        `${caller}: ${entry.path}: tensor '${fileName}' must have shape [${shape.join(', ')}], got [${entry.shape.join(', ')}]`,
      );
    return { index, entry };
  });
  const known = new Set(found.map(({ entry }) => entry.name));
  const extra = [...tensors.keys()].find((name) => !known.has(name));
  if (extra !== undefined)
    fail(
      'ERR_UNSUPPORTED',
      `${caller}: ${directory}: tensor '${extra}' of ${WEIGHTS} has no place in this model with this ${CONFIG}`,
    );
  return found;
}

function adapterParameters(model: Model) {
  const { basePrefix = '' } = model.family;
  const bare = basePrefix !== '' && !model.spec.parameters.some((p) => p.name.startsWith(basePrefix));
  return model.spec.parameters.flatMap((p, index) => {
    if (!trainsWithAdapter(p, model.peftConfig!)) return [];
    return [
      {
        index,
        shape: p.shape,
        fileName: PREFIX + (bare && p.role !== 'classifier' ? basePrefix : '') + p.name,
      },
    ];
  });
}

/** adapter_config.json and adapter_model.safetensors, as peft's save_pretrained writes them. */
export async function saveAdapterDirectory(
  model: Model,
  directory: string,
  options: { readonly dtype?: StoredDtype } & JobOptions,
): Promise<void> {
  const caller = 'saveAdapter';
  const { r, loraAlpha, useRslora, targetModules, modulesToSave } =
    model.peftConfig ??
    fail('ERR_UNSUPPORTED', `model.${caller}: this model has no adapter; load it with peftConfig or adapter`);
  const config = {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: model.config['_name_or_path'] ?? null,
    inference_mode: true,
    r,
    lora_alpha: loraAlpha,
    lora_dropout: 0,
    target_modules: targetModules,
    modules_to_save: modulesToSave,
    bias: 'none',
    fan_in_fan_out: model.spec.transposedLinears,
    use_rslora: useRslora,
    use_dora: false,
    init_lora_weights: true,
    rank_pattern: {},
    alpha_pattern: {},
    layers_to_transform: null,
    layers_pattern: null,
  };
  const tensors = adapterParameters(model).map(({ index, shape, fileName }) => ({
    name: fileName,
    shape,
    read: () => runJob(options, () => model.native.readParameter(index)),
  }));
  await replaceDirectory(caller, directory, {
    marker: CONFIG,
    owned: new RegExp(`^(${CONFIG}|${WEIGHTS})$`.replaceAll('.', '\\.')),
    async write(temporary) {
      await writeFileAtomically(caller, join(temporary, CONFIG), (file) =>
        writeAll(file, Buffer.from(`${JSON.stringify(config, null, 2)}\n`)),
      );
      await writeSafetensors(join(temporary, WEIGHTS), tensors, options.dtype ?? 'F32', caller);
    },
  });
}
