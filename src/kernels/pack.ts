/**
 * Packs the arguments of a synchronous op call: numbers into one Float64Array in the order of the op's field
 * list, typed arrays beside it. Native code then reads memory instead of JavaScript properties, which would
 * cost more than a small kernel does. The layout is FrameReader's in binding/kernels.cc.
 */
import type {
  ArrayView,
  FieldDescription,
  KernelArgs,
  KernelResult,
  NativeArray,
  NativeOp,
} from '../core/addon/contract.js';

// rank (0 = absent), which typed array, offset, shape[4], stride[4]
const MAX_RANK = 4;
const TENSOR = 3 + 2 * MAX_RANK;

interface Slot {
  readonly field: FieldDescription;
  readonly at: number;
  readonly rank: number;
}

const size = (value: unknown): value is number =>
  typeof value === 'number' && value >= 0 && Number.isSafeInteger(value);

/**
 * A function that runs `op` with plain arguments and returns the outputs it was given, or returns undefined,
 * having done nothing, when the call needs the general way: outputs to allocate, an argument of an unexpected
 * type or name, which the general way also words.
 */
export function packedCall(op: NativeOp): (args: KernelArgs) => KernelResult | undefined {
  const slots = new Map<string, Slot>();
  let length = 0;
  let required = 0;
  for (const field of op.fields) {
    const tensor = field.dims !== undefined;
    slots.set(field.name, { field, at: length, rank: tensor ? field.dims!.split(' ').length : 0 });
    if (tensor && !field.optional) ++required;
    length += tensor ? TENSOR : 1;
  }
  const defaults = new Float64Array(length);
  for (const { field, at } of slots.values()) {
    if (field.kind === 'choice') defaults[at] = field.choices!.indexOf(field.default as string);
    else if (field.default !== undefined) defaults[at] = Number(field.default);
  }
  const frame = new Float64Array(length);
  const { runPacked } = op;

  const packTensor = (
    at: number,
    rank: number,
    which: number,
    data: NativeArray,
    view: ArrayView | undefined,
  ): boolean => {
    if (!ArrayBuffer.isView(data) || data.buffer instanceof SharedArrayBuffer) return false;
    frame[at] = rank;
    frame[at + 1] = which;
    if (view === undefined) {
      frame[at + 2] = 0;
      frame[at + 3] = data.length;
      frame[at + 3 + MAX_RANK] = 1;
      return rank === 1;
    }
    const { shape, strides, offset = 0 } = view;
    if (!Array.isArray(shape) || shape.length !== rank || !size(offset)) return false;
    if (strides !== undefined && !(Array.isArray(strides) && strides.length === rank)) return false;
    frame[at + 2] = offset;
    let step = 1;
    for (let i = rank - 1; i >= 0; --i) {
      const extent: unknown = shape[i];
      const stride: unknown = strides === undefined ? step : strides[i];
      if (!size(extent) || !size(stride)) return false;
      frame[at + 3 + i] = extent;
      frame[at + 3 + MAX_RANK + i] = stride;
      step *= extent;
    }
    return true;
  };

  return (args) => {
    frame.set(defaults);
    const arrays: NativeArray[] = [];
    const result: KernelResult = {};
    let found = 0;
    for (const name in args) {
      const value = args[name];
      if (value === undefined) continue;
      const slot = slots.get(name);
      if (slot === undefined) return undefined;
      const { field, at, rank } = slot;
      if (rank > 0) {
        if (value === null || typeof value !== 'object') return undefined;
        const view = ArrayBuffer.isView(value) ? undefined : (value as ArrayView);
        const data = view === undefined ? (value as NativeArray) : view.data;
        if (!packTensor(at, rank, arrays.length, data, view)) return undefined;
        arrays.push(data);
        if (!field.optional) ++found;
        if (field.kind !== 'in') result[name] = value as ArrayView;
      } else if (field.kind === 'choice') {
        const index = field.choices!.indexOf(value as string);
        if (index < 0) return undefined;
        frame[at] = index;
      } else {
        const fits =
          field.kind === 'flag'
            ? typeof value === 'boolean'
            : field.kind === 'integer'
              ? Number.isSafeInteger(value)
              : typeof value === 'number';
        if (!fits) return undefined;
        frame[at] = Number(value);
      }
    }
    if (found !== required) return undefined;
    runPacked(frame, ...arrays);
    return result;
  };
}
