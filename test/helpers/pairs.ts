/** Ragged rows of (a, d) pairs for the Gram and per-sample ops, and brute force per-sample gradients. */
import { ints, type IntTensor, type Random, type RealTensor } from './random.js';

export const offsetsOf = (lengths: readonly number[]): IntTensor => {
  const offsets = [0];
  for (const length of lengths) offsets.push(offsets.at(-1)! + length);
  return ints(...offsets);
};

export interface PairsOf {
  readonly a: RealTensor;
  readonly d: RealTensor;
  readonly offsets: IntTensor;
  readonly a_rows?: IntTensor;
}

export function pairs(random: Random, lengths: readonly number[], inputs: number, outputs: number): PairsOf {
  const rows = lengths.reduce((sum, length) => sum + length, 0);
  return { a: random.normal([rows, inputs]), d: random.normal([rows, outputs]), offsets: offsetsOf(lengths) };
}

/** The second set's names. */
export const second = ({ a, d, offsets, a_rows }: PairsOf) => ({
  a2: a,
  d2: d,
  offsets2: offsets,
  ...(a_rows ? { a_rows2: a_rows } : {}),
});

/**
 * Token level: each sequence has functions at its last `scored` positions; the function of position t owns
 * rows ≤ t of the sequence, whose rows of a it shares with the other functions.
 */
export function tokenLevel(
  random: Random,
  lengths: readonly number[],
  scored: number,
  inputs: number,
  outputs: number,
): Required<PairsOf> {
  const rows: number[] = [];
  const owned: number[] = [];
  let first = 0;
  for (const length of lengths) {
    for (let t = Math.max(0, length - scored); t < length; ++t) {
      for (let row = 0; row <= t; ++row) rows.push(first + row);
      owned.push(t + 1);
    }
    first += length;
  }
  return {
    a: random.normal([first, inputs]),
    d: random.normal([rows.length, outputs]),
    offsets: offsetsOf(owned),
    a_rows: ints(...rows),
  };
}

/** Σ over a function's rows of d ⊗ (a, 1 with bias), each (outputs × columns); float64. */
export function gradientsOf({ a, d, offsets, a_rows }: PairsOf, bias = false): Float64Array[] {
  const [inputs, outputs] = [a.shape[1]!, d.shape[1]!];
  const columns = inputs + Number(bias);
  return Array.from({ length: offsets.data.length - 1 }, (_, s) => {
    const g = new Float64Array(outputs * columns);
    for (let n = offsets.data[s]!; n < offsets.data[s + 1]!; ++n) {
      const row = a_rows ? a_rows.data[n]! : n;
      for (let o = 0; o < outputs; ++o)
        for (let i = 0; i < columns; ++i)
          g[o * columns + i]! += d.data[n * outputs + o]! * (i < inputs ? a.data[row * inputs + i]! : 1);
    }
    return g;
  });
}

export function gramOf(x: readonly Float64Array[], y: readonly Float64Array[] = x): Float64Array {
  return Float64Array.from(x.flatMap((g) => y.map((h) => g.reduce((sum, v, i) => sum + v * h[i]!, 0))));
}

/** The pairs with every real rounded to float32, as the harness hands them to a backend. */
export const rounded = (p: PairsOf): PairsOf => ({
  ...p,
  a: { ...p.a, data: p.a.data.map(Math.fround) },
  d: { ...p.d, data: p.d.data.map(Math.fround) },
});

/** ‖actual − expected‖ / ‖expected‖. */
export function distance(actual: Float64Array, expected: Float64Array): number {
  let difference = 0;
  let norm = 0;
  expected.forEach((e, i) => {
    difference += (actual[i]! - e) ** 2;
    norm += e * e;
  });
  return Math.sqrt(difference / Math.max(norm, 1e-300));
}

/** K is symmetric to the bit and vᵀ K v ≥ 0 up to rounding. */
export function isGram(k: Float64Array, n: number, random: Random): boolean {
  for (let s = 0; s < n; ++s)
    for (let t = 0; t < n; ++t) if (!Object.is(k[s * n + t], k[t * n + s])) return false;
  const trace = Array.from({ length: n }, (_, s) => k[s * n + s]!).reduce((x, y) => x + y, 0);
  for (let trial = 0; trial < 20; ++trial) {
    const v = random.normal([n]).data;
    const norm = v.reduce((sum, x) => sum + x * x, 0);
    let form = 0;
    for (let s = 0; s < n; ++s) for (let t = 0; t < n; ++t) form += v[s]! * k[s * n + t]! * v[t]!;
    if (!(form >= -1e-6 * trace * norm)) return false;
  }
  return true;
}
