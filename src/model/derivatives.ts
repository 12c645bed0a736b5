/** Forward- and reverse-mode derivatives of the logits through the whole engine. */
import { check, checkOptions, JOB, list, object, type Rules, shown } from '../core/check.js';
import { type JobOptions, runJob } from '../core/job.js';
import { Tensor } from '../core/tensor.js';
import { fail, suggestion } from '../errors.js';
import type { RealArray } from '../core/addon/contract.js';
import { type Batch, packBatch } from './batch.js';
import { filterRule, type ParameterFilter, wantedMask } from './parameters.js';
import type { ModelParts as Model } from './parts.js';

export type ParameterVectors = Readonly<Record<string, RealArray>>;

const VJP: Rules = { ...JOB, params: filterRule };

/** Named arrays as one flat vector in the model's parameter order; what is not named is zero. */
export function flatten(
  caller: string,
  model: Model,
  vectors: ParameterVectors,
  base?: RealArray,
): Float64Array {
  check(caller, 'arrays by parameter name', vectors, object);
  const names = new Set(model.spec.parameters.map((p) => p.name));
  for (const name of Object.keys(vectors))
    if (!names.has(name))
      fail('ERR_INVALID_ARG', `${caller}: there is no parameter '${name}'.${suggestion(name, [...names])}`);
  const flat = base ? Float64Array.from(base) : new Float64Array(model.native.size);
  for (const { name, offset, size } of model.parameters()) {
    const vector = vectors[name];
    if (!vector) continue;
    if (vector.length !== size)
      fail('ERR_SHAPE', `${caller}: '${name}' must have ${size} numbers, got ${vector.length}`);
    flat.set(vector, offset);
  }
  return flat;
}

/**
 * Forward mode: tangents of logits [T, V] and features [T, d] along named tangents (absent = 0), per
 * sequence.
 */
export async function jvp(
  model: Model,
  batch: Batch,
  tangents: ParameterVectors,
  options?: JobOptions,
): Promise<{ logits: Tensor[]; hiddenStates: Tensor[] }> {
  checkOptions('model.jvp', options, JOB);
  const packed = packBatch('model.jvp', model, batch);
  const flat = flatten('model.jvp', model, tangents);
  const result = await runJob(options, (onProgress) => model.native.jvp(packed, flat, onProgress));
  const wrap = (tensors: typeof result.logits) => tensors.map((tensor) => new Tensor(tensor));
  return { logits: wrap(result.logits), hiddenStates: wrap(result.hiddenStates) };
}

/** @throws ERR_SHAPE, ERR_INVALID_ARG unless there is one tensor [k, T, V] per sequence. */
function checkCotangents(
  caller: string,
  model: Model,
  sequences: readonly (readonly number[])[],
  cotangents: readonly Tensor[],
): void {
  check(caller, 'cotangents', cotangents, list);
  if (cotangents.length !== sequences.length)
    fail(
      'ERR_SHAPE',
      `${caller}: cotangents must have one tensor per sequence (${sequences.length}), got ${cotangents.length}`,
    );
  const k = cotangents[0] instanceof Tensor ? (cotangents[0].shape[0] ?? 0) : 0;
  cotangents.forEach((cotangent, s) => {
    if (!(cotangent instanceof Tensor))
      fail(
        'ERR_INVALID_ARG',
        `${caller}: cotangents[${s}] must be a Tensor (Tensor.from), got ${shown(cotangent)}`,
      );
    const isFirst = s === 0;
    const expected = [isFirst ? Math.max(k, 1) : k, sequences[s]!.length, model.spec.vocabSize];
    if (cotangent.shape.join() === expected.join()) return;
    const count = isFirst && cotangent.shape.length !== 3 ? 'k' : expected[0];
    fail(
      'ERR_SHAPE',
      `${caller}: cotangents[${s}] must have shape [k, T, V] = [${count}, ${expected[1]}, ${expected[2]}], ` +
        `got [${cotangent.shape.join(', ')}]`,
    );
  });
}

/**
 * Reverse mode with k cotangents on one shared forward pass: cotangents[s] is (k, T, V); the result has (k,
 * …shape) per parameter.
 */
export async function vjp(
  model: Model,
  batch: Batch,
  cotangents: readonly Tensor[],
  options: JobOptions & { readonly params?: ParameterFilter } = {},
): Promise<Record<string, Tensor>> {
  const caller = 'model.vjp';
  checkOptions(caller, options, VJP);
  const packed = packBatch(caller, model, batch);
  checkCotangents(caller, model, batch.inputIds, cotangents);
  const wanted = wantedMask(caller, model, options.params);
  const native = cotangents.map((cotangent) => cotangent.native);
  const gradients = await runJob(options, (onProgress) =>
    model.native.vjp(packed, native, { wanted }, onProgress),
  );
  const chosen = model.parameters().filter((_, i) => wanted[i] === 1);
  return Object.fromEntries(chosen.map(({ name }, i) => [name, new Tensor(gradients[i]!)]));
}
