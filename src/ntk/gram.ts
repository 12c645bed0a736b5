/**
 * Empirical-NTK Gram matrices K[i, j] = ⟨∇f_i, ∇f_j⟩ of a language model, whole, by parameter, or split into
 * the paper's representation and gradient components (arXiv 2601.04670).
 */
import { check, checkOptions, choice, flag, rule, type Rules } from '../core/check.js';
import { runJob } from '../core/job.js';
import { fail } from '../errors.js';
import { checkSamples, type Sample } from '../model/batch.js';
import { type Model, modelRule } from '../model/model.js';
import { wantedMask } from '../model/parameters.js';
import type { NativeFunctions, NativeGramOptions } from '../core/addon/contract.js';
import { type Level, logitFunctions, targetFunctions } from './functions.js';
import { byteBudget, GRADIENT_CALL, type GradientCallOptions, LEVEL, reserve } from './gradientCall.js';

/**
 * As neural-tangents' NtkImplementation. 'auto' is 'structured-derivatives', which chooses its form matrix by
 * matrix by cost.
 */
export type Implementation =
  | 'auto'
  | 'jacobian-contraction'
  | 'ntk-vector-products'
  | 'structured-derivatives';
/**
 * 'target': log-probabilities of the scored tokens. 'full': all V × V logit blocks between states, [m1, m2,
 * V, V]. 'trace': their traces Σ_v K_vv, [m1, m2], not normalised. m = scored positions. The last two cost V
 * backward passes: for small vocabularies.
 */
export type Outputs = 'target' | 'trace' | 'full';

/** Which functions ntk.gram() takes of the samples, and how it multiplies their gradients. */
export interface GramOptions extends GradientCallOptions {
  /**
   * 'sequence' (default): one function Σ log π per sample. 'token': one log π per scored token, samples one
   * after the other.
   */
  readonly level?: Level;
  /** Default 'target'. */
  readonly outputs?: Outputs;
  /** All give the same kernel to rounding. Default 'auto'. */
  readonly implementation?: Implementation;
  /**
   * Also one kernel per parameter (and 'classifier use' and 'cross' terms of a tied matrix); they sum to the
   * whole.
   */
  readonly parts?: boolean;
}

/** A Gram matrix K[i, j] = ⟨∇f_i, ∇f_j⟩. */
export interface GramResult {
  /** Row-major. */
  readonly kernel: Float64Array;
  /** [n1, n2]: functions of x1 and of x2 (or of x1 again); with outputs 'full' [m1, m2, V, V]. */
  readonly shape: readonly number[];
  /** With `parts`: those that are not zero. */
  readonly parts?: readonly { readonly name: string; readonly kernel: Float64Array }[];
  /** The one that computed it. */
  readonly implementation: Exclude<Implementation, 'auto'>;
  /** Blocks of functions processed, and planned working bytes. */
  readonly cost: { readonly blocks: number; readonly bytes: number };
}

/**
 * A kernel split as in 2601.04670: K = R + G, and for a tied matrix the cross terms apart. Row-major, each of
 * `shape`.
 */
export interface DecomposeResult {
  /** ⟨φ, φ′⟩⟨d, d′⟩: what moving the classifier does. */
  readonly representation: Float64Array;
  /** What moving everything below does; of a tied model, including its matrix as an embedding. */
  readonly gradient: Float64Array;
  /** Classifier use against embedding use of a tied matrix; zero when untied. */
  readonly cross: Float64Array;
  /** representation + gradient + cross. */
  readonly total: Float64Array;
  readonly shape: readonly [number, number];
}

/** @internal */
export interface Call {
  readonly caller: string;
  readonly model: Model;
  readonly first: NativeFunctions;
  readonly second: NativeFunctions | null;
  readonly options: NativeGramOptions;
}

const DECOMPOSE: Rules = { ...GRADIENT_CALL, ...LEVEL };
const GRAM: Rules = {
  ...DECOMPOSE,
  outputs: choice('target', 'trace', 'full'),
  implementation: choice('auto', 'jacobian-contraction', 'ntk-vector-products', 'structured-derivatives'),
  parts: flag,
};
const SECOND = rule(
  'an array of samples, or null for those of x1; options are the fourth argument',
  Array.isArray,
);

