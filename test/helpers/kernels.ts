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
  const sizes = new Map<string, number>();
  for (const field of op.fields) {
    const value = args[field.name];
    if (!isTensorField(field) || !isTensor(value)) continue;
    field.dims!.split(' ').forEach((dim, i) => {
      const [name, offset] = dim.split('+');
      sizes.set(name!, value.shape[i]! - Number(offset ?? 0));
    });
  }
  const result: Record<string, KernelArgs[string]> = {};
  const checks: (() => void)[] = [];
  for (const field of op.fields) {
    const value = args[field.name];
    if (!isTensorField(field)) {
      if (value !== undefined) result[field.name] = value as number;
      continue;
    }
    if (value === undefined && (field.optional || field.kind === 'in')) continue;
    if (value === false) continue;
    const shape = isTensor(value)
      ? [...value.shape]
      : field.dims!.split(' ').map((dim) => {
          if (/^\d+$/.test(dim)) return Number(dim);
          const [name, offset] = dim
            .split('|')
            .find((choice) => sizes.has(choice.split('+')[0]!))!
            .split('+');
          return sizes.get(name!)! + Number(offset ?? 0);
        });
    const { layout, bfloat16 } = (isTensor(value) ? value : {}) as Partial<RealTensor>;
    const Type = bfloat16
      ? Uint16Array
      : field.dtype === 'int32'
        ? Int32Array
        : field.dtype === 'uint8'
          ? Uint8Array
          : field.dtype === 'float64'
            ? Float64Array
            : realOf(backend);
    const pad = padRows ? 3 : 0;
    const strides =
      layout === 'columns'
        ? [1, shape[0]! + pad]
        : layout === 'spread'
          ? [2 * shape[1]! + 1 + pad, 2]
          : rowMajor(shape, padRows);
    const at = positions(shape, strides);
    const data = new Type(2 * GUARD + (at.length > 0 ? at.at(-1)! + 1 : 0));
    const bytes = new Uint8Array(data.buffer);
    bytes.fill(SENTINEL);
    const inside = new Uint8Array(data.length);
    for (let i = 0; i < at.length; ++i) {
      const position = GUARD + at[i]!;
      inside[position] = 1;
      if (isTensor(value)) {
        const v = value.data[i]!;
        data[position] = bfloat16 ? bfloat16Bits(v) : field.dtype === 'real' && round ? Math.fround(v) : v;
      } else data[position] = Type === Int32Array ? -123456 : Number.NaN;
    }
    const before = bytes.slice();
    result[field.name] = { data, shape, strides, offset: GUARD } as ArrayView;
    checks.push(() => {
      const unit = data.BYTES_PER_ELEMENT;
      for (let element = 0; element < data.length; ++element) {
        if (inside[element] && field.kind !== 'in') continue;
        for (let b = element * unit; b < (element + 1) * unit; ++b)
          if (bytes[b] !== before[b])
            throw new Error(
              `${op.name}: ${inside[element] ? 'input' : 'memory around'} ${field.name} was changed at element ${element - GUARD}`,
            );
      }
    });
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
 * has keeps its value or result; d_<output> and t_<input> come from `random`; d_<input> and t_<output> are
 * outputs.
 */
export function derivedArgs(
  derived: NativeOp,
  forward: NativeOp,
  forwardArgs: CaseArgs,
  forwardResult: KernelResult,
  cotangent: (shape: readonly number[]) => RealTensor,
  extra: CaseArgs = {},
): CaseArgs {
  const args: CaseArgs = {};
  for (const field of derived.fields) {
    const name = field.name;
    if (name in extra) args[name] = extra[name]!;
    else if (!isTensorField(field)) {
      if (forwardArgs[name] !== undefined) args[name] = forwardArgs[name]!;
    } else if (forwardResult[name])
      args[name] = {
        data:
          field.dtype === 'int32'
            ? Int32Array.from(numbers(forwardResult[name]!))
            : numbers(forwardResult[name]!),
        shape: forwardResult[name]!.shape,
      } as RealTensor;
    else if (forwardArgs[name] !== undefined) args[name] = forwardArgs[name]!;
    else if (/^[dt]_/.test(name)) {
      const base = name.slice(2);
      const source = forwardArgs[base];
      const shape = forwardResult[base]?.shape ?? (isTensor(source) ? source.shape : undefined);
      if (!shape) continue; // the forward call did not have it (an optional input)
      if (field.kind === 'in') args[name] = cotangent(shape);
      else args[name] = true;
    }
  }
  void forward;
  return args;
}

export const addonOps = addon.ops;
