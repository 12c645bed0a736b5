/** Runs op entries on chosen backends with prepared memory; measures errors. */
import { addon } from '../../src/core/addon/addon.js';
import type {
  ArrayView,
  BackendName,
  FieldDescription,
  KernelArgs,
  KernelResult,
  NativeMath,
  NativeOp,
} from '../../src/core/addon/contract.js';
import type { CaseArgs } from '../cases/define.js';
import type { IntTensor, RealTensor } from './random.js';

export const entry = (name: string): NativeOp => {
  const found = addon.ops.find((op) => op.name === name);
  if (!found) throw new Error(`no op entry '${name}'`);
  return found;
};
export const hasEntry = (name: string): boolean => addon.ops.some((op) => op.name === name);
export const isTensorField = (field: FieldDescription) =>
  field.kind === 'in' || field.kind === 'out' || field.kind === 'inout';
const isTensor = (value: unknown): value is RealTensor | IntTensor =>
  typeof value === 'object' && value !== null && 'shape' in value;

/** The CPU backends that this machine runs. */
export const cpuBackends: BackendName[] = (['base', 'avx2', 'avx512'] as const).filter((backend) => {
  try {
    entry('sum_of_squares').runSync({ x: { data: new Float32Array(1), shape: [1] } }, { backend });
    return true;
  } catch (error) {
    if ((error as { code?: string }).code === 'ERR_BACKEND_UNAVAILABLE') return false;
    throw error;
  }
});

const realOf = (backend: BackendName) => (backend === 'reference64' ? Float64Array : Float32Array);

export interface Prepared {
  readonly args: KernelArgs;
  /** Throws if a guard band or an input was written to. */
  verify(): void;
}

/** Rounds to the nearest bfloat16, ties to even. */
function bfloat16Bits(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0]!;
  return Number.isNaN(value) ? 0x7fc0 : Math.floor((bits + 0x7fff + ((bits >>> 16) & 1)) / 65536);
}

const GUARD = 16;
const SENTINEL = 0x5a;

/** Where a strided tensor's elements lie, in row-major order. */
function positions(shape: readonly number[], strides: readonly number[]): Int32Array {
  const size = shape.reduce((a, b) => a * b, 1);
  const at = new Int32Array(size);
  for (let i = 0; i < size; ++i) {
    let rest = i;
    for (let dim = shape.length - 1; dim >= 0; --dim) {
      at[i]! += (rest % shape[dim]!) * strides[dim]!;
      rest = Math.floor(rest / shape[dim]!);
    }
  }
  return at;
}

/** Row-major strides; with `pad`, every dimension but the last is further apart than what it contains. */
function rowMajor(shape: readonly number[], pad: boolean): number[] {
  const strides = shape.map(() => 1);
  for (let dim = shape.length - 2; dim >= 0; --dim)
    strides[dim] = strides[dim + 1]! * shape[dim + 1]! + (pad ? 3 : 0);
  return strides;
}

/** A dimension of a field list: "S+1" is the size S and the offset 1. */
function parseDimension(dimension: string): { name: string; offset: number } {
  const [name, offset] = dimension.split('+');
  return { name: name!, offset: Number(offset ?? 0) };
}

/** The sizes that the given tensors bind, by name. */
function boundSizes(op: NativeOp, args: CaseArgs): Map<string, number> {
  const sizes = new Map<string, number>();
  for (const field of op.fields) {
    const value = args[field.name];
    if (!isTensorField(field) || !isTensor(value)) continue;
    field.dims!.split(' ').forEach((dimension, i) => {
      const { name, offset } = parseDimension(dimension);
      sizes.set(name, value.shape[i]! - offset);
    });
  }
  return sizes;
}

/** The shape of an output that was not given; "S2|S" is S2 where that is bound. */
function shapeOf(field: FieldDescription, sizes: ReadonlyMap<string, number>): number[] {
  return field.dims!.split(' ').map((dimension) => {
    if (/^\d+$/.test(dimension)) return Number(dimension);
    const bound = dimension.split('|').find((choice) => sizes.has(parseDimension(choice).name));
    const { name, offset } = parseDimension(bound!);
    return sizes.get(name)! + offset;
  });
}

function arrayTypeOf(field: FieldDescription, backend: BackendName, bfloat16: boolean | undefined) {
  if (bfloat16) return Uint16Array;
  switch (field.dtype) {
    case 'int32':
      return Int32Array;
    case 'uint8':
      return Uint8Array;
    case 'float64':
      return Float64Array;
    default:
      return realOf(backend);
  }
}

function stridesOf(shape: readonly number[], layout: RealTensor['layout'], padRows: boolean): number[] {
  const pad = padRows ? 3 : 0;
  if (layout === 'columns') return [1, shape[0]! + pad];
  if (layout === 'spread') return [2 * shape[1]! + 1 + pad, 2];
  return rowMajor(shape, padRows);
}

