/**
 * Counter-based random numbers: Philox-4x32-10 (Salmon et al., SC 2011), number for number
 * native/core/philox.h. A draw is a pure function of (seed, stream, counter), so a position in the stream is
 * two integers and needs no saved state.
 */

/**
 * High 32 bits of the product of two 32-bit integers, by halves: JavaScript has no 64-bit multiply that is
 * not a BigInt.
 */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const lower = aHigh * bLow + ((aLow * bLow) >>> 16);
  const upper = aLow * bHigh + (lower & 0xffff);
  return (aHigh * bHigh + (lower >>> 16) + (upper >>> 16)) >>> 0;
}

const low = (x: number) => x >>> 0;
const high = (x: number) => Math.floor(x / 4294967296) >>> 0;

/** Uniform in (0, 1), 53 bits. */
function philoxUniform(seed: number, stream: number, counter: number): number {
  let c0 = low(counter);
  let c1 = high(counter);
  let c2 = low(stream);
  let c3 = high(stream);
  let k0 = low(seed);
  let k1 = high(seed);
  for (let round = 0; round < 10; ++round) {
    const before0 = c0;
    const before2 = c2;
    c0 = (multiplyHigh(0xcd9e8d57, before2) ^ c1 ^ k0) >>> 0;
    c1 = Math.imul(0xcd9e8d57, before2) >>> 0;
    c2 = (multiplyHigh(0xd2511f53, before0) ^ c3 ^ k1) >>> 0;
    c3 = Math.imul(0xd2511f53, before0) >>> 0;
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  // ((v0 << 21) ^ (v1 >> 11)) mod 2^53; the two parts overlap in no bit.
  return (c0 * 2097152 + (c1 >>> 11) + 0.5) / 9007199254740992;
}

/** Draws one after the other from a stream of a seed. */
export class Random {
  readonly seed: number;
  readonly stream: number;
  /** The next draw's position in the stream. */
  counter = 0;

  constructor(seed: number, stream = 0) {
    this.seed = seed;
    this.stream = stream;
  }
  /** In (0, 1). */
  uniform(): number {
    return philoxUniform(this.seed, this.stream, this.counter++);
  }
  /** In 0 … n − 1. */
  integer(n: number): number {
    return Math.floor(this.uniform() * n);
  }
  pick<T>(items: readonly T[]): T {
    return items[this.integer(items.length)]!;
  }
  /** A shuffled copy (Fisher–Yates). */
  shuffle<T>(items: readonly T[]): T[] {
    const out = [...items];
    for (let i = out.length - 1; i > 0; --i) {
      const j = this.integer(i + 1);
      [out[i], out[j]] = [out[j]!, out[i]!];
    }
    return out;
  }
}
