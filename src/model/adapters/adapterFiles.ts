/** Adapter directories as peft's save_pretrained writes them: adapter_config.json and the weights. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { io, parseJson, replaceDirectory, writeAll, writeFileAtomically } from '../../core/files.js';
import { type JobOptions, runJob } from '../../core/job.js';
import { fail } from '../../errors.js';
import type { Family, HfConfig } from '../families/family.js';
import type { ModelParts } from '../parts.js';
import {
  readSafetensorsHeader,
  type StoredDtype,
  type TensorEntry,
  writeSafetensors,
} from '../safetensors/safetensors.js';
import { type ResolvedPeftConfig, resolvePeftConfig, trainsWithAdapter } from './adapters.js';

const CONFIG = 'adapter_config.json';
const WEIGHTS = 'adapter_model.safetensors';
/** What peft puts before every name. */
const PREFIX = 'base_model.model.';

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
  const bytes = await io(caller, 'read', path, () => readFile(path));
  const config: HfConfig = parseJson(caller, path, bytes);
  for (const [key, values] of Object.entries(NEUTRAL))
    if (!values.includes(config[key]))
      fail(
        'ERR_UNSUPPORTED',
        `${caller}: ${path}: ${key} ${JSON.stringify(config[key])} is not supported; supported: ` +
          `${JSON.stringify(values[0])}`,
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
  model: ModelParts,
): Promise<{ readonly index: number; readonly entry: TensorEntry }[]> {
  const tensors = await readSafetensorsHeader(join(directory, WEIGHTS), caller);
  const found = adapterParameters(model).map(({ index, fileName, shape }) => {
    const entry =
      tensors.get(fileName) ??
      fail(
        'ERR_IO',
        `${caller}: ${directory}: tensor '${fileName}' is missing from ${WEIGHTS}; the adapter is incomplete or ` +
          'belongs to another model',
      );
    if (entry.shape.join() !== shape.join())
      fail(
        'ERR_SHAPE',
        `${caller}: ${entry.path}: tensor '${fileName}' must have shape [${shape.join(', ')}], got ` +
          `[${entry.shape.join(', ')}]`,
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

interface AdapterParameter {
  /** Its place in the model's list. */
  readonly index: number;
  readonly shape: readonly number[];
  readonly fileName: string;
}

/** What an adapter's file holds of a model. */
function adapterParameters({ family, peftConfig, spec }: ModelParts): AdapterParameter[] {
  const { basePrefix = '' } = family;
  const bare = basePrefix !== '' && !spec.parameters.some((p) => p.name.startsWith(basePrefix));
  const parameters: AdapterParameter[] = [];
  for (const [index, parameter] of spec.parameters.entries()) {
    if (!trainsWithAdapter(parameter, peftConfig!)) continue;
    const { name, role, shape } = parameter;
    const prefix = bare && role !== 'classifier' ? basePrefix : '';
    parameters.push({ index, shape, fileName: PREFIX + prefix + name });
  }
  return parameters;
}

/** adapter_config.json and adapter_model.safetensors, as peft's save_pretrained writes them. */
export async function saveAdapterDirectory(
  model: ModelParts,
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
