/** Matrices as callers have them: a Tensor, `{ data, shape }`, or what ntk.gram returns. */
import { Tensor } from '../core/tensor.js';
import { fail } from '../errors.js';

/** A row-major matrix: a Tensor [rows, columns], numbers with their shape, or a result of ntk.gram. */
export type MatrixLike =
  | Tensor
  | { readonly data: ArrayLike<number>; readonly shape: readonly number[] }
  | { readonly kernel: ArrayLike<number>; readonly shape: readonly number[] };

/** Row-major float64. */
export interface Matrix {
  readonly data: Float64Array;
  readonly rows: number;
  readonly columns: number;
}

/** @throws ERR_SHAPE, ERR_INVALID_ARG (a number that is not finite). */
async function matrixOf(caller: string, name: string, given: MatrixLike): Promise<Matrix> {
  if (typeof given !== 'object' || given === null || !Array.isArray(given.shape))
    fail(
      'ERR_INVALID_ARG',
      `${caller}: ${name} must be a Tensor, { data, shape } or a result of ntk.gram, got ${given === null ? 'null' : typeof given}`,
    );
  const [rows, columns] = given.shape as [number, number];
  if (given.shape.length !== 2)
    fail('ERR_SHAPE', `${caller}: ${name} must be a matrix, got shape [${given.shape.join(', ')}]`);
  const data = Float64Array.from(
    given instanceof Tensor ? await given.data() : 'kernel' in given ? given.kernel : given.data,
  );
  if (data.length !== rows * columns)
    fail(
      'ERR_SHAPE',
      `${caller}: ${name} has shape [${rows}, ${columns}], which needs ${rows * columns} numbers, got ${data.length}`,
    );
  const bad = data.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0)
    fail(
      'ERR_INVALID_ARG',
      `${caller}: ${name}[${Math.floor(bad / columns)}, ${bad % columns}] must be finite, got ${data[bad]}`,
    );
  return { data, rows, columns };
}

export async function squareMatrixOf(caller: string, name: string, given: MatrixLike): Promise<Matrix> {
  const matrix = await matrixOf(caller, name, given);
  if (matrix.rows !== matrix.columns || matrix.rows === 0)
    fail(
      'ERR_SHAPE',
      `${caller}: ${name} must be square and not empty, got shape [${matrix.rows}, ${matrix.columns}]; a kernel between two sets of samples has no spectrum: give one set`,
    );
  return matrix;
}

export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; ++i) sum += a[i]! * b[i]!;
  return sum;
}
export const norm = (a: ArrayLike<number>): number => Math.sqrt(dot(a, a));
