/**
 * Policy gradients and cross-entropy through the classifier without a model: matrices in, log-probs,
 * entropies and gradients out, and never [tokens, V] (native/ops/loss/linear_policy_gradient.h has the
 * equations).
 */
import {
  anything,
  check,
  checkOptions,
  choice,
  flag,
  instance,
  JOB,
  object,
  rule,
  type Rules,
  shown,
  TEMPERATURE,
} from '../core/check.js';
import { type Context, contextRule, defaultContext } from '../core/context.js';
import { type JobOptions, runJob } from '../core/job.js';
import { Tensor } from '../core/tensor.js';
import { fail } from '../errors.js';
import { addon } from '../core/addon/addon.js';
import type { NativePolicyGradient, RealArray } from '../core/addon/contract.js';
import {
  type ImportanceLevel,
  type KlEstimator,
  LOSS_RULES,
  type LossParameters,
  type PolicyLossName,
} from './losses.js';

/** A tensor is used where it lies; numbers of a typed array (row-major) are copied when the call is made. */
export type Matrix = Tensor | { readonly data: RealArray; readonly shape: readonly number[] };

/** z = (hidden weightᵀ + bias) / temperature; every figure is that of the tempered softmax. */
export interface ClassifierInput {
  /** [N, C] */
  readonly hidden: Matrix;
  /** [V, C] */
  readonly weight: Matrix;
  /** [V]; −Infinity masks a token everywhere. */
  readonly bias?: RealArray;
  /** Default 1. */
  readonly temperature?: number;
  /** dL/dhidden is wanted. */
  readonly gradHidden?: boolean;
  /** dL/dweight is wanted. */
  readonly gradWeight?: boolean;
}

/**
 * L = −Σ coefficients·logp − Σ entropyCoefficients·H over rows whose target is not −100. A sum: put 1/N into
 * the coefficients.
 */
export interface GivenCoefficients {
  readonly loss?: 'coefficients';
  /** [N], −∂L/∂logp. Absent: 0. */
  readonly coefficients?: RealArray;
  /** [N], −∂L/∂H. Absent: 0. */
  readonly entropyCoefficients?: RealArray;
}

/**
 * L = Σ weights · (ℓ + beta·KL − entropyCoef·H). ℓ is the loss of that name, a function of the ratio
 * ρ = exp(logp − oldLogps) (absent: 1, on policy) and the advantage; docs/options.md has the losses and the
 * numbers that they read.
 */
export interface PolicyLoss extends LossParameters {
  readonly loss: PolicyLossName;
  /** [N], as all arrays but refBias and offsets. */
  readonly advantages: RealArray;
  /** Of the policy that sampled. */
  readonly oldLogps?: RealArray;
  /** Mask and normaliser per token, e.g. 1/tokens; absent: 1. */
  readonly weights?: RealArray;
  /** Of the entropy bonus, times a row's weight. Default 0. */
  readonly entropyCoef?: number;
  /** Per token, whatever its weight: L −= Σ entropyCoefficients·H. */
  readonly entropyCoefficients?: RealArray;
  /** Of the KL penalty. Default 0. */
  readonly beta?: number;
  /**
   * Its estimator, d = logp − refLogps: d, d²/2, e^(−d) − 1 + d (default), or the sum over the vocabulary.
   */
  readonly kl?: KlEstimator;
  /** For k1, k2 and k3. */
  readonly refLogps?: RealArray;
  /** For 'exact', over the whole vocabulary at the same temperature. */
  readonly refHidden?: Matrix;
  /** Its width may differ from hidden's. */
  readonly refWeight?: Matrix;
  readonly refBias?: RealArray;
  /** Multiplies the estimator by ρ. Default false. */
  readonly klBiasCorrection?: boolean;
  /**
   * One ratio per sequence: exp of the mean ('sequence', GSPO) or sum ('product', RLOO) of log-ratios;
   * sequence s owns rows offsets[s] … offsets[s + 1] − 1.
   */
  readonly importance?: ImportanceLevel;
  readonly offsets?: Int32Array;
}

/**
 * What policyGradient() takes: N rows of features, the classifier, each row's token, and a loss, L, by its
 * coefficients or by name.
 */
export type PolicyGradientInput = ClassifierInput & {
  /** −100 = ignored: logp 0, no gradient; entropy and maxProb are still reported. */
  readonly targets: Int32Array;
} & (GivenCoefficients | PolicyLoss);

