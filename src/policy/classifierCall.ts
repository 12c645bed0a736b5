/**
 * One call of op linear_policy_gradient on matrices: what its arguments must look like, and the way to the
 * addon.
 */
import { addon } from '../core/addon/addon.js';
import type { NativePolicyGradient, RealArray } from '../core/addon/contract.js';
import {
  anything,
  check,
  checkOptions,
  flag,
  JOB,
  object,
  type Rules,
  shown,
  TEMPERATURE,
} from '../core/check.js';
import { type Context, contextRule, defaultContext } from '../core/context.js';
import { type JobOptions, runJob } from '../core/job.js';
import { Tensor } from '../core/tensor.js';
import { fail } from '../errors.js';

/** A tensor is used where it lies; numbers of a typed array (row-major) are copied when the call is made. */
export type Matrix = Tensor | { readonly data: RealArray; readonly shape: readonly number[] };

/** z = (hidden weightᵀ + bias) / temperature; every figure is that of the tempered softmax. */
export interface ClassifierInput {
  /** [N, C] */
  readonly hidden: Matrix;
  /** [V, C] */
  readonly weight: Matrix;
  /** [V]; −Infinity masks a token everywhere. */
  readonly bias?: RealArray;
  /** Default 1. */
  readonly temperature?: number;
  /** dL/dhidden is wanted. */
  readonly gradHidden?: boolean;
  /** dL/dweight is wanted. */
  readonly gradWeight?: boolean;
}

/** One entry per row; Float64Arrays in a fp64 context. */
export interface PolicyGradientResult {
  /** log softmax(z)[target], 0 where ignored. */
  readonly logps: Float32Array;
  /** nats */
  readonly entropy: Float32Array;
  /** Of the most likely token. */
  readonly maxProb: Float32Array;
  /** Each row's share of L. */
  readonly losses: Float32Array;
  /** The KL estimate, when a reference was given. */
  readonly kl?: Float32Array;
  /** ρ and what was clipped (−1 low, +1 high), with a loss that computes them. */
  readonly ratio?: Float32Array;
  readonly clipped?: Int32Array;
  /** dL/dhidden [N, C] and dL/dweight [V, C], where wanted. */
  readonly gradHidden?: Tensor;
  readonly gradWeight?: Tensor;
}

/** Where a call runs, how it is cancelled and watched. */
export interface CallOptions extends JobOptions {
  /** Default: that of the tensors, or the shared one. */
  readonly context?: Context;
}

const CALL: Rules = { ...JOB, context: contextRule };
/** Judged by checkInput, with its length. */
export const array = anything;
export const CLASSIFIER: Rules = {
  hidden: array,
  weight: array,
  bias: array,
  targets: array,
  temperature: TEMPERATURE,
  gradHidden: flag,
  gradWeight: flag,
};

const isTensor = (value: unknown): value is Tensor => value instanceof Tensor;

function shapeOf(caller: string, name: string, matrix: Matrix | undefined): readonly [number, number] {
  const shape = matrix?.shape;
  if (Array.isArray(shape) && shape.length === 2) return shape as unknown as [number, number];
  const got = shape === undefined ? typeof matrix : `shape [${String(shape)}]`;
  return fail(
    'ERR_SHAPE',
    `${caller}: ${name} must be a Tensor or { data, shape: [rows, columns] }, got ${got}`,
  );
}

/** An array of the right type and length, whose memory can be read while the call runs. */
function checkArray(caller: string, name: string, values: unknown, length: number, each: string): void {
  if (!(values instanceof Int32Array || values instanceof Float32Array || values instanceof Float64Array)) {
    const wanted = name === 'targets' ? 'Int32Array' : 'Float32Array or Float64Array';
    fail('ERR_DTYPE', `${caller}: ${name} must be a ${wanted}, got ${shown(values)}`);
  }
  if (values.buffer instanceof SharedArrayBuffer)
    fail(
      'ERR_INVALID_ARG',
      `${caller}: ${name} must not lie in a SharedArrayBuffer; copy it into an ArrayBuffer`,
    );
  if (values.buffer.byteLength === 0 && length > 0)
    fail('ERR_INVALID_ARG', `${caller}: ${name} is empty; its buffer is detached if it was transferred away`);
  if (values.length !== length)
    fail(
      'ERR_SHAPE',
      `${caller}: ${name} must have ${length} entries, one per row of ${each}, got ${values.length}`,
    );
}

/** Arguments that have one number per row of hidden, and one per row of the weight. */
const BY_ROW = [
  'targets',
  'coefficients',
  'entropyCoefficients',
  'advantages',
  'oldLogps',
  'weights',
  'refLogps',
] as const;
const BY_TOKEN = ['bias', 'refBias'] as const;

/** Types and shapes, before anything is copied; native code checks what the numbers say. */
export function checkInput(
  caller: string,
  input: Readonly<Record<string, unknown>>,
  known: Rules,
  options: CallOptions,
): void {
  check(caller, 'input', input, object);
  checkOptions(caller, input, known, { argument: 'input', noun: 'argument' });
  checkOptions(caller, options, CALL);
  const [rows, width] = shapeOf(caller, 'hidden', input['hidden'] as Matrix);
  const [vocabulary, columns] = shapeOf(caller, 'weight', input['weight'] as Matrix);
  if (columns !== width)
    fail('ERR_SHAPE', `${caller}: weight must have ${width} columns, as hidden has, got ${columns}`);
  if (!(input['targets'] instanceof Int32Array))
    fail('ERR_DTYPE', `${caller}: targets must be an Int32Array, got ${shown(input['targets'])}`);
  for (const name of BY_ROW)
    if (input[name] !== undefined) checkArray(caller, name, input[name], rows, 'hidden');
  for (const name of BY_TOKEN)
    if (input[name] !== undefined) checkArray(caller, name, input[name], vocabulary, 'weight');
}

type Call = Omit<NativePolicyGradient, 'hidden' | 'weight' | 'refHidden' | 'refWeight'> & {
  hidden: Matrix;
  weight: Matrix;
  refHidden?: Matrix;
  refWeight?: Matrix;
};

/** Arguments that have been checked, to the addon and back. */
export async function run(
  { hidden, weight, refHidden, refWeight, ...rest }: Call,
  options: CallOptions,
): Promise<PolicyGradientResult> {
  const hasContext = [hidden, weight, refHidden, refWeight].some(isTensor);
  const context = options.context ?? (hasContext ? undefined : defaultContext());
  const native = (matrix: Matrix) =>
    isTensor(matrix) ? matrix.native : { data: matrix.data, shape: matrix.shape };
  const args: NativePolicyGradient = {
    ...rest,
    hidden: native(hidden),
    weight: native(weight),
    ...(refHidden ? { refHidden: native(refHidden) } : {}),
    ...(refWeight ? { refWeight: native(refWeight) } : {}),
  };
  const { losses, gradHidden, gradWeight, ...scores } = await runJob(options, (onProgress) =>
    addon.policyGradient(context?.native, args, onProgress),
  );
  return {
    ...scores,
    losses: losses!,
    ...(gradHidden ? { gradHidden: new Tensor(gradHidden) } : {}),
    ...(gradWeight ? { gradWeight: new Tensor(gradWeight) } : {}),
  };
}
