/**
 * The spectrum of a kernel, and how alike two kernels are.
 *   effective rank       exp(−Σ p_i log p_i), p_i = λ_i / Σ λ   (Roy & Vetterli, EUSIPCO 2007, on the eigenvalues of a kernel)
 *   participation ratio  (Σ λ)² / Σ λ²
 *   stable rank          Σ λ / λ_max
 * all n for n equal eigenvalues and 1 for one; rounding's negative eigenvalues of a kernel count as 0 in
 * them. O(n³) time, O(n²) memory.
 */
import { checkOptions, SIGNAL } from '../core/check.js';
import type { JobOptions } from '../core/job.js';
import { fail } from '../errors.js';
import { eigenvaluesOf } from './eigenvalues.js';
import { dot, type Matrix, type MatrixLike, norm, squareMatrixOf } from './matrix.js';

/**
 * Eigenvalues λ of a kernel and how many directions they amount to: n for n equal ones, 1 for a single one.
 */
export interface Spectrum {
  /** Descending. */
  readonly eigenvalues: Float64Array;
  /** Σ λ. */
  readonly trace: number;
  /** exp of the entropy of the normalised eigenvalues. */
  readonly effectiveRank: number;
  /** (Σ λ)² / Σ λ². */
  readonly participationRatio: number;
  /** Σ λ / λ_max. */
  readonly stableRank: number;
  /** λ_max / λ_min; Infinity when λ_min is 0 to rounding (below n ε λ_max). */
  readonly condition: number;
  /** Eigenvalues above n ε λ_max, as numpy.linalg.matrix_rank counts them. */
  readonly rank: number;
}

/**
 * Largest |K_ij − K_ji| that counts as rounding, relative to the largest entry: kernels come in float32 as
 * well.
 */
const SYMMETRY = 1e-5;

function symmetrised(caller: string, { data, rows: n }: Matrix): Float64Array<ArrayBuffer> {
  const largest = data.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; ++i)
    for (let j = 0; j <= i; ++j) {
      const [a, b] = [data[j * n + i]!, data[i * n + j]!];
      if (Math.abs(a - b) > SYMMETRY * largest)
        fail(
          'ERR_INVALID_ARG',
          `${caller}: kernel must be symmetric, but [${j}, ${i}] is ${a} and [${i}, ${j}] is ${b}`,
        );
      out[i * n + j] = out[j * n + i] = (a + b) / 2;
    }
  return out;
}

/**
 * Eigenvalues of a symmetric kernel [n, n] and the figures that follow from them. O(n³) on one processor: 1.3
 * s at n = 512, 8 s at n = 1,024 (Xeon, 2026-11-26). From n = 65 on a worker thread computes: the event loop
 * goes on, and `signal` ends it at once.
 * @throws ERR_SHAPE (not square), ERR_INVALID_ARG (not symmetric or not finite), the signal's reason.
 */
export async function spectrum(
  kernel: MatrixLike,
  options: Pick<JobOptions, 'signal'> = {},
): Promise<Spectrum> {
  const caller = 'analysis.spectrum';
  checkOptions(caller, options, SIGNAL);
  const matrix = await squareMatrixOf(caller, 'kernel', kernel);
  const eigenvalues = (await eigenvaluesOf(symmetrised(caller, matrix), matrix.rows, options))
    .sort()
    .reverse();
  return { eigenvalues, ...ranks(eigenvalues) };
}

function ranks(eigenvalues: Float64Array): Omit<Spectrum, 'eigenvalues'> {
  const n = eigenvalues.length;
  const largest = Math.max(Math.abs(eigenvalues[0]!), Math.abs(eigenvalues[n - 1]!));
  const rounding = n * Number.EPSILON * largest;
  const positive = eigenvalues.map((x) => Math.max(x, 0));
  const sum = positive.reduce((a, b) => a + b, 0);
  const entropy = positive.reduce((h, x) => (x > 0 ? h - (x / sum) * Math.log(x / sum) : h), 0);
  const least = eigenvalues.reduce((a, b) => Math.min(a, Math.abs(b)), Infinity);
  return {
    trace: eigenvalues.reduce((a, b) => a + b, 0),
    effectiveRank: sum > 0 ? Math.exp(entropy) : 0,
    participationRatio: sum > 0 ? sum ** 2 / dot(positive, positive) : 0,
    stableRank: sum > 0 ? sum / positive[0]! : 0,
    condition: least > rounding ? largest / least : Infinity,
    rank: eigenvalues.filter((x) => Math.abs(x) > rounding).length,
  };
}

/**
 * exp of the entropy of a kernel's normalised eigenvalues, 1 … n. Computed, cancelled and refused as
 * `spectrum` is.
 */
export const effectiveRank = async (
  kernel: MatrixLike,
  options: Pick<JobOptions, 'signal'> = {},
): Promise<number> => (await spectrum(kernel, options)).effectiveRank;

/** K − row means − column means + mean: the kernel of features whose mean over the samples is taken away. */
function centred({ data, rows: n }: Matrix): Float64Array {
  const mean = (at: (i: number) => number) =>
    Array.from({ length: n }, (_, j) => {
      let sum = 0;
      for (let i = 0; i < n; ++i) sum += data[at(i * n + j)]!;
      return sum / n;
    });
  const columns = mean((i) => i);
  const rows = mean((i) => (i % n) * n + Math.floor(i / n));
  const all = columns.reduce((a, b) => a + b, 0) / n;
  return data.map((value, i) => value - rows[Math.floor(i / n)]! - columns[i % n]! + all);
}

/** How alike two kernels are, −1 … 1. */
export interface Alignment {
  /**
   * ⟨K, K′⟩ / ‖K‖‖K′‖ of the centred kernels: linear CKA (Cortes et al. 2012; Kornblith et al. 2019). NaN
   * when a centred kernel is 0.
   */
  readonly centred: number;
  /**
   * The same without centring (Cristianini et al. 2001). Two kernels with positive entries are always
   * somewhat aligned.
   */
  readonly uncentred: number;
}

/** How alike two kernels of the same samples are; 1 = equal up to a factor. @throws ERR_SHAPE. */
export async function kernelAlignment(first: MatrixLike, second: MatrixLike): Promise<Alignment> {
  const caller = 'analysis.kernelAlignment';
  const [a, b] = [
    await squareMatrixOf(caller, 'first', first),
    await squareMatrixOf(caller, 'second', second),
  ];
  if (a.rows !== b.rows)
    fail('ERR_SHAPE', `${caller}: both kernels must be of the same samples, got ${a.rows} and ${b.rows}`);
  const cosine = (x: Float64Array, y: Float64Array) => dot(x, y) / (norm(x) * norm(y));
  const [ca, cb] = [centred(a), centred(b)];
  const flat = (c: Float64Array, k: Matrix) => norm(c) <= a.rows * Number.EPSILON * norm(k.data);
  return { centred: flat(ca, a) || flat(cb, b) ? NaN : cosine(ca, cb), uncentred: cosine(a.data, b.data) };
}
