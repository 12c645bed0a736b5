/**
 * Ranges and defaults of the trainers' options: TRL's names in camelCase (its snake_case is accepted too),
 * TRL's defaults (trl at f2cd577). What they mean, and where a default or a meaning is not TRL's, is in
 * options.ts; what losses read is a table of its own, src/policy/losses.ts.
 */
import { createRequire } from 'node:module';

import type { z } from 'zod';

import {
  importanceLevels,
  klEstimators,
  type LOSS_OPTIONS,
  lossOptions,
  lossTypes,
} from '../../policy/losses.js';
import type { CFRLConfig, GRPOConfig, PPOConfig, RLOOConfig, SFTConfig } from './options.js';

type LossSchemas = {
  readonly [Name in keyof typeof LOSS_OPTIONS]: (typeof LOSS_OPTIONS)[Name] extends { nullMeans: unknown }
    ? z.ZodDefault<z.ZodNullable<z.ZodNumber>>
    : z.ZodDefault<z.ZodNumber>;
};

/** Of the options that losses read. */
function lossSchemas({ number }: Pick<typeof z, 'number'>): LossSchemas {
  const schemas = lossOptions.map(([name, option]) => {
    const range = number().min(option.least).max(option.most);
    return [
      name,
      option.nullMeans === undefined ? range.default(option.default) : range.nullable().default(null),
    ];
  });
  return Object.fromEntries(schemas) as LossSchemas;
}

/** zod takes longer to load than all else together; only trainers pay for it. */
function makeSchemas() {
  const { z } = createRequire(import.meta.url)('zod') as typeof import('zod');
  const count = z.int().min(1);
  const natural = z.int().min(0);
  const nonNegative = z.number().min(0);
  const positive = z.number().positive();

  const scheduler = z.enum(['constant', 'constant_with_warmup', 'linear', 'cosine', 'cosine_with_min_lr']);
  const trainable = z.union([z.string().min(1), z.instanceof(RegExp)]);
  const schedulerKwargs = z.strictObject({
    numCycles: positive.optional(),
    minLr: nonNegative.optional(),
    minLrRate: z.number().min(0).max(1).optional(),
  });

  const stage = z.strictObject({
    name: z.string().min(1),
    steps: count,
    trainable,
    learningRate: nonNegative,
    lrSchedulerType: scheduler.optional(),
    lrSchedulerKwargs: schedulerKwargs.optional(),
    warmupSteps: nonNegative.optional(),
    classifierLearningRateMultiplier: nonNegative.optional(),
  });

  const common = {
    outputDir: z.string().min(1).optional(),
    overwriteOutputDir: z.boolean().default(false),
    seed: natural.default(42),

    maxSteps: z.int().min(-1).default(-1),
    numTrainEpochs: positive.default(3),
    perDeviceTrainBatchSize: count.default(8),
    gradientAccumulationSteps: count.default(1),
    shuffleDataset: z.boolean().default(true),
    chatTemplateKwargs: z.record(z.string(), z.unknown()).optional(),

    lrSchedulerType: scheduler.default('linear'),
    lrSchedulerKwargs: schedulerKwargs.default({}),
    warmupSteps: nonNegative.default(0),
    adamBeta1: z.number().min(0).lt(1).default(0.9),
    adamBeta2: z.number().min(0).lt(1).default(0.999),
    adamEpsilon: positive.default(1e-8),
    weightDecay: nonNegative.default(0),
    maxGradNorm: nonNegative.default(1),
    trainable: trainable.default('all'),
    classifierLearningRateMultiplier: nonNegative.default(1),
    stages: z.array(stage).min(1).optional(),
    maxTokensInMemory: count.optional(),
    gradientCheckpointing: z.boolean().default(false),

    loggingSteps: count.default(1),
    reportTo: z
      .union([
        z.enum(['none', 'tensorboard']).transform((one) => [one]),
        z.array(z.enum(['none', 'tensorboard'])),
      ])
      .default(['none']),
    saveSteps: count.default(500),
    saveTotalLimit: count.optional(),
    evalSteps: count.optional(),
  };

  const policy = {
    ...common,
    learningRate: nonNegative.default(1e-6),

    numGenerations: count.default(8),
    maxCompletionLength: count.default(512),
    temperature: positive.default(1),
    topP: z.number().gt(0).max(1).default(1),
    topK: natural.default(0),
    minP: z.number().min(0).max(1).nullable().default(null),
    stop: z.array(z.union([natural, z.string()])).optional(),

    lossType: z.enum(lossTypes).default('dapo'),
    importanceSamplingLevel: z.enum(importanceLevels).default('token'),
    ...lossSchemas(z),
    numIterations: count.default(1),
    maskTruncatedCompletions: z.boolean().default(false),
    topEntropyQuantile: z.number().min(0).max(1).default(1),
    offPolicyMaskThreshold: nonNegative.nullable().default(null),

    beta: nonNegative.default(0),
    klEstimator: z.enum(klEstimators).default('k3'),
    klInReward: z.boolean().default(false),
    useBiasCorrectionKl: z.boolean().default(false),
    entropyCoef: z.number().default(0),
    useAdaptiveEntropy: z.boolean().default(false),
    entropyCoefMin: z.number().default(0),
    entropyCoefMax: z.number().default(1),
    entropyCoefDelta: nonNegative.default(0.005),
    entropyTarget: nonNegative.default(0.2),

    advantageEstimator: z.enum(['grpo', 'rloo', 'reinforce', 'reinforce_plus_plus', 'gae']).default('grpo'),
    scaleRewards: z
      .union([
        z.enum(['group', 'batch', 'none']),
        z.boolean().transform((on) => (on ? ('group' as const) : ('none' as const))),
      ])
      .default('group'),
    multiObjectiveAggregation: z
      .enum(['sum_then_normalize', 'normalize_then_sum'])
      .default('sum_then_normalize'),
    reinforceBaseline: z.enum(['batch_mean', 'none']).default('batch_mean'),
    normalizeAdvantages: z.boolean().default(false),
    rewardClipRange: z.tuple([z.number(), z.number()]).nullable().default(null),
    gamma: z.number().min(0).max(1).default(1),
    lam: z.number().min(0).max(1).default(0.95),
    vfCoef: nonNegative.default(0.1),
    cliprangeValue: nonNegative.default(0.2),
    whitenRewards: z.boolean().default(false),

    vllmImportanceSamplingCorrection: z.boolean().default(true),
    vllmImportanceSamplingMode: z
      .enum(['token_truncate', 'token_mask', 'sequence_truncate', 'sequence_mask'])
      .default('sequence_mask'),
    vllmImportanceSamplingClipMin: nonNegative.nullable().default(null),
    vllmImportanceSamplingClipMax: positive.nullable().default(3),

    rewardWeights: z.array(z.number()).optional(),
    rewardTimeoutMs: positive.default(120_000),

    logCompletions: z.boolean().default(false),
    numGenerationsEval: count.optional(),
  };

  const schemas = {
    GRPOConfig: z.strictObject(policy),
    CFRLConfig: z.strictObject({
      ...policy,
      classifierSteps: count.default(20),
      classifierLearningRate: nonNegative.optional(),
      switchRatio: positive.optional(),
    }),
    // TRL's RLOOTrainer: leave-one-out, KL in the reward, one ratio per completion, the mean over
    // completions.
    RLOOConfig: z.strictObject({
      ...policy,
      numGenerations: count.default(2),
      beta: nonNegative.default(0.05),
      advantageEstimator: policy.advantageEstimator.default('rloo'),
      klInReward: z.boolean().default(true),
      lossType: policy.lossType.default('grpo'),
      importanceSamplingLevel: policy.importanceSamplingLevel.default('product'),
    }),
    // TRL's PPOTrainer: kl_coef is beta, num_ppo_epochs numIterations, cliprange epsilon, response_length
    // maxCompletionLength.
    PPOConfig: z.strictObject({
      ...policy,
      learningRate: nonNegative.default(3e-6),
      numGenerations: count.default(1),
      beta: nonNegative.default(0.05),
      advantageEstimator: policy.advantageEstimator.default('gae'),
      klInReward: z.boolean().default(true),
      numIterations: count.default(4),
      maxCompletionLength: count.default(53),
      temperature: positive.default(0.7),
    }),
    SFTConfig: z.strictObject({
      ...common,
      learningRate: nonNegative.default(2e-5),
      maxLength: count.default(1024),
      mode: z.enum(['ft', 'lp', 'lp_ft']).default('ft'),
      lpSteps: count.optional(),
      lpLearningRate: nonNegative.optional(),
      completionOnlyLoss: z.boolean().default(true),
    }),
  };

  return { schemas, stage, scheduler, schedulerKwargs };
}

