/** The contract of the .node file, typed by hand in this one place. */

export type RealArray = Float32Array | Float64Array;
export type NativeArray = Float32Array | Float64Array | Int32Array | Uint16Array | Uint8Array;

/** Row-major numbers with a shape; strides and offset in elements, for views into larger arrays. */
export interface ArrayView<T extends NativeArray = NativeArray> {
  readonly data: T;
  readonly shape: readonly number[];
  readonly strides?: readonly number[];
  readonly offset?: number;
}

/** One argument of an op, as its C++ field list describes it (native/kernels/fields.h). */
export interface FieldDescription {
  readonly name: string;
  readonly kind: 'in' | 'out' | 'inout' | 'number' | 'integer' | 'flag' | 'choice';
  readonly default?: number | boolean | string;
  readonly choices?: readonly string[];
  /** Tensors only: dimension names ("N C"), element type ('real' = float32, or float64 with a float64 backend). */
  readonly dims?: string;
  readonly dtype?: 'real' | 'int32' | 'uint8' | 'float64';
  readonly optional?: boolean;
  readonly strided?: boolean;
  /** May also be given as bfloat16 (a Uint16Array). */
  readonly bfloat16?: boolean;
}

export type BackendName = 'reference32' | 'reference64' | 'base' | 'avx2' | 'avx512' | 'cuda';

export type KernelValue = NativeArray | ArrayView | number | boolean | string | null | undefined;
export type KernelArgs = Readonly<Record<string, KernelValue>>;
export type KernelResult = Record<string, ArrayView>;

export interface NativeOp {
  /** The row of the op table, e.g. 'norm'. */
  readonly op: string;
  /** This entry point, e.g. 'norm_backward'. */
  readonly name: string;
  readonly fields: readonly FieldDescription[];
  readonly backends: readonly BackendName[];
  runSync(args: KernelArgs, options?: { backend?: BackendName; threads?: number }): KernelResult;
  cost(args: KernelArgs): { flops: number; bytes: number };
}

export interface NativeAddon {
  readonly ops: readonly NativeOp[];
}
