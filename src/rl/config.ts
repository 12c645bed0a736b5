/**
 * Trainer options: TRL's names in camelCase (its snake_case is accepted too), TRL's defaults (trl at f2cd577). Where a default or a
 * meaning is not TRL's, the option says so.
 */
import { createRequire } from 'node:module';

import type { z } from 'zod';

import { camelCaseKeys } from '../core/names.js';
import { fail, suggestion } from '../errors.js';

/** zod takes longer to load than all else together; only trainers pay for it. */
function makeSchemas() {
  const { z } = createRequire(import.meta.url)('zod') as typeof import('zod');
  const count = z.int().min(1);
  const natural = z.int().min(0);
  const nonNegative = z.number().min(0);
  const positive = z.number().positive();

  const scheduler = z.enum(['constant', 'constant_with_warmup', 'linear', 'cosine', 'cosine_with_min_lr']);
  const trainable = z.union([z.string().min(1), z.instanceof(RegExp)]);
  const schedulerKwargs = z.strictObject({ numCycles: positive.optional(), minLr: nonNegative.optional(), minLrRate: z.number().min(0).max(1).optional() });

  const stage = z.strictObject({
    name: z.string().min(1),
    steps: count,
    /** 'all', 'classifier', 'body' or a pattern of parameter names. */
    trainable,
    learningRate: nonNegative,
    // Absent: the trainer's.
    lrSchedulerType: scheduler.optional(),
    lrSchedulerKwargs: schedulerKwargs.optional(),
    warmupSteps: nonNegative.optional(),
    classifierLearningRateMultiplier: nonNegative.optional(),
  });

  const common = {
    /** Where metrics, completions and checkpoints go. Absent: nothing is written (TRL: 'trainer_output'). */
    outputDir: z.string().min(1).optional(),
    /** Start anew in an outputDir that holds a run; its files are removed. */
    overwriteOutputDir: z.boolean().default(false),
    seed: natural.default(42),

    /** Optimizer steps; −1 = numTrainEpochs decides. */
    maxSteps: z.int().min(-1).default(-1),
    numTrainEpochs: positive.default(3),
    perDeviceTrainBatchSize: count.default(8),
    gradientAccumulationSteps: count.default(1),
    shuffleDataset: z.boolean().default(true),
    /** Variables for the chat template, where prompts are messages (e.g. { enable_thinking: false }); its keys stay as they are. */
    chatTemplateKwargs: z.record(z.string(), z.unknown()).optional(),

    lrSchedulerType: scheduler.default('linear'),
    /** For cosine: numCycles; for cosine_with_min_lr: minLr or minLrRate. */
    lrSchedulerKwargs: schedulerKwargs.default({}),
    /** Below 1: a share of the stage's steps. As in transformers, the first of n warm-up steps has learning rate 0. */
    warmupSteps: nonNegative.default(0),
    adamBeta1: z.number().min(0).lt(1).default(0.9),
    adamBeta2: z.number().min(0).lt(1).default(0.999),
    adamEpsilon: positive.default(1e-8),
    weightDecay: nonNegative.default(0),
    /** 0 = no clipping. */
    maxGradNorm: nonNegative.default(1),
    trainable: trainable.default('all'),
    /** The classifier's learning rate is this multiple of the others': the control that CF-RL must be compared with. */
    classifierLearningRateMultiplier: nonNegative.default(1),
    /** Phases with their own parameters, learning rate, schedule and fresh optimizer; replaces maxSteps, trainable and learningRate. */
    stages: z.array(stage).min(1).optional(),
    /** Tokens of a batch held in memory at a time; changes no result. Absent: the engine decides. */
    maxTokensInMemory: count.optional(),
    /** Keep each layer's input only and compute the rest again on the way back; changes no result (TRL: true). */
    gradientCheckpointing: z.boolean().default(false),

    /** Every n-th step is a row of metrics.jsonl, with its own numbers (TRL: every 10th, the mean of the ten). */
    loggingSteps: count.default(1),
    saveSteps: count.default(500),
    /** Older checkpoints beyond this many are deleted. */
    saveTotalLimit: count.optional(),
    evalSteps: count.optional(),
  };

  const policy = {
    ...common,
    learningRate: nonNegative.default(1e-6),

    numGenerations: z.int().min(2, 'must be at least 2: advantages compare completions of one prompt').default(8),
    /** Cut to what the model's context leaves beside the prompt. */
    maxCompletionLength: count.default(512),
    temperature: positive.default(1),
    topP: z.number().gt(0).max(1).default(1),
    topK: natural.default(0),
    minP: z.number().min(0).max(1).nullable().default(null),
    /** Ids or one-token strings that end a completion. Absent: the model's eos_token_id. */
    stop: z.array(z.union([natural, z.string()])).optional(),

    lossType: z.enum(['grpo', 'bnpo', 'dr_grpo', 'dapo', 'cispo']).default('dapo'),
    importanceSamplingLevel: z.enum(['token', 'sequence']).default('token'),
    epsilon: nonNegative.default(0.2),
    /** Absent: epsilon. For cispo the cap itself, as in TRL (the paper's 1 + ε is 5 there). */
    epsilonHigh: nonNegative.nullable().default(null),
    /** Optimizer steps per rollout batch, μ. */
    numIterations: count.default(1),
    maskTruncatedCompletions: z.boolean().default(false),

    /** Weight of KL(π‖π_ref), nats; 0 = no reference model is kept. */
    beta: nonNegative.default(0),
    /** Of the penalty in the loss. TRL has k3 only; 'exact' sums over the vocabulary. */
    klEstimator: z.enum(['k1', 'k2', 'k3', 'exact']).default('k3'),
    /** Subtract beta · Σ_t k1 from each reward, as TRL's RLOOTrainer does, instead of adding the penalty to the loss. */
    klInReward: z.boolean().default(false),
    /** Adds −entropyCoef · (mean entropy of the step's tokens) to the loss. */
    entropyCoef: z.number().default(0),

    /** How rewards become advantages (advantages.ts). TRL: GRPOTrainer 'grpo', RLOOTrainer 'rloo'. */
    advantageEstimator: z.enum(['grpo', 'rloo', 'reinforce']).default('grpo'),
    /** What grpo divides by. true = 'group', false = 'none'. */
    scaleRewards: z.union([z.enum(['group', 'batch', 'none']), z.boolean().transform((on) => (on ? 'group' as const : 'none' as const))]).default('group'),
    /** grpo: normalise the weighted sum, or each function's rewards before summing. */
    multiObjectiveAggregation: z.enum(['sum_then_normalize', 'normalize_then_sum']).default('sum_then_normalize'),
    /** reinforce: subtract the mean reward of the step. */
    reinforceBaseline: z.enum(['batch_mean', 'none']).default('batch_mean'),
    /** rloo, reinforce: shift and scale the step's advantages to mean 0, std 1 (with reinforce: REINFORCE++). */
    normalizeAdvantages: z.boolean().default(false),

    /** Absent: 1 each. */
    rewardWeights: z.array(z.number()).optional(),
    /** For each reward function and step, synchronous code included. */
    rewardTimeoutMs: positive.default(120_000),

    /** Write completions.jsonl (needs outputDir). */
    logCompletions: z.boolean().default(false),
    /** Absent: numGenerations. */
    numGenerationsEval: count.optional(),
  };

  const schemas = {
    GRPOConfig: z.strictObject(policy),
    CFRLConfig: z.strictObject({
      ...policy,
      /** Steps of stage 1, before maxSteps of stage 2. */
      classifierSteps: count.default(20),
      /** Absent: 10 × learningRate (EXPERIMENT: safe; 30 × is faster and less stable). */
      classifierLearningRate: nonNegative.optional(),
      /**
       * Stage 1 ends early, at a fourth step at which ‖∂L/∂θ_φ‖² is at least this multiple of ‖∂L/∂W‖² on the step's batch: the body then has
       * that much more to gain than the classifier. A check costs a backward pass through the body. Absent: classifierSteps alone decide.
       */
      switchRatio: positive.optional(),
    }),
    SFTConfig: z.strictObject({
      ...common,
      learningRate: nonNegative.default(2e-5),
      /** Longer samples lose their end; also cut to the model's context. */
      maxLength: count.default(1024),
      /** Score the completion only. */
      completionOnlyLoss: z.boolean().default(true),
    }),
  };

  return { schemas, stage, scheduler, schedulerKwargs };
}

