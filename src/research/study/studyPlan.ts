/**
 * The study as data: on both tasks, classifier-first RL at four learning rates beside everything it must be
 * compared with. GRPO divides advantages by their standard deviation and losses by length; RLOO does neither
 * (dr_grpo's constant divisor), as REINFORCE on whole completions.
 */
import {
  baseConfig,
  LEARNING_RATE,
  RL,
  SCALES,
  type ArmPlan,
  type Mark,
  type Plan,
  type Size,
} from '../experiment/experimentPlan.js';
import type { GRPOConfig, SFTConfig } from '../../rl/config/options.js';
import type { NoisyAdderVariant } from '../tasks/noisyAdder.js';

const TASKS: readonly NoisyAdderVariant[] = ['main', 'contrast'];
const ESTIMATORS = ['grpo', 'rloo'] as const;
export type Estimator = (typeof ESTIMATORS)[number];
export const CF_MULTIPLIERS = [1, 3, 10, 30] as const;
const ONE_STAGE_MULTIPLIERS = [10, 30] as const;
const SCALINGS = [2, 3, 4, 6] as const;
/** Of the body's to the classifier's possible gain, where the rule ends stage 1. */
const SWITCH_RATIO = 2;
/** A classifier drawn anew needs longer to be fitted than one that is there. */
const FRESH_FACTOR = 5;

export interface StudyRun {
  /** Directory of the run in the study's. */
  readonly id: string;
  readonly task: NoisyAdderVariant;
  readonly kind: Estimator | 'supervised' | 'switch' | 'watch';
  readonly plan: Plan;
}

/** GRPO or RLOO; the other runs are supervised, or about one question alone. */
export const isRl = ({ kind }: StudyRun): boolean => kind === 'grpo' || kind === 'rloo';

const TASK_NAMES = { main: 'main task', contrast: 'contrast task' } as const;
const shared = (task: NoisyAdderVariant, title: string, size: Size) => ({
  title: `Noisy adder, ${TASK_NAMES[task]}: ${title}`,
  variant: task,
  scale: SCALES[size],
  sft: baseConfig(size),
  dynamics: true,
});

function rlPlan(task: NoisyAdderVariant, estimator: Estimator, size: Size): Plan {
  const { fullSteps, classifierSteps } = SCALES[size];
  const total = fullSteps + classifierSteps;
  const { scaleRewards, ...unscaled } = RL;
  const rl: GRPOConfig =
    estimator === 'grpo'
      ? { ...unscaled, scaleRewards }
      : { ...unscaled, advantageEstimator: 'rloo', lossType: 'dr_grpo' };
  const at = (row: string, ...steps: readonly number[]): Mark[] =>
    steps.map((step) => ({ step, row: `${row}, ${step}` }));
  // Enough marks, before and after the total, to read standard RL at any equal budget of tokens or time.
  const marks = [1 / 2, 5 / 8, 3 / 4, 7 / 8, 1, 5 / 4, 3 / 2].map((share) => Math.round(share * total));
  const arms: ArmPlan[] = [
    {
      id: 'standard',
      label: 'standard RL',
      trainer: 'grpo',
      config: { ...rl, maxSteps: marks.at(-1)! },
      description: 'All parameters from the base model.',
      marks: at('standard', ...marks),
    },
    ...CF_MULTIPLIERS.map(
      (m): ArmPlan => ({
        id: `cf-${m}`,
        label: `CF ×${m}`,
        trainer: 'cfrl',
        config: { ...rl, maxSteps: fullSteps, classifierSteps, classifierLearningRate: m * LEARNING_RATE },
        description:
          `The classifier alone for ${classifierSteps} steps at ${m} × the learning rate, then all ` +
          `parameters for ${fullSteps}.`,
        marks: [
          { step: classifierSteps, row: `CF ×${m}, stage 1` },
          { step: total, row: `CF ×${m}, ${classifierSteps} + ${fullSteps}` },
        ],
      }),
    ),
    ...ONE_STAGE_MULTIPLIERS.map(
      (m): ArmPlan => ({
        id: `w-lr-${m}`,
        label: `one stage, W lr ×${m}`,
        trainer: 'grpo',
        config: { ...rl, maxSteps: total, classifierLearningRateMultiplier: m },
        description: `Control: all parameters in one stage, the classifier's learning rate × ${m}.`,
        marks: at(`W lr ×${m}`, fullSteps, total),
      }),
    ),
    {
      id: 'lr-2',
      label: 'lr ×2',
      trainer: 'grpo',
      config: { ...rl, maxSteps: total, learningRate: 2 * LEARNING_RATE },
      description: 'Control: standard RL at twice the learning rate.',
      marks: at('lr ×2', fullSteps, total),
    },
    {
      id: 'classifier-only',
      label: 'classifier only ×10',
      trainer: 'grpo',
      config: { ...rl, maxSteps: total, learningRate: 10 * LEARNING_RATE, trainable: 'classifier' },
      description: 'Control: stage 1 of CF ×10 that never ends.',
      marks: at('classifier only ×10', total),
    },
    ...(estimator === 'grpo' ? SCALINGS : []).map(
      (c): ArmPlan => ({
        id: `scale-${c}`,
        label: `W × ${c}`,
        trainer: 'none',
        scaleClassifier: c,
        description: `Control: the base model's classifier multiplied by ${c}, nothing trained.`,
        marks: [{ step: 0, row: `W × ${c}, untrained` }],
      }),
    ),
  ];
  return { ...shared(task, estimator === 'grpo' ? 'GRPO' : 'RLOO', size), arms };
}

