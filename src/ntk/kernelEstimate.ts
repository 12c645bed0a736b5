/**
 * What a kernel will cost, before it is computed: the native plan's FLOPs and bytes, and seconds from a
 * matmul rate measured on the spot.
 */
import type { Context } from '../core/context.js';
import { fail } from '../errors.js';
import type { Sample } from '../model/batch.js';
import type { Model } from '../model/model.js';
import { addon } from '../core/addon/addon.js';
import { logitFunctions, targetFunctions } from './functions.js';
import { checkGramCall, type GramOptions, type Implementation, prepare } from './gram.js';

/** What a kernel will cost. */
export interface Estimate {
  /** What 'auto' comes to. */
  readonly implementation: Exclude<Implementation, 'auto'>;
  /** Functions of x1 and of x2. */
  readonly shape: readonly [number, number];
  /**
   * Of matrix products: all, and those of passes over the model among them. Norms, activations and copies
   * come on top.
   */
  readonly flops: number;
  readonly passFlops: number;
  /** Working memory of the largest step, and the result's. */
  readonly bytes: number;
  readonly resultBytes: number;
  /** Blocks of functions that the byte budget asks for (rows of the kernel). */
  readonly blocks: number;
  /** flops / flopsPerSecond; on small models, where copies and row operations weigh more, it takes longer. */
  readonly seconds: number;
  /** Measured now: a matrix product with this model's widths on this context's threads. */
  readonly flopsPerSecond: number;
  /** How each matrix is contracted ('structured-derivatives'); a fused layer goes by its first weight. */
  readonly choices: readonly {
    readonly name: string;
    readonly form: 'ghost' | 'blocked';
    readonly flops: number;
  }[];
}

const ROWS = 256;
const MEASURE_MS = 20;
const REPETITIONS = 8;
const rates = new WeakMap<object, Map<string, number>>();

/**
 * FLOP/s of (ROWS, C) · (C, F): the best of REPETITIONS, or of what fits in MEASURE_MS, remembered per
 * context and shape.
 */
function matmulRate({ context, spec }: Model): number {
  const { hiddenSize: C, mlpSize: F } = spec;
  const known = rates.get(context) ?? new Map<string, number>();
  rates.set(context, known);
  const key = `${C} ${F}`;
  const rate = known.get(key) ?? measureRate(context, C, F);
  known.set(key, rate);
  return rate;
}

function measureRate(context: Context, C: number, F: number): number {
  const exact = context.math === 'fp64';
  const gemm = addon.ops.find(({ name }) => name === 'gemm')!;
  const Real = exact ? Float64Array : Float32Array;
  const matrix = (rows: number, columns: number) => ({
    data: new Real(rows * columns).fill(0.5),
    shape: [rows, columns],
  });
  // In the double reference a large product takes long: fewer rows say as much.
  const rows = exact ? 8 : ROWS;
  const args = { a: matrix(rows, C), b: matrix(C, F), c: matrix(rows, F) };
  const where = { backend: context.backend, threads: context.threads };
  let best = Infinity;
  const begin = performance.now();
  for (let i = 0; i < REPETITIONS || performance.now() - begin < MEASURE_MS; ++i) {
    const start = performance.now();
    gemm.runSync(args, where);
    best = Math.min(best, performance.now() - start);
  }
  const seconds = Math.max(best, 1e-3) / 1000;
  return (2 * rows * C * F) / seconds;
}

/**
 * The cost of ntk.gram (or, with parts, of its parts) with the same arguments. Runs nothing but a matrix
 * product of some milliseconds.
 * @throws as ntk.gram for bad samples and for a budget that cannot hold one function's step.
 */
export async function estimate(
  model: Model,
  x1: readonly Sample[],
  x2?: readonly Sample[] | null,
  options: GramOptions = {},
): Promise<Estimate> {
  const caller = 'ntk.estimate';
  checkGramCall(caller, model, x2, options);
  const { level = 'sequence', outputs = 'target', parts = false } = options;
  const V = model.spec.vocabSize;
  if (outputs !== 'target' && parts)
    fail('ERR_UNSUPPORTED', `${caller}: parts are not available for outputs '${outputs}'`);
  const entries = outputs === 'full' ? Array.from({ length: V }, (_, v) => v) : [0];
  const call = prepare(caller, model, x1, x2, options, parts ? 'parameters' : 'total', (samples) =>
    outputs === 'target'
      ? targetFunctions(caller, model, samples, level)
      : logitFunctions(caller, model, samples, entries),
  );
  const plan = model.native.planGram(call.first, call.second, call.options);
  const times = outputs === 'trace' ? V : 1;
  const shape = [call.first.sequence.length, (call.second ?? call.first).sequence.length] as const;
  const flopsPerSecond = matmulRate(model);
  return {
    implementation: call.options.implementation,
    shape,
    flops: times * plan.flops,
    passFlops: times * plan.passFlops,
    bytes: plan.bytes,
    resultBytes: 8 * shape[0] * shape[1] * (parts ? model.spec.parameters.length + 2 : 1),
    blocks: plan.blocks,
    seconds: (times * plan.flops) / flopsPerSecond,
    flopsPerSecond,
    choices: plan.choices.map(({ parameter, form, flops }) => ({
      name: model.spec.parameters[parameter]!.name,
      form,
      flops: times * flops,
    })),
  };
}
