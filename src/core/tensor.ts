/** Numbers in a context's memory. Refcounted: a job keeps what it uses; `dispose()` gives memory back early, the collector late. */
import { addon } from '../native/addon.js';
import type { NativeArray, NativeTensor, RealArray } from '../native/types.js';
import { fail } from '../errors.js';
import type { Context } from './context.js';
import { type JobOptions, runJob } from './job.js';

export class Tensor {
  /** @internal */
  readonly native: NativeTensor;

  /** @internal Use Tensor.from(). */
  constructor(native: NativeTensor) {
    this.native = native;
  }
  /**
   * Copies `data` (row-major) into the context's memory, as its real type.
   * @throws ERR_SHAPE when shape and data disagree.
   */
  static from(context: Context, data: NativeArray, shape: readonly number[]): Tensor {
    const size = shape.reduce((a, b) => a * b, 1);
    if (size !== data.length) fail('ERR_SHAPE', `Tensor.from: shape [${shape.join(', ')}] needs ${size} numbers, got ${data.length}`);
    return new Tensor(addon.Tensor.from(context.native, data, shape));
  }
  get shape(): readonly number[] {
    return this.native.shape;
  }
  get dtype(): 'float32' | 'float64' {
    return this.native.dtype;
  }
  /** A fresh typed array, row-major. */
  data(options?: JobOptions): Promise<RealArray> {
    return runJob(options, () => this.native.data());
  }
  dispose(): void {
    this.native.dispose();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}
