/** The classifier W (V, d): how large it is and how far it moved. */
import { check } from '../core/check.js';
import { fail } from '../errors.js';
import { type Model, modelRule } from '../model/model.js';
import { norm } from './matrix.js';

/** Size and move of the classifier W (V, d). */
export interface ClassifierNorm {
  /** Of the parameter. */
  readonly name: string;
  /** The matrix is the input embedding as well. */
  readonly tied: boolean;
  /** ‖W‖_F. */
  readonly frobenius: number;
  /** Mean L2 norm of a token's row. */
  readonly meanRow: number;
  /** ‖W − W₀‖_F and the same over ‖W₀‖_F, when an origin was given. */
  readonly moved?: number;
  readonly relativeMoved?: number;
}

const classifierOf = (model: Model) =>
  model.parameters((p) => p.role === (model.tied ? 'embedding' : 'classifier'))[0]!;

/**
 * How large W is and, given the model that training began with, how far it moved: what would explain LP-FT
 * but not CF-RL (2601.04670).
 * @throws ERR_SHAPE when the origin's classifier has another shape.
 */
export async function classifierNorm(model: Model, origin?: Model): Promise<ClassifierNorm> {
  const caller = 'analysis.classifierNorm';
  check(caller, 'model', model, modelRule);
  if (origin !== undefined) check(caller, 'origin', origin, modelRule);
  const { name, shape, size } = classifierOf(model);
  const weights = Float64Array.from(await model.getParameter(name));
  const [V, d] = shape as [number, number];
  const frobenius = norm(weights);
  const meanRow =
    Array.from({ length: V }, (_, v) => norm(weights.subarray(v * d, (v + 1) * d))).reduce(
      (a, b) => a + b,
      0,
    ) / V;
  if (!origin) return { name, tied: model.tied, frobenius, meanRow };
  const first = classifierOf(origin);
  if (first.size !== size || first.shape[0] !== V)
    fail(
      'ERR_SHAPE',
      `${caller}: origin must be a checkpoint of the same architecture: its classifier must have shape [${shape.join(', ')}], got [${first.shape.join(', ')}]`,
    );
  const before = await origin.getParameter(first.name);
  const moved = norm(weights.map((w, i) => w - before[i]!));
  return { name, tied: model.tied, frobenius, meanRow, moved, relativeMoved: moved / norm(before) };
}