/** @internal The arguments that all kernels take. */
export function checkKernelCall(
  caller: string,
  model: Model,
  x2: unknown,
  options: unknown,
  rules: Rules,
): void {
  check(caller, 'model', model, modelRule);
  if (x2 !== undefined && x2 !== null) check(caller, 'x2', x2, SECOND);
  checkOptions(caller, options, rules);
}
/** @internal As gram's. */
export const checkGramCall = (caller: string, model: Model, x2: unknown, options: unknown): void =>
  checkKernelCall(caller, model, x2, options, GRAM);

/** @internal */
const resolve = (implementation: Implementation = 'auto') =>
  implementation === 'auto' ? 'structured-derivatives' : implementation;

/** Matrices that a call holds; split by parameter it is one each, and three more. */
const MATRICES: Readonly<Record<string, number>> = { total: 1, components: 4 };

/** @internal Checks and lists the functions of a call, without running anything. */
export function prepare(
  caller: string,
  model: Model,
  x1: readonly Sample[],
  x2: readonly Sample[] | null | undefined,
  options: GramOptions,
  split: NativeGramOptions['split'],
  functions: (samples: readonly Sample[]) => NativeFunctions,
): Call {
  const first = functions(x1);
  const second = x2 ? functions(x2) : null;
  const entries = first.sequence.length * (second ?? first).sequence.length;
  const matrices = MATRICES[split] ?? model.spec.parameters.length + 3;
  const maxBytes = reserve(
    caller,
    byteBudget(caller, options.maxBytes),
    8 * entries * matrices,
    cheaper(options),
  );
  return {
    caller,
    model,
    first,
    second,
    options: {
      implementation: resolve(options.implementation),
      split,
      wanted: wantedMask(caller, model, options.params),
      maxBytes,
    },
  };
}

function cheaper({ outputs = 'target', level = 'sequence', parts = false }: GramOptions): string {
  const calls = ['fewer samples'];
  if (outputs === 'full') calls.push("outputs 'trace'");
  if (outputs === 'target' && level === 'token') calls.push("level 'sequence'");
  if (parts) calls.push('no parts');
  return `use ${calls.join(', or ')}`;
}

const run = ({ model, first, second, options }: Call, job: GramOptions) =>
  runJob(job, (onProgress) => model.native.gram(first, second, options, onProgress));

function add(into: Float64Array, from: Float64Array): void {
  for (let i = 0; i < from.length; ++i) into[i]! += from[i]!;
}

/** Functions of x1 and of x2. */
const shapeOf = ({ first, second }: Call): [number, number] => [
  first.sequence.length,
  (second ?? first).sequence.length,
];

/**
 * The kernel between samples x1 and x2 (or x1 and itself).
 * @throws ERR_INVALID_ARG (samples, non-finite weights), ERR_OUT_OF_MEMORY (the budget, with both sizes and a
 * cheaper call), ERR_UNSUPPORTED.
 */
export async function gram(
  model: Model,
  x1: readonly Sample[],
  x2?: readonly Sample[] | null,
  options: GramOptions = {},
): Promise<GramResult> {
  checkGramCall('ntk.gram', model, x2, options);
  const { level = 'sequence', outputs = 'target', parts = false } = options;
  if (outputs !== 'target') return logitGram(model, x1, x2, options, outputs);
  const call = prepare('ntk.gram', model, x1, x2, options, parts ? 'parameters' : 'total', (samples) =>
    targetFunctions('ntk.gram', model, samples, level),
  );
  const plan = model.native.planGram(call.first, call.second, call.options);
  const matrices = await run(call, options);
  const shape = shapeOf(call);
  const done = {
    shape,
    implementation: call.options.implementation,
    cost: { blocks: plan.blocks, bytes: plan.bytes },
  };
  if (!parts) return { kernel: matrices[0]!, ...done };
  const named = partNames(model)
    .map((name, i) => ({ name, kernel: matrices[i]! }))
    .filter(({ kernel }) => kernel.some((value) => value !== 0));
  const kernel = new Float64Array(shape[0] * shape[1]);
  for (const part of named) add(kernel, part.kernel);
  return { kernel, parts: named, ...done };
}

