/** The kernel estimated from random projections of per-sample gradients, with an error bar. */
import { choice, count, natural, rule, type Rules } from '../core/check.js';
import { runJob } from '../core/job.js';
import type { Sample } from '../model/batch.js';
import type { Model } from '../model/model.js';
import { wantedMask } from '../model/parameters.js';
import { type Level, targetFunctions } from './functions.js';
import { checkKernelCall } from './gram.js';
import {
  byteBudget,
  GRADIENT_CALL,
  type GradientCallOptions,
  LEVEL,
  realBytes,
  reserve,
} from './gradientCall.js';

/** How ntk.sketch() projects. Numbers held: repeats · size per function. */
export interface SketchOptions extends GradientCallOptions {
  /** As ntk.gram's. Default 'sequence'. */
  readonly level?: Level;
  /**
   * Independent projections, at least 2; the error falls as 1/√repeats and its bar is honest from 32 on.
   * Default 32.
   */
  readonly repeats?: number;
  /**
   * Numbers that each projection keeps of a function's gradient. The error falls as 1/√size too. Default 64.
   */
  readonly size?: number;
  /** Entries ±1, or normal. Default 'rademacher'. */
  readonly projection?: 'rademacher' | 'gaussian';
  /** Of each entry's interval; default 0.99. */
  readonly confidence?: number;
  /** Default 0. The same seed gives the same projections, whatever the samples. */
  readonly seed?: number;
}

/** A kernel estimated, with its error. */
export interface SketchResult {
  /** Row-major, unbiased for ntk.gram's kernel. */
  readonly kernel: Float64Array;
  /**
   * kernel ± halfWidth covers the exact entry with probability `confidence`, entry by entry (Student's t over
   * the repeats).
   */
  readonly halfWidth: Float64Array;
  readonly shape: readonly [number, number];
}

const OPTIONS: Rules = {
  ...GRADIENT_CALL,
  ...LEVEL,
  size: count,
  seed: natural,
  projection: choice('rademacher', 'gaussian'),
  repeats: rule(
    'an integer of at least 2 (an error bar needs two)',
    (value) => Number.isSafeInteger(value) && (value as number) >= 2,
  ),
  confidence: rule(
    'a number between 0 and 1',
    (value) => typeof value === 'number' && value > 0 && value < 1,
  ),
};

/** The largest divisor up to the square root: the two factors of a projection are then about equally wide. */
function leftFactor(size: number): number {
  let left = Math.floor(Math.sqrt(size));
  while (size % left !== 0) --left;
  return left;
}

/**
 * ⟨∇f_i, ∇f_j⟩ between samples x1 and x2 (or x1 and itself) from Kronecker-factored projections (LoGra, Choe
 * et al. 2024): repeats · size numbers per function instead of its gradient, and no products of pairs of
 * tokens, so it pays for many long functions. Ask ntk.gram when the exact kernel is affordable: it usually
 * is.
 * @throws ERR_INVALID_ARG (samples, options), ERR_OUT_OF_MEMORY (the budget, with both sizes and a cheaper
 * call).
 */
export async function sketch(
  model: Model,
  x1: readonly Sample[],
  x2?: readonly Sample[] | null,
  options: SketchOptions = {},
): Promise<SketchResult> {
  const caller = 'ntk.sketch';
  checkKernelCall(caller, model, x2, options, OPTIONS);
  const {
    level = 'sequence',
    repeats = 32,
    size = 64,
    projection = 'rademacher',
    confidence = 0.99,
    seed = 0,
  } = options;
  const first = targetFunctions(caller, model, x1, level);
  const second = x2 ? targetFunctions(caller, model, x2, level) : null;
  const n1 = first.sequence.length;
  const n2 = (second ?? first).sequence.length;
  const held = realBytes(model) * repeats * size * (n1 + (second ? n2 : 0)) + 16 * n1 * n2;
  const maxBytes = reserve(
    caller,
    byteBudget(caller, options.maxBytes),
    held,
    'use fewer repeats, a smaller size, or fewer samples',
  );
  const { estimate, halfWidth } = await runJob(options, (onProgress) =>
    model.native.sketch(
      first,
      second,
      {
        wanted: wantedMask(caller, model, options.params),
        maxBytes,
        repeats,
        size,
        left: leftFactor(size),
        seed,
        projection,
        confidence,
      },
      onProgress,
    ),
  );
  return { kernel: estimate, halfWidth, shape: [n1, n2] };
}
