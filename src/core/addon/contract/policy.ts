/**
 * What a policy says, learns and samples.
 * Part of the contract of the .node file (../contract.ts).
 */
import type { ArrayView, RealArray } from './arrays.js';
import type { NativeTensor } from './runtime.js';

/** A loss that the kernel computes from ratio and advantage (native/ops/loss/losses.h). */
export interface NativeLossRow {
  readonly name: string;
  /** The numbers that it reads. */
  readonly parameters: Readonly<Record<string, { default: number; least: number; most: number }>>;
}

/**
 * The loss of op linear_policy_gradient (native/ops/loss/linear_policy_gradient.h has the equations); one
 * number per scored row in each array. The numbers that it reads are fields as well (src/policy/losses.ts).
 */
export interface NativeLoss {
  /**
   * 'coefficients': L = −Σ coefficients·logp − Σ entropyCoefficients·H. Otherwise the name of a
   * NativeLossRow.
   */
  readonly loss: string;
  /** −∂L/∂logp. Absent: 0. */
  readonly coefficients?: RealArray;
  /** −∂L/∂H, with any loss and whatever a row's weight. Absent: 0. */
  readonly entropyCoefficients?: RealArray;
  readonly advantages?: RealArray;
  /** Of the policy that sampled; ρ = exp(logp − oldLogps). Absent: ρ = 1, on policy. */
  readonly oldLogps?: RealArray;
  /** Of the reference policy, for kl 'k1', 'k2' and 'k3'. */
  readonly refLogps?: RealArray;
  /** Mask and normaliser, e.g. 1/tokens. Absent: 1. */
  readonly weights?: RealArray;
  /**
   * Estimator of the penalty that beta weighs, d = logp − refLogps: d, d²/2, e^(−d) − 1 + d (default), or the
   * sum over the vocabulary.
   */
  readonly kl?: string;
  /**
   * One ρ per token (default), or per sequence: exp of the mean ('sequence', GSPO) or of the sum ('product',
   * RLOO) of its log-ratios.
   */
  readonly importance?: string;
  /** Weight of the KL penalty. Default 0. */
  readonly beta?: number;
  /** Weight of the entropy bonus, times a row's weight. Default 0. */
  readonly entropyCoef?: number;
  /** Multiplies the KL estimator by ρ. Default false. */
  readonly klBiasCorrection?: boolean;
}

/** What accumulate() takes beside the loss. */
export interface NativeHead {
  /**
   * A head of one output beside the classifier: dL/dφ_n += headGradients[n] · headWeight, for every scored
   * row n.
   */
  readonly headGradients?: RealArray;
  readonly headWeight?: RealArray;
  /** Report the most likely token of every row. */
  readonly argmax?: boolean;
}

/** Op linear_policy_gradient on matrices: tensors of the context, or typed arrays that are copied into it. */
export interface NativePolicyGradient extends NativeLoss {
  readonly hidden: NativeTensor | ArrayView;
  readonly weight: NativeTensor | ArrayView;
  readonly bias?: RealArray;
  readonly targets: Int32Array;
  readonly offsets?: Int32Array;
  readonly refHidden?: NativeTensor | ArrayView;
  readonly refWeight?: NativeTensor | ArrayView;
  readonly refBias?: RealArray;
  readonly temperature: number;
  readonly gradHidden: boolean;
  readonly gradWeight: boolean;
}

/** Per scored row. In a fp64 context these are Float64Arrays, typed as what they are everywhere else. */
export interface NativeScores {
  /** log π of the row's own token, nats. */
  logps: Float32Array;
  /** Of the whole distribution, nats. */
  entropy: Float32Array;
  /** Of the most likely token. */
  maxProb: Float32Array;
  /** The most likely token, where asked for. */
  argmax?: Int32Array;
  /** The KL estimate, where there is a reference. */
  kl?: Float32Array;
  /** ρ. */
  ratio?: Float32Array;
  /** The row's share of L. */
  losses?: Float32Array;
  /** −1 clipped low, +1 high, 0 not. */
  clipped?: Int32Array;
}

export interface NativeGenerateOptions {
  readonly maxNewTokens: number;
  readonly numReturnSequences: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly seed: number;
  /** The random stream of completion j of prompt i is firstStream + i · numReturnSequences + j. */
  readonly firstStream: number;
  readonly stop: Int32Array;
  /** Completions decoded at a time; bounds the key/value cache. */
  readonly maxBatch: number;
}

export interface NativeCompletions {
  ids: Int32Array;
  logps: Float32Array;
  /** Completion c owns offsets[c] … offsets[c + 1] − 1 of ids and logps. */
  offsets: Int32Array;
  /** 1 = ended with a stop token, 0 = reached maxNewTokens or the context's end. */
  stopped: Uint8Array;
}

/**
 * Sizes of one update: samples of at most sequenceLength tokens, scoredLength of them scored; prompts 0:
 * nothing is sampled.
 */
export interface NativeFootprint {
  readonly sequences: number;
  readonly sequenceLength: number;
  readonly scoredLength: number;
  readonly maxTokens?: number;
  readonly gradientCheckpointing: boolean;
  readonly exactKl: boolean;
  /** One entry per parameter: whether it trains. */
  readonly trainable: Uint8Array;
  readonly prompts: number;
  readonly promptLength: number;
  readonly numReturnSequences: number;
  readonly maxNewTokens: number;
}
