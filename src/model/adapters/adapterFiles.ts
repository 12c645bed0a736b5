/** Adapter directories as peft's save_pretrained writes them: adapter_config.json and the weights. */
import { join } from 'node:path';

import { replaceDirectory, writeAll, writeFileAtomically } from '../../core/files.js';
import { type JobOptions, runJob } from '../../core/job.js';
import { fail } from '../../errors.js';
import type { ModelParts } from '../parts.js';
import {
  readSafetensorsHeader,
  type StoredDtype,
  type TensorEntry,
  writeSafetensors,
} from '../safetensors/safetensors.js';
import { ADAPTER_CONFIG } from './adapterConfig.js';
import { trainsWithAdapter } from './adapters.js';
import { moduleNames } from './moduleNames.js';

const WEIGHTS = 'adapter_model.safetensors';
/** What peft puts before every name. */
const PREFIX = 'base_model.model.';

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
      `${caller}: ${directory}: tensor '${extra}' of ${WEIGHTS} has no place in this model with this ${ADAPTER_CONFIG}`,
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
function adapterParameters(model: ModelParts): AdapterParameter[] {
  const moduleOf = moduleNames(model);
  const parameters: AdapterParameter[] = [];
  for (const [index, parameter] of model.spec.parameters.entries()) {
    if (!trainsWithAdapter(parameter)) continue;
    const { name, shape } = parameter;
    const kind = name.slice(name.lastIndexOf('.'));
    parameters.push({ index, shape, fileName: PREFIX + moduleOf(parameter) + kind });
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
  const {
    r,
    loraAlpha,
    useRslora,
    targetModules,
    excludeModules,
    layersToTransform,
    layersPattern,
    modulesToSave,
  } =
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
    exclude_modules: excludeModules,
    modules_to_save: modulesToSave,
    bias: 'none',
    fan_in_fan_out: model.spec.transposedLinears,
    use_rslora: useRslora,
    use_dora: false,
    init_lora_weights: true,
    rank_pattern: {},
    alpha_pattern: {},
    layers_to_transform: layersToTransform,
    layers_pattern: layersPattern,
  };
  const tensors = adapterParameters(model).map(({ index, shape, fileName }) => ({
    name: fileName,
    shape,
    read: () => runJob(options, () => model.native.readParameter(index)),
  }));
  await replaceDirectory(caller, directory, {
    marker: ADAPTER_CONFIG,
    owned: new RegExp(`^(${ADAPTER_CONFIG}|${WEIGHTS})$`.replaceAll('.', '\\.')),
    async write(temporary) {
      await writeFileAtomically(caller, join(temporary, ADAPTER_CONFIG), (file) =>
        writeAll(file, Buffer.from(`${JSON.stringify(config, null, 2)}\n`)),
      );
      await writeSafetensors(join(temporary, WEIGHTS), tensors, options.dtype ?? 'F32', caller);
    },
  });
}
