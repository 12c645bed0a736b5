/**
 * Numbers in a context's memory. Refcounted: a job keeps what it uses; `dispose()` gives memory back early,
 * the collector late.
 */
import { addon } from './addon/addon.js';
import type { NativeArray, NativeTensor, RealArray } from './addon/contract.js';
import { fail } from '../errors.js';
import { check, checkOptions, instance, JOB, rule, type Rule } from './check.js';
import { type Context, contextRule } from './context.js';
import { type JobOptions, runJob } from './job.js';

const SHAPE = rule(
  'an array of lengths',
  (value) => Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0),
);

/**
 * Numbers in a context's memory (on a GPU the device's), row-major, of a fixed shape and type: results of
 * Model.forward(), features() and the like, or Tensor.from(). Memory goes back at dispose() or `using`, late
 * by garbage collection; a job that uses it keeps it until it is done.
 */
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
    check('Tensor.from', 'context', context, contextRule);
    check('Tensor.from', 'data', data, rule('a typed array', ArrayBuffer.isView));
    check('Tensor.from', 'shape', shape, SHAPE);
    const size = shape.reduce((a, b) => a * b, 1);
    if (size !== data.length)
      fail('ERR_SHAPE', `Tensor.from: shape [${shape.join(', ')}] needs ${size} numbers, got ${data.length}`);
    return new Tensor(addon.Tensor.from(context.native, data, shape));
  }
  /** Sizes, outermost first. */
  get shape(): readonly number[] {
    return this.native.shape;
  }
  /** Type of the numbers: float64 in a context with math 'fp64', float32 in any other. */
  get dtype(): 'float32' | 'float64' {
    return this.native.dtype;
  }
  /** The numbers, copied into a fresh typed array, row-major. @throws ERR_DISPOSED. */
  data(options?: JobOptions): Promise<RealArray> {
    checkOptions('tensor.data', options, JOB);
    return runJob(options, () => this.native.data());
  }
  /** Gives the memory back; later calls fail with ERR_DISPOSED. */
  dispose(): void {
    this.native.dispose();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

export const tensorRule: Rule = instance('a Tensor', Tensor);
