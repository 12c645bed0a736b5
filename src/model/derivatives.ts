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
  check(caller, 'cotangents', cotangents, list);
  if (cotangents.length !== batch.inputIds.length)
    fail(
      'ERR_SHAPE',
      `${caller}: cotangents must have one tensor per sequence (${batch.inputIds.length}), got ${cotangents.length}`,
    );
  const k = cotangents[0] instanceof Tensor ? (cotangents[0].shape[0] ?? 0) : 0;
  cotangents.forEach((cotangent, s) => {
    if (!(cotangent instanceof Tensor))
      fail(
        'ERR_INVALID_ARG',
        `${caller}: cotangents[${s}] must be a Tensor (Tensor.from), got ${shown(cotangent)}`,
      );
    const expected = [s === 0 ? Math.max(k, 1) : k, batch.inputIds[s]!.length, model.spec.vocabSize];
    if (cotangent.shape.join() !== expected.join())
      fail(
        'ERR_SHAPE',
        `${caller}: cotangents[${s}] must have shape [k, T, V] = [${s === 0 && cotangent.shape.length !== 3 ? 'k' : expected[0]}, ${expected[1]}, ${expected[2]}], got [${cotangent.shape.join(', ')}]`,
      );
  });
  const wanted = wantedMask(caller, model, options.params);
  const flat = new Tensor(
    await runJob(options, (onProgress) =>
      model.native.vjp(
        packed,
        cotangents.map((c) => c.native),
        { wanted },
        onProgress,
      ),
    ),
  );
  const numbers = await flat.data();
  flat.dispose();
  return Object.fromEntries(
    model
      .parameters()
      .filter((_, i) => wanted[i] === 1)
      .map(({ name, offset, size, shape }) => {
        const rows = new Float64Array(k * size);
        for (let i = 0; i < k; ++i)
          rows.set(
            numbers.subarray(i * model.native.size + offset, i * model.native.size + offset + size),
            i * size,
          );
        return [name, Tensor.from(model.context, rows, [k, ...shape])];
      }),
  );
}