function supervisedPlan(task: NoisyAdderVariant, size: Size): Plan {
  const { fullSteps, classifierSteps } = SCALES[size];
  const config: SFTConfig = {
    perDeviceTrainBatchSize: 256,
    learningRate: LEARNING_RATE,
    lrSchedulerType: 'constant',
    adamBeta1: 0.9,
    adamBeta2: 0.99,
    maxGradNorm: 1,
    saveTotalLimit: 1,
  };
  const arms = [false, true].flatMap((freshClassifier): ArmPlan[] => {
    const factor = freshClassifier ? FRESH_FACTOR : 1;
    const first = factor * classifierSteps;
    const total = factor * (classifierSteps + fullSteps);
    const suffix = freshClassifier ? ', new W' : '';
    const arm = (
      id: string,
      label: string,
      description: string,
      own: SFTConfig,
      marks: readonly Mark[],
    ): ArmPlan => ({
      id: `${id}${freshClassifier ? '-new' : ''}`,
      label: `${label}${suffix}`,
      description,
      trainer: 'sft',
      config: { ...config, ...own },
      freshClassifier,
      marks,
    });
    const probing = { learningRate: 10 * LEARNING_RATE, trainable: 'classifier' };
    return [
      arm(
        'lp',
        'LP',
        'Linear probing: the classifier alone on right demonstrations.',
        { maxSteps: total, ...probing },
        [{ step: total, row: `LP${suffix}, ${total}` }],
      ),
      arm('ft', 'FT', 'Fine-tuning: all parameters on right demonstrations.', { maxSteps: total }, [
        { step: total - first, row: `FT${suffix}, ${total - first}` },
        { step: total, row: `FT${suffix}, ${total}` },
      ]),
      arm(
        'lp-ft',
        'LP-FT',
        'Linear probing, then fine-tuning (2202.10054).',
        {
          stages: [
            { name: 'probe', steps: first, ...probing },
            { name: 'full', steps: total - first, trainable: 'all', learningRate: LEARNING_RATE },
          ],
        },
        [
          { step: first, row: `LP-FT${suffix}, stage 1` },
          { step: total, row: `LP-FT${suffix}, ${first} + ${total - first}` },
        ],
      ),
    ];
  });
  return { ...shared(task, 'supervised', size), arms };
}

/**
 * When stage 1 of CF ×10 should end: fixed lengths against the rule, all with the same number of steps in
 * all.
 */
function switchPlan(task: NoisyAdderVariant, size: Size): Plan {
  const { fullSteps, classifierSteps } = SCALES[size];
  const total = fullSteps + classifierSteps;
  const cf = { ...RL, classifierLearningRate: 10 * LEARNING_RATE };
  const lengths = [1 / 4, 1 / 2, 1, 2].map((share) => Math.max(1, Math.round(share * classifierSteps)));
  const arms: ArmPlan[] = [
    {
      id: 'standard',
      label: 'standard RL',
      trainer: 'grpo',
      config: { ...RL, maxSteps: total },
      description: 'No first stage.',
      marks: [{ step: total, row: `k = 0, ${total} steps in all` }],
    },
    ...lengths.map(
      (k): ArmPlan => ({
        id: `k-${k}`,
        label: `k = ${k}`,
        trainer: 'cfrl',
        config: { ...cf, classifierSteps: k, maxSteps: total - k },
        description: `The classifier alone for ${k} steps, then all parameters for ${total - k}.`,
        marks: [{ step: total, row: `k = ${k}, ${total} steps in all` }],
      }),
    ),
    {
      // It stops at its mark, wherever its first stage ended.
      id: 'rule',
      label: 'rule',
      trainer: 'cfrl',
      config: { ...cf, classifierSteps: lengths.at(-1)!, maxSteps: total, switchRatio: SWITCH_RATIO },
      description:
        `Stage 1 ends once the body has ${SWITCH_RATIO} times as much to gain as the classifier, ` +
        `after ${lengths.at(-1)} steps at the latest.`,
      marks: [{ step: total, row: `rule, ${total} steps in all` }],
    },
  ];
  return { ...shared(task, 'when stage 1 ends', size), dynamics: false, arms };
}

/**
 * Runs that keep their entropy and runs that lose it, watched at every second step: what the forecast is
 * judged on.
 */
function watchPlan(task: NoisyAdderVariant, size: Size): Plan {
  const { fullSteps, classifierSteps } = SCALES[size];
  const total = fullSteps + classifierSteps;
  const arm = (id: string, label: string, own: GRPOConfig): ArmPlan => ({
    id,
    label,
    trainer: 'grpo',
    config: { ...RL, maxSteps: total, ...own },
    description: 'Watched.',
    marks: [{ step: total, row: `${label}, ${total}` }],
  });
  return {
    ...shared(task, 'entropy watched', size),
    dynamics: false,
    record: 2,
    arms: [
      arm('standard', 'standard RL', {}),
      arm('lr-3', 'lr ×3', { learningRate: 3 * LEARNING_RATE }),
      arm('lr-10', 'lr ×10', { learningRate: 10 * LEARNING_RATE }),
      arm('w-lr-10', 'W lr ×10', { classifierLearningRateMultiplier: 10 }),
      arm('w-lr-30', 'W lr ×30', { classifierLearningRateMultiplier: 30 }),
    ],
  };
}

export const studyRuns = (size: Size): StudyRun[] =>
  TASKS.flatMap((task): StudyRun[] => [
    ...ESTIMATORS.map(
      (kind): StudyRun => ({ id: `${task}-${kind}`, task, kind, plan: rlPlan(task, kind, size) }),
    ),
    { id: `${task}-supervised`, task, kind: 'supervised', plan: supervisedPlan(task, size) },
    { id: `${task}-switch`, task, kind: 'switch', plan: switchPlan(task, size) },
    { id: `${task}-watch`, task, kind: 'watch', plan: watchPlan(task, size) },
  ]);
