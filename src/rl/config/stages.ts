/**
 * A run is a list of stages, each with its own trainable parameters, learning rate, schedule and fresh
 * optimizer.
 */
import { fail } from '../../errors.js';
import type { Model, Trainable } from '../../model/model.js';
import type { AdamWOptions } from '../../model/optimizer.js';
import type { CommonConfig } from './config.js';
import type { LrScheduler, LrSchedulerKwargs, StageConfig } from './options.js';

/** How the learning rate goes over a stage, in transformers' names; run/schedule.ts computes it. */
export interface Schedule {
  readonly learningRate: number;
  readonly lrSchedulerType: LrScheduler;
  readonly lrSchedulerKwargs: LrSchedulerKwargs;
  /** Below 1: a share of `steps`. */
  readonly warmupSteps: number;
  readonly steps: number;
}

/**
 * A phase of a run: what trains in it, for how many steps, at which learning rate. It begins with a fresh
 * optimizer.
 */
export interface Stage extends Schedule {
  /** In metrics. */
  readonly name: string;
  readonly trainable: Trainable;
  /** The classifier's learning rate is this multiple of the others'. */
  readonly classifierLearningRateMultiplier: number;
  /**
   * Ends the stage before its last step, judging by a step's metrics; growth/* are among them at every fourth
   * step of a stage that has this.
   */
  readonly endsWhen?: (metrics: Readonly<Record<string, number | null>>) => boolean;
}

const toTrainable = (which: string | RegExp): Trainable =>
  which === 'all' || which === 'classifier' || which === 'body' ? which : new RegExp(which);

export function resolveStages(stages: readonly StageConfig[], config: CommonConfig): Stage[] {
  const { lrSchedulerType, lrSchedulerKwargs, warmupSteps, classifierLearningRateMultiplier } = config;
  return stages.map((stage) => ({
    lrSchedulerType,
    lrSchedulerKwargs,
    warmupSteps,
    classifierLearningRateMultiplier,
    ...stage,
    trainable: toTrainable(stage.trainable),
  }));
}

/** maxSteps, or what numTrainEpochs come to. */
export function stepsOf(
  { maxSteps, numTrainEpochs }: CommonConfig,
  rowsPerStep: number,
  size: number | undefined,
  caller: string,
): number {
  if (maxSteps > 0) return maxSteps;
  if (size === undefined)
    fail(
      'ERR_INVALID_ARG',
      `${caller}: maxSteps must be given, because a data set made on demand has no epochs`,
    );
  return Math.max(1, Math.ceil((numTrainEpochs * size) / rowsPerStep));
}

/** @throws ERR_UNSUPPORTED for a stage that has no meaning on a tied model. */
export function checkStages(stages: readonly Stage[], model: Model, caller: string): void {
  for (const stage of stages) {
    if (model.peftConfig) model.trainableMask(stage.trainable);
    const needsClassifier =
      stage.trainable === 'classifier' ||
      stage.trainable === 'body' ||
      stage.classifierLearningRateMultiplier !== 1;
    if (model.tied && needsClassifier)
      fail(
        'ERR_UNSUPPORTED',
        `${caller}: stage '${stage.name}' treats the classifier apart, but in this tied model it is also the input embedding; load the model with untieClassifier: true (--untie on the command line)`,
      );
  }
}

export function optimizerOptions(
  stage: Stage,
  model: Model,
  { adamBeta1, adamBeta2, adamEpsilon, weightDecay }: CommonConfig,
): AdamWOptions {
  const classifier = model.spec.parameters.filter((p) => p.role === 'classifier').map((p) => p.name);
  const escaped = classifier.map((name) => name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return {
    betas: [adamBeta1, adamBeta2],
    eps: adamEpsilon,
    weightDecay,
    groups:
      stage.classifierLearningRateMultiplier === 1
        ? []
        : [
            {
              match: new RegExp(`^(${escaped.join('|')})$`),
              learningRateMultiplier: stage.classifierLearningRateMultiplier,
            },
          ],
  };
}
