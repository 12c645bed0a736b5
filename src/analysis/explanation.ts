/** What explainStep() finds: predicted changes by component, and measured ones. */

/** A number before the step and its changes: first-order, with its components, and real. */
export interface ChangeOf {
  readonly before: number;
  /** From moving the classifier, R. */
  readonly representation: number;
  /** From moving all below it, G. */
  readonly gradient: number;
  /** Of a tied matrix: each use's gradient moving the other use. 0 when untied. */
  readonly cross: number;
  /** representation + gradient + cross: first order. */
  readonly predicted: number;
  /** After the step less before it. */
  readonly measured: number;
}

/**
 * How much one sample of the batch moves a probe's target, by component: η · advantage / N times the kernel's
 * entry.
 */
export interface Influence {
  /** Index in the batch. */
  readonly sample: number;
  /** Contributions to the predicted Δ log π(target | probe). */
  readonly representation: number;
  readonly gradient: number;
  readonly cross: number;
  readonly total: number;
}

/**
 * How well a prediction matches: ‖predicted − measured‖ / ‖measured‖, 1 − residual / variance, share of
 * entries with the right sign.
 */
export interface Accuracy {
  /** 0 when nothing moved and nothing was predicted. */
  readonly relativeError: number;
  readonly r2: number;
  readonly signAgreement: number;
}

/** What the step does to the next-token distribution at one probe, in nats. */
export interface ProbeExplanation extends Accuracy {
  /** Δ log π(· | probe), V each; predicted = representation + gradient + cross. */
  readonly representation: Float64Array;
  readonly gradient: Float64Array;
  readonly cross: Float64Array;
  readonly predicted: Float64Array;
  readonly measured: Float64Array;
  /** The token followed: options.targets, or the likeliest before the step. */
  readonly target: number;
  /** Of the target's log-probability, of the largest probability, and of the entropy in nats. */
  readonly logp: ChangeOf;
  readonly maxProb: ChangeOf;
  readonly entropy: ChangeOf;
  /** Δ log π by layer; they sum to `gradient`. */
  readonly layers?: readonly { readonly name: string; readonly change: Float64Array }[];
  /** The samples that move the target most, largest first. */
  readonly influences?: readonly Influence[];
}

/**
 * What explainStep() found; the figures of accuracy are over the Δ log π of all probes and tokens together.
 */
export interface Explanation extends Accuracy {
  /** In the order given. */
  readonly probes: readonly ProbeExplanation[];
  /**
   * False when the step is no gradient and the model is tied: the move of its matrix has no source to split
   * by.
   */
  readonly crossDefined: boolean;
  /** ‖Δθ‖₂; a tied matrix counts once. */
  readonly stepNorm: number;
  /** Means over probes. */
  readonly maxProb: ChangeOf;
  readonly entropy: ChangeOf;
  /** Whether the model was left as it is after the step (options.apply). */
  readonly applied: boolean;
}
