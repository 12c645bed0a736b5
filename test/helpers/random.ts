/** Seeded inputs for tests (mulberry32 + Box–Muller); nothing to do with the library's own random numbers. */

export interface RealTensor {
  readonly data: Float64Array;
  readonly shape: readonly number[];
  /**
   * How a matrix that is only read lies in memory: column by column, or with both strides larger than
   * necessary. Default: row by row.
   */
  readonly layout?: 'columns' | 'spread';
  /** Given to the op as bfloat16. */
  readonly bfloat16?: boolean;
}
export interface IntTensor {
  readonly data: Int32Array;
  readonly shape: readonly number[];
}

const product = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  uniform(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }
  gauss(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }
  integer(low: number, high: number): number {
    return low + Math.floor(this.uniform() * (high - low));
  }
  /** Normal numbers of the given shape. */
  normal(shape: readonly number[], std = 1, mean = 0): RealTensor {
    return { data: Float64Array.from({ length: product(shape) }, () => mean + std * this.gauss()), shape };
  }
  /** Integers in [low, high). */
  integers(shape: readonly number[], low: number, high: number): IntTensor {
    return { data: Int32Array.from({ length: product(shape) }, () => this.integer(low, high)), shape };
  }
}

export const ints = (...values: number[]): IntTensor => ({
  data: Int32Array.from(values),
  shape: [values.length],
});
/** A float32 array of zeros, for calls whose numbers do not matter. */
export const float32s = (...shape: number[]): { data: Float32Array; shape: number[] } => ({
  data: new Float32Array(product(shape)),
  shape,
});
export const reals = (...values: number[]): RealTensor => ({
  data: Float64Array.from(values),
  shape: [values.length],
});
