/**
 * What a training run will hold in memory, before it begins: parameters and their companions, and the native
 * plan of the largest step.
 */
import { anything, checkOptions, count, flag, object, required, rule, type Rules } from '../core/check.js';
import { type Trainable, trainableMask } from './parameters.js';
import type { ModelParts } from './parts.js';

/** Sizes of one update, for Model.estimateTraining(). */
export interface TrainingShape {
  /** Sequences of one update. */
  readonly sequences: number;
  /**
   * Tokens of the longest sequence, and how many of them are scored at most. Default of scoredLength: all but
   * the first.
   */
  readonly sequenceLength: number;
  readonly scoredLength?: number;
  /** As accumulateGradients'. */
  readonly maxTokens?: number;
  readonly gradientCheckpointing?: boolean;
  /** Default: what is trainable now. */
  readonly trainable?: Trainable;
  /**
   * A reference model is held beside this one; 'exact' = for the KL over the whole vocabulary, which runs it
   * within the update.
   */
  readonly reference?: boolean | 'exact';
  /** Completions that are sampled before the update. */
  readonly sampling?: {
    readonly prompts: number;
    readonly promptLength: number;
    readonly numReturnSequences: number;
    readonly maxNewTokens: number;
  };
}

/** Bytes. */
export interface TrainingEstimate {
  /**
   * The peak: what is held throughout (weights, gradients, optimizer, reference, features) and the largest of
   * the phases.
   */
  readonly bytes: number;
  readonly weights: number;
  /** Of the trainable parameters, and AdamW's two moments of each. */
  readonly gradients: number;
  readonly optimizer: number;
  readonly reference: number;
  /** Of the scored tokens, kept for the updates of one batch while only the classifier trains. */
  readonly features: number;
  /** Phases, which use the same memory one after the other: forward and backward pass, scoring, sampling. */
  readonly activations: number;
  readonly scoring: number;
  readonly sampling: number;
}

const OPTIONS: Rules = {
  sequences: required(count),
  sequenceLength: required(count),
  scoredLength: count,
  maxTokens: count,
  gradientCheckpointing: flag,
  trainable: anything,
  reference: rule("true, false or 'exact'", (value) => typeof value === 'boolean' || value === 'exact'),
  sampling: object,
};
const SIZES: Rules = {
  prompts: required(count),
  promptLength: required(count),
  numReturnSequences: required(count),
  maxNewTokens: required(count),
};

/** @throws ERR_INVALID_ARG for a size that is not a positive integer. */
export function estimateTraining(model: ModelParts, shape: TrainingShape): TrainingEstimate {
  const caller = 'model.estimateTraining';
  checkOptions(caller, shape, OPTIONS, { argument: 'shape' });
  if (shape.sampling !== undefined) checkOptions(`${caller}: sampling`, shape.sampling, SIZES);
  const {
    sequences,
    sequenceLength,
    scoredLength = Math.max(sequenceLength - 1, 1),
    maxTokens,
    gradientCheckpointing = false,
    reference = false,
    sampling,
  } = shape;
  const mask = trainableOf(model, shape.trainable);
  const trainable = model.parameters().filter((_, i) => mask[i] === 1);
  const classifierOnly = trainable.every((p) => p.role === 'classifier');
  const phases = model.native.footprint({
    sequences,
    sequenceLength,
    scoredLength,
    ...(maxTokens ? { maxTokens } : {}),
    gradientCheckpointing,
    exactKl: reference === 'exact',
    trainable: mask,
    ...(sampling ?? NO_SAMPLING),
  });

  const bytesPerNumber = model.context.math === 'fp64' ? 8 : 4;
  const gradients = bytesPerNumber * trainable.reduce((sum, p) => sum + p.size, 0);
  const keepsFeatures = classifierOnly && sampling !== undefined;
  const held = {
    weights: phases.weights,
    gradients,
    optimizer: 2 * gradients,
    reference: reference ? phases.weights : 0,
    features: keepsFeatures ? bytesPerNumber * sequences * scoredLength * model.spec.hiddenSize : 0,
  };
  const throughout = Object.values(held).reduce((a, b) => a + b);
  const scores = sampling !== undefined || reference !== false;
  const largestPhase = Math.max(phases.accumulate, scores ? phases.score : 0, phases.generate);
  return {
    bytes: throughout + largestPhase,
    ...held,
    activations: phases.accumulate,
    scoring: phases.score,
    sampling: phases.generate,
  };
}

const NO_SAMPLING = { prompts: 0, promptLength: 1, numReturnSequences: 1, maxNewTokens: 0 };

/** One entry per parameter: whether it trains. */
function trainableOf(model: ModelParts, which: Trainable | undefined): Uint8Array {
  if (which !== undefined) return trainableMask(model.spec, which, model.peftConfig);
  return Uint8Array.from(model.parameters(), (p) => Number(p.trainable));
}