let made: ReturnType<typeof makeSchemas> | undefined;
/** Made at the first call. */
export const allSchemas = () => (made ??= makeSchemas());

type All = ReturnType<typeof makeSchemas>;
export type Schemas = All['schemas'];
/** GRPOConfig with defaults filled in; RLOO's and PPO's have the same form. */
export type ResolvedGRPOConfig = z.output<Schemas['GRPOConfig']>;
/** CFRLConfig with defaults filled in. */
export type ResolvedCFRLConfig = z.output<Schemas['CFRLConfig']>;
/** SFTConfig with defaults filled in. */
export type ResolvedSFTConfig = z.output<Schemas['SFTConfig']>;
/**
 * What all trainers' options have in common, defaults filled in: output, length of the run, schedule,
 * optimizer, what trains, checkpoints.
 */
export type CommonConfig = Omit<
  ResolvedSFTConfig,
  'maxLength' | 'completionOnlyLoss' | 'mode' | 'lpSteps' | 'lpLearningRate'
>;
export type PolicyConfigName = Exclude<keyof Schemas, 'SFTConfig'>;
export type ResolvedConfig<Name extends keyof Schemas> = z.output<Schemas[Name]>;

interface Configs {
  GRPOConfig: GRPOConfig;
  CFRLConfig: CFRLConfig;
  RLOOConfig: RLOOConfig;
  PPOConfig: PPOConfig;
  SFTConfig: SFTConfig;
}
type Same<A, B> = [Required<A>] extends [Required<B>]
  ? [Required<B>] extends [Required<A>]
    ? true
    : false
  : false;
type Holds<T extends true> = T;
/**
 * A compiler's error here: options.ts and the schemas above name different options, or one with different
 * types. @public because nobody needs to import it.
 */
export type OptionsMatchSchemas = Holds<
  { [Name in keyof Schemas]: Same<z.input<Schemas[Name]>, Configs[Name]> }[keyof Schemas]
>;
