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
  KernelValue,
  NativeArray,
  NativeOp,
} from '../core/addon/contract.js';

/** Dimensions that a tensor may have. */
const MAX_RANK = 4;
/** Numbers of a tensor's slot: rank (0 = absent), which typed array, offset, shape[4], stride[4]. */
const TENSOR = 3 + 2 * MAX_RANK;

/** Where an argument's numbers lie in the frame. */
interface Slot {
  readonly field: FieldDescription;
  readonly at: number;
  /** 0 = not a tensor. */
  readonly rank: number;
}

interface Layout {
  readonly slots: ReadonlyMap<string, Slot>;
  /** The frame of a call without arguments. */
  readonly defaults: Float64Array;
  /** How many tensors a call must give. */
  readonly required: number;
}

function layoutOf({ fields }: NativeOp): Layout {
  const slots = new Map<string, Slot>();
  let length = 0;
  let required = 0;
  for (const field of fields) {
    const rank = field.dims === undefined ? 0 : field.dims.split(' ').length;
    slots.set(field.name, { field, at: length, rank });
    if (rank > 0 && !field.optional) required += 1;
    length += rank > 0 ? TENSOR : 1;
  }
  const defaults = new Float64Array(length);
  for (const { field, at } of slots.values()) {
    if (field.kind === 'choice') defaults[at] = field.choices!.indexOf(field.default as string);
    else if (field.default !== undefined) defaults[at] = Number(field.default);
  }
  return { slots, defaults, required };
}

/**
 * A function that runs `op` with plain arguments and returns the outputs it was given, or returns undefined,
 * having done nothing, when the call needs the general way: outputs to allocate, an argument of an unexpected
 * type or name, which the general way also words.
 */
export function packedCall(op: NativeOp): (args: KernelArgs) => KernelResult | undefined {
  const { slots, defaults, required } = layoutOf(op);
  const frame = new Float64Array(defaults.length);
  const { runPacked } = op;
  return (args) => {
    frame.set(defaults);
    const arrays: NativeArray[] = [];
    const result: KernelResult = {};
    let given = 0;
    for (const name in args) {
      const value = args[name];
      if (value === undefined) continue;
      const slot = slots.get(name);
      if (slot === undefined) return undefined;
      if (slot.rank === 0) {
        if (!packScalar(frame, slot, value)) return undefined;
        continue;
      }
      if (!packTensor(frame, slot, value, arrays)) return undefined;
      if (!slot.field.optional) given += 1;
      if (slot.field.kind !== 'in') result[name] = value as ArrayView;
    }
    if (given !== required) return undefined;
    runPacked(frame, ...arrays);
    return result;
  };
}

/** A number, a flag, or the index of a choice. False: the value is of another type. */
function packScalar(frame: Float64Array, { field, at }: Slot, value: KernelValue): boolean {
  if (field.kind === 'choice') {
    const index = field.choices!.indexOf(value as string);
    frame[at] = index;
    return index >= 0;
  }
  if (!isOfKind(field.kind, value)) return false;
  frame[at] = Number(value);
  return true;
}

function isOfKind(kind: FieldDescription['kind'], value: KernelValue): boolean {
  if (kind === 'flag') return typeof value === 'boolean';
  return kind === 'integer' ? Number.isSafeInteger(value) : typeof value === 'number';
}

/** A typed array, or a view of one; the array itself goes to `arrays`. False: it is neither, or too deep. */
function packTensor(
  frame: Float64Array,
  { at, rank }: Slot,
  value: KernelValue,
  arrays: NativeArray[],
): boolean {
  if (value === null || typeof value !== 'object') return false;
  const view = ArrayBuffer.isView(value) ? undefined : (value as ArrayView);
  const data = view === undefined ? (value as NativeArray) : view.data;
  if (!ArrayBuffer.isView(data) || data.buffer instanceof SharedArrayBuffer) return false;
  frame[at] = rank;
  frame[at + 1] = arrays.length;
  arrays.push(data);
  if (view !== undefined) return packView(frame, at, rank, view);
  frame[at + 2] = 0;
  frame[at + 3] = data.length;
  frame[at + 3 + MAX_RANK] = 1;
  return rank === 1;
}

function packView(frame: Float64Array, at: number, rank: number, view: ArrayView): boolean {
  const { shape, strides, offset = 0 } = view;
  if (!Array.isArray(shape) || shape.length !== rank || !isSize(offset)) return false;
  if (strides !== undefined && !(Array.isArray(strides) && strides.length === rank)) return false;
  frame[at + 2] = offset;
  // Row-major unless the view says otherwise.
  let step = 1;
  for (let i = rank - 1; i >= 0; --i) {
    const extent: unknown = shape[i];
    const stride: unknown = strides === undefined ? step : strides[i];
    if (!isSize(extent) || !isSize(stride)) return false;
    frame[at + 3 + i] = extent;
    frame[at + 3 + MAX_RANK + i] = stride;
    step *= extent;
  }
  return true;
}

const isSize = (value: unknown): value is number =>
  typeof value === 'number' && value >= 0 && Number.isSafeInteger(value);