let made: ReturnType<typeof makeSchemas> | undefined;
const all = () => (made ??= makeSchemas());

type All = ReturnType<typeof makeSchemas>;
type Schemas = All['schemas'];
export type GRPOConfig = z.input<Schemas['GRPOConfig']>;
export type CFRLConfig = z.input<Schemas['CFRLConfig']>;
export type SFTConfig = z.input<Schemas['SFTConfig']>;
/** With defaults filled in. */
export type ResolvedGRPOConfig = z.output<Schemas['GRPOConfig']>;
export type ResolvedCFRLConfig = z.output<Schemas['CFRLConfig']>;
export type ResolvedSFTConfig = z.output<Schemas['SFTConfig']>;
export type CommonConfig = Omit<ResolvedSFTConfig, 'maxLength' | 'completionOnlyLoss'>;
export type StageConfig = z.output<All['stage']>;
export type LrScheduler = z.output<All['scheduler']>;
export type LrSchedulerKwargs = z.output<All['schedulerKwargs']>;

const nestedOptions = (): string[] => [...Object.keys(all().stage.shape), ...Object.keys(all().schedulerKwargs.shape)];

/** Option names of a trainer, for help texts and command lines. */
export const configOptions = (name: keyof Schemas): string[] => Object.keys(all().schemas[name].shape);

