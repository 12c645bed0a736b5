/** Forward- and reverse-mode derivatives of the logits through the whole engine. */
import { type JobOptions, runJob } from '../core/job.js';
import { Tensor } from '../core/tensor.js';
import { fail, suggestion } from '../errors.js';
import type { RealArray } from '../native/types.js';
import { packSequences } from './batch.js';
import type { Model } from './model.js';
import { type ParameterFilter, wantedMask } from './selection.js';

export type ParameterVectors = Readonly<Record<string, RealArray>>;

/** Named arrays as one flat vector in the model's parameter order; what is not named is zero. */
export function flatten(caller: string, model: Model, vectors: ParameterVectors, base?: RealArray): Float64Array {
  const names = new Set(model.spec.parameters.map((p) => p.name));
  for (const name of Object.keys(vectors))
    if (!names.has(name)) fail('ERR_INVALID_ARG', `${caller}: there is no parameter '${name}'.${suggestion(name, [...names])}`);
  const flat = base ? Float64Array.from(base) : new Float64Array(model.native.size);
  for (const { name, offset, size } of model.parameters()) {
    const vector = vectors[name];
    if (!vector) continue;
    if (vector.length !== size) fail('ERR_SHAPE', `${caller}: '${name}' must have ${size} numbers, got ${vector.length}`);
    flat.set(vector, offset);
  }
  return flat;
}

/** Forward mode: tangents of logits [T, V] and features [T, d] along named tangents (absent = 0), per sequence. */
export async function jvp(model: Model, batch: { readonly inputIds: readonly (readonly number[])[] }, tangents: ParameterVectors, options?: JobOptions): Promise<{ logits: Tensor[]; hiddenStates: Tensor[] }> {
  const packed = packSequences('model.jvp', model, batch.inputIds);
  const flat = flatten('model.jvp', model, tangents);
  const result = await runJob(options, (onProgress) => model.native.jvp(packed, flat, onProgress));
  const wrap = (tensors: typeof result.logits) => tensors.map((tensor) => new Tensor(tensor));
  return { logits: wrap(result.logits), hiddenStates: wrap(result.hiddenStates) };
}

/** Reverse mode with k cotangents on one shared forward pass: cotangents[s] is (k, T, V); the result has (k, …shape) per parameter. */
export async function vjp(model: Model, batch: { readonly inputIds: readonly (readonly number[])[] }, cotangents: readonly Tensor[], options: JobOptions & { readonly params?: ParameterFilter } = {}): Promise<Record<string, Tensor>> {
  const packed = packSequences('model.vjp', model, batch.inputIds);
  const wanted = wantedMask('model.vjp', model, options.params);
  const flat = new Tensor(await runJob(options, (onProgress) => model.native.vjp(packed, cotangents.map((c) => c.native), { wanted }, onProgress)));
  const numbers = await flat.data();
  flat.dispose();
  const k = cotangents[0]?.shape[0] ?? 0;
  return Object.fromEntries(model.parameters().filter((_, i) => wanted[i] === 1).map(({ name, offset, size, shape }) => {
    const rows = new Float64Array(k * size);
    for (let i = 0; i < k; ++i) rows.set(numbers.subarray(i * model.native.size + offset, i * model.native.size + offset + size), i * size);
    return [name, Tensor.from(model.context, rows, [k, ...shape])];
  }));
}
