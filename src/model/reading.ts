/** The numbers of files, into a model's parameters. */
import type { NativeModel, RealArray } from '../core/addon/contract.js';
import { type JobOptions, runJob } from '../core/job.js';
import { fail } from '../errors.js';
import { findAdapterTensors } from './adapters/adapterFiles.js';
import type { ModelParts } from './parts.js';
import type { LoadedCheckpoint, LoadOptions } from './pretrained.js';
import type { TensorEntry } from './safetensors/safetensors.js';

type ReadOptions = Pick<LoadOptions, 'allowNonFinite'> & JobOptions;
type StoredTensor = Pick<TensorEntry, 'name' | 'path' | 'offset' | 'dtype'>;

/** One parameter. @throws ERR_UNSUPPORTED for a number that is NaN or infinite, unless they are allowed. */
async function readTensor(
  caller: string,
  native: NativeModel,
  index: number,
  { name, path, offset, dtype }: StoredTensor,
  options: ReadOptions,
): Promise<void> {
  const nonFinite = await runJob(options, () => native.loadParameter(index, path, offset, dtype as 'F32'));
  if (nonFinite === 0 || options.allowNonFinite) return;
  fail(
    'ERR_UNSUPPORTED',
    `${caller}: ${path}: tensor '${name}' has ${nonFinite} numbers that are NaN or infinite: training has diverged ` +
      'or the file is damaged; use an earlier checkpoint, or pass allowNonFinite: true to load it as it is',
  );
}

/** All parameters, one after the other. */
export async function readWeights(
  native: NativeModel,
  { tensors }: LoadedCheckpoint,
  options: ReadOptions,
): Promise<void> {
  let done = 0;
  for (const [index, tensor] of tensors.entries()) {
    await readTensor('fromPretrained', native, index, tensor, options);
    options.onProgress?.(++done, tensors.length);
  }
}

/** An adapter's parameters, all of them or none. */
export async function readAdapter(
  caller: string,
  model: ModelParts,
  directory: string,
  options: ReadOptions = {},
): Promise<void> {
  const { native } = model;
  const found = await findAdapterTensors(caller, directory, model);
  const before: { readonly index: number; readonly data: RealArray }[] = [];
  try {
    for (const { index, entry } of found) {
      const data = await runJob(options, () => native.readParameter(index));
      before.push({ index, data });
      await readTensor(caller, native, index, entry, options);
    }
  } catch (error) {
    for (const { index, data } of before) await runJob(undefined, () => native.writeParameter(index, data));
    throw error;
  }
}