/** One entry per row; Float64Arrays in a fp64 context. */
export interface PolicyGradientResult {
  /** log softmax(z)[target], 0 where ignored. */
  readonly logps: Float32Array;
  /** nats */
  readonly entropy: Float32Array;
  /** Of the most likely token. */
  readonly maxProb: Float32Array;
  /** Each row's share of L. */
  readonly losses: Float32Array;
  /** The KL estimate, when a reference was given. */
  readonly kl?: Float32Array;
  /** ρ and what was clipped (−1 low, +1 high), with a loss that computes them. */
  readonly ratio?: Float32Array;
  readonly clipped?: Int32Array;
  /** dL/dhidden [N, C] and dL/dweight [V, C], where wanted. */
  readonly gradHidden?: Tensor;
  readonly gradWeight?: Tensor;
}

/** Where a call runs, how it is cancelled and watched. */
export interface CallOptions extends JobOptions {
  /** Default: that of the tensors, or the shared one. */
  readonly context?: Context;
}

const CALL: Rules = { ...JOB, context: contextRule };
const array = anything; // by checkInput, with its length
const CLASSIFIER: Rules = {
  hidden: array,
  weight: array,
  bias: array,
  targets: array,
  temperature: TEMPERATURE,
  gradHidden: flag,
  gradWeight: flag,
};
const LOSS: Rules = {
  ...LOSS_RULES,
  coefficients: array,
  entropyCoefficients: array,
  advantages: array,
  oldLogps: array,
  weights: array,
  refLogps: array,
  refHidden: array,
  refWeight: array,
  refBias: array,
  offsets: instance('an Int32Array', Int32Array),
};

const isTensor = (value: unknown): value is Tensor => value instanceof Tensor;

function shapeOf(caller: string, name: string, matrix: Matrix | undefined): readonly [number, number] {
  const shape = matrix?.shape;
  if (!Array.isArray(shape) || shape.length !== 2)
    return fail(
      'ERR_SHAPE',
      `${caller}: ${name} must be a Tensor or { data, shape: [rows, columns] }, got ${shape === undefined ? typeof matrix : `shape [${String(shape)}]`}`,
    );
  return shape as unknown as [number, number];
}

/** Types and shapes, before anything is copied; native code checks what the numbers say. */
function checkInput(
  caller: string,
  input: Readonly<Record<string, unknown>>,
  known: Rules,
  options: CallOptions,
): void {
  check(caller, 'input', input, object);
  checkOptions(caller, input, known, { argument: 'input', noun: 'argument' });
  checkOptions(caller, options, CALL);
  const [rows, width] = shapeOf(caller, 'hidden', input['hidden'] as Matrix);
  const [vocabulary, columns] = shapeOf(caller, 'weight', input['weight'] as Matrix);
  if (columns !== width)
    fail('ERR_SHAPE', `${caller}: weight must have ${width} columns, as hidden has, got ${columns}`);
  if (!(input['targets'] instanceof Int32Array))
    fail('ERR_DTYPE', `${caller}: targets must be an Int32Array, got ${shown(input['targets'])}`);
  const lengths: Readonly<Record<string, number>> = {
    targets: rows,
    coefficients: rows,
    entropyCoefficients: rows,
    advantages: rows,
    oldLogps: rows,
    weights: rows,
    refLogps: rows,
    bias: vocabulary,
    refBias: vocabulary,
  };
  for (const [name, length] of Object.entries(lengths)) {
    const values = input[name];
    if (values === undefined) continue;
    if (!(values instanceof Int32Array || values instanceof Float32Array || values instanceof Float64Array))
      fail(
        'ERR_DTYPE',
        `${caller}: ${name} must be a ${name === 'targets' ? 'Int32Array' : 'Float32Array or Float64Array'}, got ${shown(values)}`,
      );
    if (values.buffer instanceof SharedArrayBuffer)
      fail(
        'ERR_INVALID_ARG',
        `${caller}: ${name} must not lie in a SharedArrayBuffer; copy it into an ArrayBuffer`,
      );
    if (values.buffer.byteLength === 0 && length > 0)
      fail(
        'ERR_INVALID_ARG',
        `${caller}: ${name} is empty; its buffer is detached if it was transferred away`,
      );
    if (values.length !== length)
      fail(
        'ERR_SHAPE',
        `${caller}: ${name} must have ${length} entries, one per row of ${length === rows ? 'hidden' : 'weight'}, got ${values.length}`,
      );
  }
}

type Call = Omit<NativePolicyGradient, 'hidden' | 'weight' | 'refHidden' | 'refWeight'> & {
  hidden: Matrix;
  weight: Matrix;
  refHidden?: Matrix;
  refWeight?: Matrix;
};