/** A tensor between guard bands: the given numbers, or for an output poison. */
function place(
  op: NativeOp,
  field: FieldDescription,
  value: RealTensor | IntTensor | undefined,
  shape: number[],
  backend: BackendName,
  { padRows, round }: { padRows: boolean; round: boolean },
): { view: ArrayView; verify: () => void } {
  const { layout, bfloat16 } = (value ?? {}) as Partial<RealTensor>;
  const Type = arrayTypeOf(field, backend, bfloat16);
  const strides = stridesOf(shape, layout, padRows);
  const at = positions(shape, strides);
  const data = new Type(2 * GUARD + (at.length > 0 ? at.at(-1)! + 1 : 0));
  const bytes = new Uint8Array(data.buffer);
  bytes.fill(SENTINEL);
  const inside = new Uint8Array(data.length);
  const stored = (x: number): number => {
    if (bfloat16) return bfloat16Bits(x);
    return field.dtype === 'real' && round ? Math.fround(x) : x;
  };
  const poison = Type === Int32Array ? -123456 : Number.NaN;
  for (let i = 0; i < at.length; ++i) {
    const position = GUARD + at[i]!;
    inside[position] = 1;
    data[position] = value ? stored(value.data[i]!) : poison;
  }
  const before = bytes.slice();
  const unit = data.BYTES_PER_ELEMENT;
  const verify = () => {
    for (let element = 0; element < data.length; ++element) {
      if (inside[element] && field.kind !== 'in') continue;
      for (let b = element * unit; b < (element + 1) * unit; ++b)
        if (bytes[b] !== before[b])
          throw new Error(
            `${op.name}: ${inside[element] ? 'input' : 'memory around'} ${field.name} was changed at element ${element - GUARD}`,
          );
    }
  };
  return { view: { data, shape, strides, offset: GUARD } as ArrayView, verify };
}

/**
 * Case arguments in a backend's types. Reals are rounded to float32 first, so that every backend sees the
 * same numbers. Outputs lie between guard bands and are filled with NaN; `padRows` puts rows (and heads)
 * further apart than their length.
 */
export function prepare(
  op: NativeOp,
  args: CaseArgs,
  backend: BackendName,
  { padRows = false, round = true } = {},
): Prepared {
  const sizes = boundSizes(op, args);
  const result: Record<string, KernelArgs[string]> = {};
  const checks: (() => void)[] = [];
  for (const field of op.fields) {
    const value = args[field.name];
    if (!isTensorField(field)) {
      if (value !== undefined) result[field.name] = value as number;
      continue;
    }
    const isLeftOut = value === undefined && (field.optional || field.kind === 'in');
    if (isLeftOut || value === false) continue;
    const tensor = isTensor(value) ? value : undefined;
    const shape = tensor ? [...tensor.shape] : shapeOf(field, sizes);
    const { view, verify } = place(op, field, tensor, shape, backend, { padRows, round });
    result[field.name] = view;
    checks.push(verify);
  }
  return { args: result, verify: () => checks.forEach((check) => check()) };
}

/** An output's numbers, contiguous. */
export function numbers(view: ArrayView): Float64Array {
  const at = positions(view.shape, view.strides ?? rowMajor(view.shape, false));
  return Float64Array.from(at, (position) => Number(view.data[(view.offset ?? 0) + position]));
}

export function runCase(
  op: NativeOp,
  args: CaseArgs,
  backend: BackendName,
  options: { padRows?: boolean; threads?: number; round?: boolean; math?: NativeMath } = {},
): KernelResult {
  const prepared = prepare(op, args, backend, options);
  const result = op.runSync(prepared.args, {
    backend,
    threads: options.threads ?? 1,
    ...(options.math ? { math: options.math } : {}),
  });
  prepared.verify();
  return result;
}

/**
 * Relative Frobenius error; NaN and infinities must match exactly. Written results are never NaN unless the
 * reference's are.
 */
export function relativeError(actual: ArrayView, expected: ArrayView): number {
  const a = numbers(actual);
  const e = numbers(expected);
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < e.length; ++i) {
    if (Object.is(a[i], e[i]) || a[i] === e[i]) {
      if (Number.isFinite(e[i]!)) norm += e[i]! ** 2;
      continue;
    }
    if (!Number.isFinite(a[i]!) || !Number.isFinite(e[i]!)) return Number.POSITIVE_INFINITY;
    difference += (a[i]! - e[i]!) ** 2;
    norm += e[i]! ** 2;
  }
  return Math.sqrt(difference) / Math.max(Math.sqrt(norm), 1e-30);
}

/**
 * The backward or jvp arguments that belong to a forward call, by name: a field that the forward entry also
 * has keeps its value or result; d_<output> and t_<input> come from `cotangent`; d_<input> and t_<output> are
 * outputs.
 */
export function derivedArgs(
  derived: NativeOp,
  forwardArgs: CaseArgs,
  forwardResult: KernelResult,
  cotangent: (shape: readonly number[]) => RealTensor,
  extra: CaseArgs = {},
): CaseArgs {
  const argument = (field: FieldDescription): CaseArgs[string] | undefined => {
    const { name } = field;
    if (name in extra) return extra[name];
    const result = isTensorField(field) ? forwardResult[name] : undefined;
    if (result) {
      const data = numbers(result);
      return {
        data: field.dtype === 'int32' ? Int32Array.from(data) : data,
        shape: result.shape,
      } as RealTensor;
    }
    if (forwardArgs[name] !== undefined) return forwardArgs[name];
    if (!isTensorField(field) || !/^[dt]_/.test(name)) return undefined;
    const base = name.slice(2);
    const source = forwardArgs[base];
    const shape = forwardResult[base]?.shape ?? (isTensor(source) ? source.shape : undefined);
    if (!shape) return undefined; // the forward call did not have it (an optional input)
    return field.kind === 'in' ? cotangent(shape) : true;
  };
  const args: CaseArgs = {};
  for (const field of derived.fields) {
    const value = argument(field);
    if (value !== undefined) args[field.name] = value;
  }
  return args;
}

export const addonOps = addon.ops;