/** @internal In the order of the native split 'parameters'. */
function partNames(model: Model): string[] {
  const parameters = model.spec.parameters;
  const classifier = parameters.find((p) => p.role === 'classifier')?.name;
  const embedding = parameters.find((p) => p.role === 'embedding')!.name;
  return [
    ...parameters.map((p) => p.name),
    classifier ?? `${embedding} (as classifier)`,
    `${embedding} (cross)`,
  ];
}

async function logitGram(
  model: Model,
  x1: readonly Sample[],
  x2: readonly Sample[] | null | undefined,
  options: GramOptions,
  outputs: 'trace' | 'full',
): Promise<GramResult> {
  checkSamples('ntk.gram', x1);
  if (x2) checkSamples('ntk.gram', x2, 'x2');
  if (options.parts)
    fail(
      'ERR_UNSUPPORTED',
      `ntk.gram: parts are not available for outputs '${outputs}'; use outputs 'target', or params to choose a part`,
    );
  const V = model.spec.vocabSize;
  const all = Array.from({ length: V }, (_, v) => v);
  const m1 = scoredStates(x1);
  const m2 = scoredStates(x2 ?? x1);
  // All entries at once, or one after the other, whose kernels add up to the trace.
  const chosen = outputs === 'full' ? [all] : all.map((v) => [v]);
  let kernel: Float64Array = new Float64Array(0);
  let cost = { blocks: 0, bytes: 0 };
  for (const [i, entries] of chosen.entries()) {
    const call = prepare('ntk.gram', model, x1, x2, options, 'total', (samples) =>
      logitFunctions('ntk.gram', model, samples, entries),
    );
    cost = model.native.planGram(call.first, call.second, call.options);
    const [block] = await run(call, { ...options, onProgress: undefined });
    if (i === 0) kernel = block!;
    else add(kernel, block!);
    options.onProgress?.(i + 1, chosen.length);
  }
  const implementation = resolve(options.implementation);
  if (outputs === 'trace') return { kernel, shape: [m1, m2], implementation, cost };
  return { kernel: inBlocks(kernel, m1, m2, V), shape: [m1, m2, V, V], implementation, cost };
}

const scoredStates = (samples: readonly Sample[]): number =>
  samples.reduce((sum, { inputIds, scoreFrom }) => sum + inputIds.length - scoreFrom, 0);

/** [m1 V, m2 V] → [m1, m2, V, V]. */
function inBlocks(kernel: Float64Array, m1: number, m2: number, V: number): Float64Array {
  const blocks = new Float64Array(kernel.length);
  for (let i = 0; i < m1; ++i) {
    for (let j = 0; j < m2; ++j) {
      for (let v = 0; v < V; ++v) {
        const from = (i * V + v) * m2 * V + j * V;
        blocks.set(kernel.subarray(from, from + V), ((i * m2 + j) * V + v) * V);
      }
    }
  }
  return blocks;
}

/**
 * The kernel split into the paper's representation and gradient components, and the cross terms of a tied
 * model.
 */
export async function decompose(
  model: Model,
  x1: readonly Sample[],
  x2?: readonly Sample[] | null,
  options: Omit<GramOptions, 'outputs' | 'parts' | 'implementation'> = {},
): Promise<DecomposeResult> {
  checkKernelCall('ntk.decompose', model, x2, options, DECOMPOSE);
  const call = prepare('ntk.decompose', model, x1, x2, options, 'components', (samples) =>
    targetFunctions('ntk.decompose', model, samples, options.level ?? 'sequence'),
  );
  const matrices = await run(call, options);
  const representation = matrices[0]!;
  const gradient = matrices[1]!;
  const cross = matrices[2]!;
  const total = representation.map((value, i) => value + gradient[i]! + cross[i]!);
  return { representation, gradient, cross, total, shape: shapeOf(call) };
}