async function run(
  { hidden, weight, refHidden, refWeight, ...rest }: Call,
  options: CallOptions,
): Promise<PolicyGradientResult> {
  const context =
    options.context ?? ([hidden, weight, refHidden, refWeight].some(isTensor) ? undefined : defaultContext());
  const native = (matrix: Matrix) =>
    isTensor(matrix) ? matrix.native : { data: matrix.data, shape: matrix.shape };
  const { losses, gradHidden, gradWeight, ...scores } = await runJob(options, (onProgress) =>
    addon.policyGradient(
      context?.native,
      {
        ...rest,
        hidden: native(hidden),
        weight: native(weight),
        ...(refHidden ? { refHidden: native(refHidden) } : {}),
        ...(refWeight ? { refWeight: native(refWeight) } : {}),
      },
      onProgress,
    ),
  );
  return {
    ...scores,
    losses: losses!,
    ...(gradHidden ? { gradHidden: new Tensor(gradHidden) } : {}),
    ...(gradWeight ? { gradWeight: new Tensor(gradWeight) } : {}),
  };
}

/**
 * A policy-gradient loss and its gradients in one fused pass over the classifier.
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_ARG (targets outside the vocabulary, coefficients that are not
 * finite, detached or shared
 *   buffers), ERR_OUT_OF_MEMORY: all before any number is written.
 */
export async function policyGradient(
  input: PolicyGradientInput,
  options: CallOptions = {},
): Promise<PolicyGradientResult> {
  checkInput(
    'policyGradient',
    input as unknown as Record<string, unknown>,
    { ...CLASSIFIER, ...LOSS },
    options,
  );
  const { loss = 'coefficients', temperature = 1, gradHidden = false, gradWeight = false, ...rest } = input;
  return run({ ...rest, loss, temperature, gradHidden, gradWeight }, options);
}

/** What linearCrossEntropy() takes. */
export interface CrossEntropyInput extends ClassifierInput {
  /** [N] token ids. */
  readonly targets: Int32Array;
  /** Rows with this target count nowhere. Default −100. */
  readonly ignoreIndex?: number;
  /** Default 'mean', over the rows that count; none: 0. With 'none', gradients are those of the sum. */
  readonly reduction?: 'mean' | 'sum' | 'none';
}

/** What linearCrossEntropy() gives; arrays have one entry per row. */
export interface CrossEntropyResult {
  /** Reduced; with 'none', the sum. */
  readonly loss: number;
  /** −log softmax(z)[target] per row, 0 where ignored: not reduced, whatever the reduction. */
  readonly losses: Float32Array;
  /** nats */
  readonly entropy: Float32Array;
  /** Of the most likely token. */
  readonly maxProb: Float32Array;
  /** Of the loss: [N, C] and [V, C], where wanted. */
  readonly gradHidden?: Tensor;
  readonly gradWeight?: Tensor;
}

const IGNORED = -100;
const CROSS_ENTROPY: Rules = {
  ...CLASSIFIER,
  ignoreIndex: rule('an integer', Number.isInteger),
  reduction: choice('mean', 'sum', 'none'),
};

/**
 * Cross-entropy of a linear classifier, fused: torch's F.cross_entropy(hidden weightᵀ + bias, targets)
 * without the logits.
 */
export async function linearCrossEntropy(
  input: CrossEntropyInput,
  options: CallOptions = {},
): Promise<CrossEntropyResult> {
  const caller = 'linearCrossEntropy';
  checkInput(caller, input as unknown as Record<string, unknown>, CROSS_ENTROPY, options);
  const {
    ignoreIndex = IGNORED,
    reduction = 'mean',
    temperature = 1,
    gradHidden = false,
    gradWeight = false,
    targets: given,
    ...rest
  } = input;
  const vocabulary = rest.weight.shape[0]!;
  let counted = 0;
  const targets = given.map((target, n) => {
    if (target === ignoreIndex) return IGNORED;
    if (!(target >= 0 && target < vocabulary))
      fail(
        'ERR_INVALID_ARG',
        `${caller}: targets must be ${ignoreIndex} (ignored) or in 0 … ${vocabulary - 1}, got ${target} in row ${n}`,
      );
    ++counted;
    return target;
  });
  const share = reduction === 'mean' ? 1 / Math.max(counted, 1) : 1;
  const coefficients = new Float64Array(targets.length).fill(share);
  const {
    logps,
    entropy,
    maxProb,
    gradHidden: dHidden,
    gradWeight: dWeight,
  } = await run(
    { ...rest, targets, temperature, gradHidden, gradWeight, loss: 'coefficients', coefficients },
    options,
  );
  const losses = logps.map((logp) => 0 - logp);
  let sum = 0;
  for (const value of losses) sum += value;
  return {
    loss: sum * share,
    losses,
    entropy,
    maxProb,
    ...(dHidden ? { gradHidden: dHidden } : {}),
    ...(dWeight ? { gradWeight: dWeight } : {}),
  };
}
