/**
 * Numbers as they cross into native code.
 * Part of the contract of the .node file (../contract.ts).
 */
export type RealArray = Float32Array | Float64Array;

export type NativeArray = Float32Array | Float64Array | Int32Array | Uint16Array | Uint8Array;

/** Row-major numbers with a shape; strides and offset in elements, for views into larger arrays. */
export interface ArrayView<T extends NativeArray = NativeArray> {
  readonly data: T;
  readonly shape: readonly number[];
  readonly strides?: readonly number[];
  readonly offset?: number;
}