/** @throws ERR_INVALID_ARG naming the option, what it must be, and for an unknown one the nearest known name. */
export function resolveConfig<Name extends keyof Schemas>(name: Name, config: unknown): z.output<Schemas[Name]> {
  const known = configOptions(name);
  const input = camelCaseKeys(config ?? {});
  if (input === null || typeof input !== 'object' || Array.isArray(input)) fail('ERR_INVALID_ARG', `${name}: expected an object of options, got ${JSON.stringify(config)}`);
  for (const option of Object.keys(input))
    if (!known.includes(option)) fail('ERR_INVALID_ARG', `${name}: there is no option '${option}'.${suggestion(option, known)}`);
  const result = all().schemas[name].safeParse(input);
  if (!result.success) {
    const { issues } = result.error;
    const unknown = issues.find((issue) => issue.code === 'unrecognized_keys');
    if (unknown) fail('ERR_INVALID_ARG', `${name}: there is no option '${unknown.keys[0]}' in ${unknown.path.join('.')}.${suggestion(unknown.keys[0]!, nestedOptions())}`);
    const { path, message } = issues[0]!;
    const got = path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown> | undefined)?.[key], input);
    fail('ERR_INVALID_ARG', `${name}: ${path.join('.')}: ${message}${message.includes('received') ? '' : `, got ${typeof got === 'string' ? `'${got}'` : String(got)}`}`);
  }
  checkTogether(name, input as Record<string, unknown>, result.data);
  return result.data as z.output<Schemas[Name]>;
}

/** Rules that bind several options. */
function checkTogether(name: string, given: Record<string, unknown>, config: Partial<ResolvedGRPOConfig> & CommonConfig): void {
  const refuse = (message: string) => fail('ERR_INVALID_ARG', `${name}: ${message}`);
  if (config.maxSteps === 0) refuse('maxSteps must be at least 1, or -1 to train numTrainEpochs, got 0');
  for (const option of ['maxSteps', 'trainable', 'numTrainEpochs'])
    if (given['stages'] && given[option] !== undefined) refuse(`${option} and stages exclude each other; each stage names its own steps and trainable`);
  if (config.numGenerations !== undefined) {
    const batch = config.perDeviceTrainBatchSize * config.gradientAccumulationSteps;
    if (batch % config.numGenerations !== 0)
      refuse(`perDeviceTrainBatchSize × gradientAccumulationSteps (${config.perDeviceTrainBatchSize} × ${config.gradientAccumulationSteps} = ${batch}) must be a multiple of numGenerations (${config.numGenerations}): a step has whole groups`);
    const estimator = config.advantageEstimator;
    for (const option of ['scaleRewards', 'multiObjectiveAggregation'])
      if (estimator !== 'grpo' && given[option] !== undefined) refuse(`${option} belongs to advantageEstimator 'grpo', but it is '${estimator}'; its option is normalizeAdvantages`);
    if (estimator === 'grpo' && config.normalizeAdvantages) refuse("normalizeAdvantages belongs to advantageEstimator 'rloo' and 'reinforce'; grpo's option is scaleRewards");
    if (estimator !== 'reinforce' && given['reinforceBaseline'] !== undefined) refuse(`reinforceBaseline belongs to advantageEstimator 'reinforce', but it is '${estimator}'`);
    if (config.klInReward && given['klEstimator'] !== undefined && config.klEstimator !== 'k1') refuse(`klInReward uses k1, but klEstimator is '${config.klEstimator}'; leave it out`);
  }
}
