/**
 * The embedded experiment as data: how the base model is made, which arms are trained, when they are
 * evaluated, what is known about the outcome. Arms get equal budgets: every step of every arm samples 32
 * prompts × 8 completions.
 */
import type { CFRLConfig, GRPOConfig, SFTConfig } from '../../rl/config/options.js';
import { EOS, MAX_RESPONSE_TOKENS, type NoisyAdderVariant } from '../tasks/noisyAdder.js';

export interface Scale {
  readonly baseSteps: number;
  readonly baseBatch: number;
  /** Full steps of the shorter standard run and of stage 2; with stage 1's they make the longer run. */
  readonly fullSteps: number;
  readonly classifierSteps: number;
  readonly prompts: number;
  readonly samples: number;
}

export const SCALES: Readonly<Record<'full' | 'quick', Scale>> = {
  full: { baseSteps: 1500, baseBatch: 128, fullSteps: 60, classifierSteps: 20, prompts: 256, samples: 8 },
  quick: { baseSteps: 60, baseBatch: 64, fullSteps: 6, classifierSteps: 2, prompts: 32, samples: 4 },
};

export const LEARNING_RATE = 3e-4;
const CLASSIFIER_MULTIPLIER = 10;

export interface Mark {
  readonly step: number;
  /** Row of the evaluation table. */
  readonly row: string;
}
export type ArmPlan = {
  readonly id: string;
  readonly label: string;
  readonly description: string;
  readonly marks: readonly Mark[];
} & (
  | { readonly trainer: 'grpo'; readonly config: GRPOConfig }
  | { readonly trainer: 'cfrl'; readonly config: CFRLConfig }
  /** On right demonstrations; `freshClassifier`: from the base model's body under a classifier drawn anew. */
  | { readonly trainer: 'sft'; readonly config: SFTConfig; readonly freshClassifier?: boolean }
  /** The base model with its classifier multiplied by a number. */
  | { readonly trainer: 'none'; readonly scaleClassifier: number }
);

/** Every number of a run follows from this. */
export interface Plan {
  readonly title: string;
  readonly variant: NoisyAdderVariant;
  readonly scale: Scale;
  readonly sft: SFTConfig;
  readonly arms: readonly ArmPlan[];
  /** Also measure dynamics.ts at every mark. */
  readonly dynamics?: boolean;
  /** Also watch every arm with analysis.record, a row each so many steps. */
  readonly record?: number;
}

export type Size = keyof typeof SCALES;

/** How every base model is made. */
export function baseConfig(size: Size): SFTConfig {
  const scale = SCALES[size];
  return {
    maxSteps: scale.baseSteps,
    perDeviceTrainBatchSize: scale.baseBatch,
    learningRate: 3e-3,
    lrSchedulerType: 'cosine_with_min_lr',
    lrSchedulerKwargs: { minLrRate: 0.05 },
    warmupSteps: Math.min(100, Math.floor(scale.baseSteps / 5)),
    adamBeta1: 0.9,
    adamBeta2: 0.99,
    weightDecay: 0.01,
    maxGradNorm: 1,
    loggingSteps: 50,
    saveTotalLimit: 1,
  };
}

/** What every RL arm shares, but for its steps. */
export const RL: GRPOConfig = {
  perDeviceTrainBatchSize: 256,
  numGenerations: 8,
  maxCompletionLength: MAX_RESPONSE_TOKENS,
  stop: [EOS],
  temperature: 1,
  learningRate: LEARNING_RATE,
  lrSchedulerType: 'constant',
  adamBeta1: 0.9,
  adamBeta2: 0.99,
  maxGradNorm: 1,
  lossType: 'grpo',
  scaleRewards: 'group',
  beta: 0,
  saveTotalLimit: 1,
};

export function makePlan(variant: NoisyAdderVariant, size: Size, controls: boolean): Plan {
  const scale = SCALES[size];
  const { fullSteps, classifierSteps } = scale;
  const total = fullSteps + classifierSteps;
  const rl: GRPOConfig = { maxSteps: total, ...RL };
  const cf = `CF ×${CLASSIFIER_MULTIPLIER}`;
  const arms: ArmPlan[] = [
    {
      id: 'standard',
      label: 'standard RL',
      trainer: 'grpo',
      config: rl,
      description: 'GRPO on all parameters from the base model.',
      marks: [
        { step: fullSteps, row: `standard, ${fullSteps}` },
        { step: total, row: `standard, ${total}` },
      ],
    },
    {
      id: 'cf',
      label: `${cf} (classifier first)`,
      trainer: 'cfrl',
      config: {
        ...rl,
        maxSteps: fullSteps,
        classifierSteps,
        classifierLearningRate: CLASSIFIER_MULTIPLIER * LEARNING_RATE,
      },
      description:
        `GRPO on the classifier alone for ${classifierSteps} steps at ${CLASSIFIER_MULTIPLIER} × the ` +
        'learning rate, then on all parameters.',
      marks: [
        { step: classifierSteps, row: `${cf}, stage 1` },
        { step: total, row: `${cf}, ${classifierSteps} + ${fullSteps}` },
      ],
    },
  ];
  if (controls) {
    arms.push(
      {
        id: 'w-lr',
        label: `W lr ×${CLASSIFIER_MULTIPLIER}`,
        trainer: 'grpo',
        config: { ...rl, classifierLearningRateMultiplier: CLASSIFIER_MULTIPLIER },
        description:
          "Control: one stage of GRPO on all parameters with the classifier's learning rate × " +
          `${CLASSIFIER_MULTIPLIER}.`,
        marks: [{ step: total, row: `W lr ×${CLASSIFIER_MULTIPLIER}, ${total}` }],
      },
      {
        id: 'lr',
        label: 'lr ×2',
        trainer: 'grpo',
        config: { ...rl, learningRate: 2 * LEARNING_RATE },
        description: 'Control: standard RL at twice the learning rate.',
        marks: [{ step: total, row: `lr ×2, ${total}` }],
      },
    );
  }
  return {
    title:
      variant === 'main'
        ? 'Noisy adder: RL and classifier-first RL'
        : 'Noisy adder, contrast task: RL and classifier-first RL',
    variant,
    scale,
    sft: baseConfig(size),
    arms,
    record: size === 'full' ? 5 : 2,
  };
}

/**
 * pass@1 of the experiment's prototype, in another framework, and the distance from it that its spread over
 * seeds allows a run.
 */
export const EXPECTED: Readonly<Record<string, readonly [number, number]>> = {
  'standard, 80': [0.549, 0.08],
  'CF ×10, 20 + 60': [0.63, 0.11],
};
