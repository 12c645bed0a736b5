/** The fused forward and backward pass of training: dL/dθ of a loss over scored tokens. */
import type { NativeHead } from '../core/addon/contract.js';
import { checkOptions, count, flag, reals, required, type Rules } from '../core/check.js';
import { runJob } from '../core/job.js';
import { fail } from '../errors.js';
import { LOSS_RULES, type TokenLoss } from '../policy/losses.js';
import { packSamples, type Sample } from './batch.js';
import { type ModelParts, modelRule } from './parts.js';
import { SCORE, type ScoreOptions, type Scores } from './scoring.js';

/**
 * What accumulateGradients() minimises; arrays have one entry per scored token. See
 * native/ops/loss/linear_policy_gradient.h.
 */
export interface GradientOptions extends ScoreOptions, TokenLoss, NativeHead {
  /** For kl 'exact': the reference policy. */
  readonly reference?: ModelParts;
  /** Tokens held at a time; the result does not depend on it beyond rounding. */
  readonly maxTokens?: number;
  /**
   * Keep each layer's input only and compute the rest again on the way back: less memory, one more forward
   * pass, the same bits.
   */
  readonly gradientCheckpointing?: boolean;
}

const GRADIENT: Rules = {
  ...SCORE,
  ...LOSS_RULES,
  loss: required(LOSS_RULES.loss),
  coefficients: reals,
  entropyCoefficients: reals,
  advantages: reals,
  oldLogps: reals,
  refLogps: reals,
  weights: reals,
  headGradients: reals,
  headWeight: reals,
  argmax: flag,
  reference: modelRule,
  maxTokens: count,
  gradientCheckpointing: flag,
};

export async function accumulateGradients(
  model: ModelParts,
  samples: readonly Sample[],
  options: GradientOptions,
): Promise<Scores> {
  const caller = 'model.accumulateGradients';
  checkOptions(caller, options, GRADIENT);
  const packed = packSamples(caller, model, samples);
  checkLoss(caller, options);
  const {
    signal,
    onProgress,
    features,
    reference,
    temperature = 1,
    maxTokens,
    gradientCheckpointing = false,
    ...loss
  } = options;
  checkLengths(caller, loss, packed.rows.length);
  const native = {
    ...loss,
    temperature,
    gradientCheckpointing,
    ...(features ? { features: features.native } : {}),
    ...(reference ? { reference: reference.native } : {}),
    ...(maxTokens ? { maxTokens } : {}),
  };
  return runJob({ signal, onProgress }, (progress) => model.native.accumulate(packed, native, progress));
}

/** What each loss cannot do without. */
function checkLoss(caller: string, options: GradientOptions): void {
  const { loss, coefficients, entropyCoefficients, headGradients, advantages } = options;
  const { beta = 0, kl = 'k3', reference, refLogps } = options;
  const need = (name: string, why: string) =>
    fail('ERR_INVALID_ARG', `${caller}: ${name} must be given ${why}, got undefined`);
  if (loss === 'coefficients') {
    if (!coefficients && !entropyCoefficients && !headGradients)
      need('coefficients', "for loss 'coefficients'");
    return;
  }
  if (!advantages) need('advantages', `for loss '${loss}'`);
  if (beta > 0 && kl === 'exact' && !reference) need('reference', "for kl 'exact'");
  if (beta > 0 && kl !== 'exact' && !refLogps) need('refLogps', `for kl '${kl}'`);
}

/**
 * Every array has one entry per scored token; only the head's weight has its own length, the model's width.
 */
function checkLengths(caller: string, loss: TokenLoss & NativeHead, scored: number): void {
  for (const [name, value] of Object.entries(loss)) {
    if (name === 'headWeight' || !ArrayBuffer.isView(value)) continue;
    const { length } = value as Float32Array;
    if (length !== scored)
      fail('ERR_SHAPE', `${caller}: ${name} must have one entry per scored token (${scored}), got ${length}`);
  }
}
