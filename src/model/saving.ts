/** Writing Hugging Face directories. */
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { check, checkOptions, JOB, positive, rule, type Rules, text } from '../core/check.js';
import { io, replaceDirectory, writeAll, writeFileAtomically } from '../core/files.js';
import { type JobOptions, runJob } from '../core/job.js';
import { isAdapter } from './adapters/adapters.js';
import { COMPANION_FILES, TEMPLATE_FOLDER } from './companions.js';
import type { HfConfig } from './families/family.js';
import { isTied } from './parameters.js';
import type { ModelParts } from './parts.js';
import { type StoredDtype, type TensorToWrite, writeCheckpointTensors } from './safetensors/safetensors.js';

/** How Model.savePretrained() writes a directory. */
export interface SaveOptions {
  /**
   * What the file stores; rounded to nearest even. Default: what the files stored that the model was loaded
   * from, as transformers does, and 'F32' for a model that was made from a config.
   */
  readonly dtype?: StoredDtype;
  /** Above this the weights are split into several files. Default 5·10⁹, as transformers'. */
  readonly maxShardBytes?: number;
}

const TORCH_NAMES = { F64: 'float64', F32: 'float32', BF16: 'bfloat16', F16: 'float16' } as const;

/** Of options that name a stored type. */
export const STORED = rule(
  'F64, F32, BF16 or F16',
  (value) => typeof value === 'string' && Object.hasOwn(TORCH_NAMES, value),
);
const SAVE_OPTIONS: Rules = { ...JOB, dtype: STORED, maxShardBytes: positive };

/** The files that belong to a model directory: an older one's are replaced, others in it are kept. */
const OWNED = new RegExp(
  `^(config\\.json|.*\\.safetensors(\\.index\\.json)?|${[...COMPANION_FILES, TEMPLATE_FOLDER].map(escapeDots).join('|')})$`,
);
function escapeDots(name: string): string {
  return name.replaceAll('.', '\\.');
}

/**
 * @throws ERR_IO naming the path (unwritable, disk full), ERR_DTYPE (numbers beyond float16); an existing
 * directory is then unchanged.
 */
export async function saveCheckpointDirectory(
  model: ModelParts,
  directory: string,
  options: SaveOptions & JobOptions,
): Promise<void> {
  const caller = 'savePretrained';
  check(caller, 'directory', directory, text);
  checkOptions(caller, options, SAVE_OPTIONS);
  const { dtype = storedDtype(model), maxShardBytes = 5e9 } = options;
  const tensors = tensorsOf(model, options);
  const config = configOf(model, dtype);
  await replaceDirectory(caller, directory, {
    marker: 'config.json',
    owned: OWNED,
    async write(temporary) {
      const write = (name: string, bytes: Uint8Array) =>
        writeFileAtomically(caller, join(temporary, name), (file) => writeAll(file, bytes));
      await write('config.json', Buffer.from(`${JSON.stringify(config, null, 2)}\n`));
      for (const [name, bytes] of model.companions.files) {
        const folder = dirname(join(temporary, name));
        await io(caller, 'write', folder, () => mkdir(folder, { recursive: true }));
        await write(name, bytes);
      }
      await writeCheckpointTensors(temporary, tensors, dtype, maxShardBytes, caller);
    },
  });
}

/** What a model is stored as unless told. Double has digits that only a model computed in double fills. */
function storedDtype({ companions, context }: ModelParts): StoredDtype {
  const { storedDtype: stored = 'F32' } = companions;
  if (stored === 'F64' && context.math !== 'fp64') return 'F32';
  return stored as StoredDtype;
}

/**
 * config.json of the saved model. Files say what they store in the key that the model's config has for it.
 */
function configOf({ family, config }: ModelParts, dtype: StoredDtype): HfConfig {
  const dtypeKey = 'dtype' in config ? 'dtype' : 'torch_dtype';
  return {
    ...(family.architecture ? { architectures: [family.architecture] } : {}),
    ...config,
    [dtypeKey]: TORCH_NAMES[dtype],
  };
}

/** The parameters with adapters merged into them, each under its full name. */
function tensorsOf(model: ModelParts, options: JobOptions): TensorToWrite[] {
  const { family, native, spec } = model;
  // Readers of a headless model's names find no classifier among them.
  const prefix = isTied(spec) ? '' : (family.basePrefix ?? '');
  const bare = prefix !== '' && !spec.parameters.some((p) => p.name.startsWith(prefix));
  // Adapters come after all else, so that the indices of what stays are its own.
  const kept = spec.parameters.filter((p) => !isAdapter(p));
  let done = 0;
  return kept.map(({ name, role, shape }, index) => ({
    name: bare && role !== 'classifier' ? prefix + name : name,
    shape,
    async read() {
      const data = await runJob(options, () => native.readMerged(index));
      options.onProgress?.(++done, kept.length);
      return data;
    },
  }));
}
