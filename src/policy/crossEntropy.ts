/**
 * Cross-entropy of a linear classifier without its logits: a policy gradient whose coefficients are the
 * weights.
 */
import { choice, rule, type Rules } from '../core/check.js';
import type { Tensor } from '../core/tensor.js';
import { fail } from '../errors.js';
import { type CallOptions, checkInput, CLASSIFIER, type ClassifierInput, run } from './classifierCall.js';

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

const CALLER = 'linearCrossEntropy';
const IGNORED = -100;
const CROSS_ENTROPY: Rules = {
  ...CLASSIFIER,
  ignoreIndex: rule('an integer', Number.isInteger),
  reduction: choice('mean', 'sum', 'none'),
};

/** The kernel's targets: −100 where the caller's are ignored. */
function targetsOf(given: Int32Array, ignoreIndex: number, vocabulary: number): Int32Array {
  return given.map((target, n) => {
    if (target === ignoreIndex) return IGNORED;
    if (target >= 0 && target < vocabulary) return target;
    const range = `${ignoreIndex} (ignored) or in 0 … ${vocabulary - 1}`;
    return fail('ERR_INVALID_ARG', `${CALLER}: targets must be ${range}, got ${target} in row ${n}`);
  });
}

/**
 * Cross-entropy of a linear classifier, fused: torch's F.cross_entropy(hidden weightᵀ + bias, targets)
 * without the logits.
 */
export async function linearCrossEntropy(
  input: CrossEntropyInput,
  options: CallOptions = {},
): Promise<CrossEntropyResult> {
  checkInput(CALLER, input as unknown as Record<string, unknown>, CROSS_ENTROPY, options);
  const {
    ignoreIndex = IGNORED,
    reduction = 'mean',
    temperature = 1,
    gradHidden = false,
    gradWeight = false,
    targets: given,
    ...rest
  } = input;
  const targets = targetsOf(given, ignoreIndex, rest.weight.shape[0]!);
  const counted = targets.reduce((count, target) => (target === IGNORED ? count : count + 1), 0);
  const share = reduction === 'mean' ? 1 / Math.max(counted, 1) : 1;
  const { logps, entropy, maxProb, ...gradients } = await run(
    {
      ...rest,
      targets,
      temperature,
      gradHidden,
      gradWeight,
      loss: 'coefficients',
      coefficients: new Float64Array(targets.length).fill(share),
    },
    options,
  );
  const losses = logps.map((logp) => 0 - logp); // not −logp, which is −0 in ignored rows
  const sum = losses.reduce((total, loss) => total + loss, 0);
  return {
    loss: sum * share,
    losses,
    entropy,
    maxProb,
    ...(gradients.gradHidden ? { gradHidden: gradients.gradHidden } : {}),
    ...(gradients.gradWeight ? { gradWeight: gradients.gradWeight } : {}),
  };
}
