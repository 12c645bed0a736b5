/**
 * Random data beyond the L2 cache. All arrays are cut from pools of 2^24 cheap numbers: making each number
 * anew in JavaScript would take longer than the benchmark.
 */
import type { ArrayView } from '../../src/core/addon/contract.js';
import { Random } from '../../test/helpers/random.js';

export const random = new Random(11);

const POOL = 1 << 24;
const pools = new Map<string, Float32Array | Uint16Array>();
function pool<T extends Float32Array | Uint16Array>(key: string, make: () => T): T {
  if (!pools.has(key)) pools.set(key, make());
  return pools.get(key) as T;
}

/** A Weyl sequence, about uniform in [−1, 1) and not zero, times `scale`. */
const uniform = (scale: number) =>
  pool(`uniform ${scale}`, () => {
    const out = new Float32Array(POOL);
    let weyl = random.integer(1, 1 << 30);
    for (let i = 0; i < POOL; ++i) {
      weyl = (weyl + 0x9e3779b9) >>> 0;
      out[i] = (weyl / 2147483648 - 1) * scale;
    }
    return out;
  });

/** Its magnitudes plus 0.1. */
const magnitudes = () =>
  pool('positive', () => {
    const from = uniform(1);
    const out = new Float32Array(POOL);
    for (let i = 0; i < POOL; ++i) out[i] = Math.abs(from[i]!) + 0.1;
    return out;
  });

/** The upper halves of its bits: bfloat16. */
const upperHalves = (scale: number) =>
  pool(`bfloat16 ${scale}`, () => {
    const from = new Uint32Array(uniform(scale).buffer);
    const out = new Uint16Array(POOL);
    for (let i = 0; i < POOL; ++i) out[i] = from[i]! >>> 16;
    return out;
  });

/** Fills `to` with the pool's numbers from a random place on, again from its beginning where it ends. */
function cut<T extends Float32Array | Uint16Array>(from: T, to: T): T {
  let begin = 0;
  let at = random.integer(0, POOL);
  while (begin < to.length) {
    const part = from.subarray(at, Math.min(POOL, at + to.length - begin));
    to.set(part as never, begin);
    begin += part.length;
    at = 0;
  }
  return to;
}

export const numbers = (count: number, scale = 1): Float32Array =>
  cut(uniform(scale), new Float32Array(count));
export const positive = (count: number): Float32Array => cut(magnitudes(), new Float32Array(count));
export const bfloat16s = (count: number, scale = 1): Uint16Array =>
  cut(upperHalves(scale), new Uint16Array(count));
export const ids = (count: number, below: number): Int32Array =>
  Int32Array.from({ length: count }, () => random.integer(0, below));

export const matrix = (rows: number, columns: number, scale = 1): ArrayView => ({
  data: numbers(rows * columns, scale),
  shape: [rows, columns],
});
export const bfloat16Matrix = (rows: number, columns: number, scale = 1): ArrayView => ({
  data: bfloat16s(rows * columns, scale),
  shape: [rows, columns],
});
/** Room for an output. */
export const zeros = (...shape: number[]): ArrayView => ({
  data: new Float32Array(shape.reduce((a, b) => a * b, 1)),
  shape,
});
export const transposed = ({ data, shape: [rows, columns] }: ArrayView): ArrayView => ({
  data,
  shape: [columns!, rows!],
  strides: [1, columns!],
});
