/**
 * Trainer options: TRL's names in camelCase (its snake_case is accepted too), TRL's defaults (trl at f2cd577). Where a default or a
 * meaning is not TRL's, the option says so.
 */
import { createRequire } from 'node:module';

import type { z } from 'zod';

import { shown } from '../core/check.js';
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
    /** 'tensorboard' writes event files to outputDir/tensorboard as well. Weights & Biases: `wandb sync` them (docs/training.md). TRL: all that is installed. */
    reportTo: z.union([z.enum(['none', 'tensorboard']).transform((one) => [one]), z.array(z.enum(['none', 'tensorboard']))]).default(['none']),
    saveSteps: count.default(500),
    /** Older checkpoints beyond this many are deleted. */
    saveTotalLimit: count.optional(),
    evalSteps: count.optional(),
  };

  const policy = {
    ...common,
    learningRate: nonNegative.default(1e-6),

    numGenerations: count.default(8),
    /** Cut to what the model's context leaves beside the prompt. */
    maxCompletionLength: count.default(512),
    temperature: positive.default(1),
    topP: z.number().gt(0).max(1).default(1),
    topK: natural.default(0),
    minP: z.number().min(0).max(1).nullable().default(null),
    /** Ids or one-token strings that end a completion. Absent: the model's eos_token_id. */
    stop: z.array(z.union([natural, z.string()])).optional(),

    lossType: z.enum(['grpo', 'bnpo', 'dr_grpo', 'dapo', 'cispo']).default('dapo'),
    /** 'product' (not in TRL's GRPO; its RLOO): the whole sequence's ratio, the product of its tokens'. */
    importanceSamplingLevel: z.enum(['token', 'sequence', 'product']).default('token'),
    epsilon: nonNegative.default(0.2),
    /** Absent: epsilon. For cispo the cap itself, as in TRL (the paper's 1 + ε is 5 there). */
    epsilonHigh: nonNegative.nullable().default(null),
    /** Caps the ratio for bad tokens too (two-sided clipping); above 1 + epsilonHigh. */
    delta: positive.nullable().default(null),
    /** Optimizer steps per rollout batch, μ. */
    numIterations: count.default(1),
    maskTruncatedCompletions: z.boolean().default(false),
    /** Share of the tokens, those of highest entropy, that the policy term is about. Below 1 it costs another forward pass. */
    topEntropyQuantile: z.number().min(0).max(1).default(1),
    /** Leave out a bad completion (advantage below 0) once the mean of log π_old − log π over its tokens exceeds this, nats. */
    offPolicyMaskThreshold: nonNegative.nullable().default(null),

    /** Weight of KL(π‖π_ref), nats; 0 = no reference model is kept. */
    beta: nonNegative.default(0),
    /** Of the penalty in the loss. TRL has k3 only; 'exact' sums over the vocabulary. */
    klEstimator: z.enum(['k1', 'k2', 'k3', 'exact']).default('k3'),
    /** Subtract beta · Σ_t k1 from each reward, as TRL's RLOOTrainer does, instead of adding the penalty to the loss. */
    klInReward: z.boolean().default(false),
    /** Multiply the estimator by the ratio: then k1 and k3 have the gradient of KL(π‖π_ref) (docs/training.md). */
    useBiasCorrectionKl: z.boolean().default(false),
    /** Adds −entropyCoef · (mean entropy of the step's tokens) to the loss. */
    entropyCoef: z.number().default(0),
    /** Steers entropyCoef by entropyCoefDelta within its bounds, towards a mean entropy of entropyTarget nats (entropyControl.ts). */
    useAdaptiveEntropy: z.boolean().default(false),
    entropyCoefMin: z.number().default(0),
    entropyCoefMax: z.number().default(1),
    entropyCoefDelta: nonNegative.default(0.005),
    entropyTarget: nonNegative.default(0.2),

    /**
     * How rewards become advantages: of completions (advantages.ts) or, for 'reinforce_plus_plus' and 'gae', of tokens (returns.ts). 'gae' is
     * PPO with a value head. TRL: GRPOTrainer 'grpo', RLOOTrainer 'rloo', PPOTrainer 'gae'.
     */
    advantageEstimator: z.enum(['grpo', 'rloo', 'reinforce', 'reinforce_plus_plus', 'gae']).default('grpo'),
    /** What grpo divides by. true = 'group', false = 'none'. */
    scaleRewards: z.union([z.enum(['group', 'batch', 'none']), z.boolean().transform((on) => (on ? 'group' as const : 'none' as const))]).default('group'),
    /** grpo: normalise the weighted sum, or each function's rewards before summing. */
    multiObjectiveAggregation: z.enum(['sum_then_normalize', 'normalize_then_sum']).default('sum_then_normalize'),
    /** reinforce: subtract the mean reward of the step. */
    reinforceBaseline: z.enum(['batch_mean', 'none']).default('batch_mean'),
    /** rloo, reinforce: shift and scale the step's advantages to mean 0, std 1. */
    normalizeAdvantages: z.boolean().default(false),
    /** Clamps each completion's summed reward to [least, most], before any KL penalty. */
    rewardClipRange: z.tuple([z.number(), z.number()]).nullable().default(null),
    /** reinforce_plus_plus, gae: discount per token. */
    gamma: z.number().min(0).max(1).default(1),
    /** gae: λ. */
    lam: z.number().min(0).max(1).default(0.95),
    /** gae: weight of the value loss. */
    vfCoef: nonNegative.default(0.1),
    /** gae: how far a value may move from the rollout's before its loss is clipped. */
    cliprangeValue: nonNegative.default(0.2),
    /** gae: scale the step's token rewards to std 1. */
    whitenRewards: z.boolean().default(false),

    /** For rollouts made elsewhere: weigh tokens by π_training / π_sampling, so bounded (tokenFactors.ts). */
    vllmImportanceSamplingCorrection: z.boolean().default(true),
    vllmImportanceSamplingMode: z.enum(['token_truncate', 'token_mask', 'sequence_truncate', 'sequence_mask']).default('sequence_mask'),
    vllmImportanceSamplingClipMin: nonNegative.nullable().default(null),
    vllmImportanceSamplingClipMax: positive.nullable().default(3),

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
    // TRL's RLOOTrainer: leave-one-out, KL in the reward, one ratio per completion, the mean over completions.
    RLOOConfig: z.strictObject({
      ...policy, numGenerations: count.default(2), beta: nonNegative.default(0.05), advantageEstimator: policy.advantageEstimator.default('rloo'), klInReward: z.boolean().default(true),
      lossType: policy.lossType.default('grpo'), importanceSamplingLevel: policy.importanceSamplingLevel.default('product'),
    }),
    // TRL's PPOTrainer: kl_coef is beta, num_ppo_epochs numIterations, cliprange epsilon, response_length maxCompletionLength.
    PPOConfig: z.strictObject({
      ...policy, learningRate: nonNegative.default(3e-6), numGenerations: count.default(1), beta: nonNegative.default(0.05), advantageEstimator: policy.advantageEstimator.default('gae'),
      klInReward: z.boolean().default(true), numIterations: count.default(4), maxCompletionLength: count.default(53), temperature: positive.default(0.7),
    }),
    SFTConfig: z.strictObject({
      ...common,
      learningRate: nonNegative.default(2e-5),
      /** Longer samples lose their end; also cut to the model's context. */
      maxLength: count.default(1024),
      /**
       * 'ft' trains what `trainable` says, 'lp' (linear probing) the classifier alone, 'lp_ft' the classifier for lpSteps and then everything
       * (2202.10054), each with a fresh optimizer and schedule.
       */
      mode: z.enum(['ft', 'lp', 'lp_ft']).default('ft'),
      /** lp_ft: steps of the first stage, before those of the second. Absent: as many as the second has. */
      lpSteps: count.optional(),
      /** lp, lp_ft: of the classifier's stage. Absent: learningRate. */
      lpLearningRate: nonNegative.optional(),
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
/**
 * Options of GRPOTrainer: TRL's GRPOConfig in camelCase (snake_case works too) with TRL's defaults; docs/training.md goes through them, and
 * `configOptions` lists their names. Unknown names and impossible values are refused with ERR_INVALID_ARG.
 */
export type GRPOConfig = z.input<Schemas['GRPOConfig']>;
/**
 * GRPOConfig and stage 1: classifierSteps (default 20, before the maxSteps of stage 2), classifierLearningRate (default 10 × learningRate) and
 * switchRatio, which may end it earlier (docs/training.md).
 */
export type CFRLConfig = z.input<Schemas['CFRLConfig']>;
/**
 * GRPOConfig with the defaults of TRL's RLOOTrainer: numGenerations 2, leave-one-out advantages, KL of weight beta 0.05 in the reward, one ratio per
 * completion.
 */
export type RLOOConfig = z.input<Schemas['RLOOConfig']>;
/**
 * GRPOConfig with the defaults of TRL's PPOTrainer: a value head and GAE, numIterations 4 (num_ppo_epochs), beta 0.05 (kl_coef) in the reward,
 * learningRate 3e-6, temperature 0.7, completions of at most 53 tokens.
 */
export type PPOConfig = z.input<Schemas['PPOConfig']>;
/**
 * Options of SFTTrainer, by TRL's names where TRL has them; `mode` chooses fine-tuning ('ft', default), linear probing ('lp') or both in turn
 * ('lp_ft', 2202.10054).
 */
export type SFTConfig = z.input<Schemas['SFTConfig']>;
/** GRPOConfig with defaults filled in; RLOO's and PPO's have the same form. */
export type ResolvedGRPOConfig = z.output<Schemas['GRPOConfig']>;
/** CFRLConfig with defaults filled in. */
export type ResolvedCFRLConfig = z.output<Schemas['CFRLConfig']>;
/** SFTConfig with defaults filled in. */
export type ResolvedSFTConfig = z.output<Schemas['SFTConfig']>;
/** What all trainers' options have in common, defaults filled in: output, length of the run, schedule, optimizer, what trains, checkpoints. */
export type CommonConfig = Omit<ResolvedSFTConfig, 'maxLength' | 'completionOnlyLoss' | 'mode' | 'lpSteps' | 'lpLearningRate'>;
export type PolicyConfigName = Exclude<keyof Schemas, 'SFTConfig'>;
export type ResolvedConfig<Name extends keyof Schemas> = z.output<Schemas[Name]>;
/**
 * One entry of the option `stages`: name, steps, trainable ('all', 'classifier', 'body' or a pattern of parameter names), learningRate; schedule and
 * multiplier are the trainer's unless given.
 */
export type StageConfig = z.output<All['stage']>;
export type LrScheduler = z.output<All['scheduler']>;
export type LrSchedulerKwargs = z.output<All['schedulerKwargs']>;

const nestedOptions = (): string[] => [...Object.keys(all().stage.shape), ...Object.keys(all().schedulerKwargs.shape)];

/** Option names of a trainer, for help texts and command lines. */
export const configOptions = (name: keyof Schemas): string[] => Object.keys(all().schemas[name].shape);

/** TRL's options that have no meaning here, and what to do instead (docs/training.md has the whole map). */
const ELSEWHERE: Readonly<Record<string, string>> = {
  useVllm: 'give the trainer rollouts: openAIRollouts({ url })', vllmServerBaseUrl: 'give the trainer rollouts: openAIRollouts({ url })', vllmMode: 'give the trainer rollouts: openAIRollouts({ url })',
  generationBatchSize: 'a rollout serves one step, or numIterations steps', stepsPerGeneration: 'a rollout serves one step, or numIterations steps', numPpoEpochs: 'its name here is numIterations',
  klCoef: 'its name here is beta', cliprange: 'its name here is epsilon', responseLength: 'its name here is maxCompletionLength', optim: 'the optimizer is AdamW', modelInitKwargs: 'load the model with Model.fromPretrained',
  useLigerKernel: 'the loss is always fused and never holds [tokens, vocabulary]', paddingFree: 'sequences are never padded', padToMultipleOf: 'sequences are never padded', removeUnusedColumns: 'reward functions always get every column',
  packing: 'sequences are packed without padding by themselves', datasetTextField: "rows have 'text', 'messages', or 'prompt' and 'completion'", useCpu: 'the context decides: createContext({ device })', dataloaderNumWorkers: 'rows are read before training',
};

/**
 * A config as a trainer will use it: snake_case names in camelCase, defaults filled in, values checked alone and together.
 * @throws ERR_INVALID_ARG naming the option, what it must be, and for an unknown one the nearest known name.
 */
export function resolveConfig<Name extends keyof Schemas>(name: Name, config: unknown): z.output<Schemas[Name]> {
  const known = configOptions(name);
  const input = camelCaseKeys(config ?? {});
  if (input === null || typeof input !== 'object' || Array.isArray(input)) fail('ERR_INVALID_ARG', `${name}: expected an object of options, got ${JSON.stringify(config)}`);
  for (const option of Object.keys(input))
    if (!known.includes(option)) fail('ERR_INVALID_ARG', `${name}: there is no option '${option}'.${Object.hasOwn(ELSEWHERE, option) ? ` In TRL's place: ${ELSEWHERE[option]}.` : suggestion(option, known)}`);
  const { reportTo } = input as { reportTo?: unknown };
  const other = [reportTo].flat().find((one) => one !== undefined && one !== 'none' && one !== 'tensorboard');
  if (other !== undefined)
    fail('ERR_INVALID_ARG', `${name}: reportTo must be 'none', 'tensorboard' or an array of these, got ${shown(reportTo)}${other === 'wandb' ? "; Weights & Biases has no kept npm package: use 'tensorboard' and `wandb sync <outputDir>/tensorboard`" : ''}`);
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
  if (given['mode'] !== undefined && given['mode'] !== 'ft')
    for (const option of ['stages', 'trainable']) if (given[option] !== undefined) refuse(`mode '${String(given['mode'])}' and ${option} exclude each other; the mode says what is trained`);
  for (const option of ['lpSteps', 'lpLearningRate'])
    if (given[option] !== undefined && (given['mode'] ?? 'ft') === 'ft') refuse(`${option} belongs to mode 'lp_ft'${option === 'lpSteps' ? '' : " and 'lp'"}, but it is 'ft'`);
  if (config.numGenerations !== undefined) {
    const batch = config.perDeviceTrainBatchSize * config.gradientAccumulationSteps;
    if (batch % config.numGenerations !== 0)
      refuse(`perDeviceTrainBatchSize × gradientAccumulationSteps (${config.perDeviceTrainBatchSize} × ${config.gradientAccumulationSteps} = ${batch}) must be a multiple of numGenerations (${config.numGenerations}): a step has whole groups`);
    const estimator = config.advantageEstimator!;
    if (config.numGenerations < 2 && (estimator === 'grpo' || estimator === 'rloo'))
      refuse(`numGenerations must be at least 2 with advantageEstimator '${estimator}', which compares completions of one prompt, got ${config.numGenerations}`);
    const owners = { normalizeAdvantages: ['rloo', 'reinforce'], gamma: ['reinforce_plus_plus', 'gae'], lam: ['gae'], vfCoef: ['gae'], cliprangeValue: ['gae'], whitenRewards: ['gae'] };
    for (const [option, estimators] of Object.entries(owners))
      if (given[option] !== undefined && !estimators.includes(estimator) && given[option] !== false)
        refuse(`${option} belongs to advantageEstimator ${estimators.map((name) => `'${name}'`).join(' and ')}, but it is '${estimator}'${estimator === 'grpo' && option === 'normalizeAdvantages' ? "; grpo's option is scaleRewards" : ''}`);
    for (const option of ['scaleRewards', 'multiObjectiveAggregation'])
      if (estimator !== 'grpo' && given[option] !== undefined) refuse(`${option} belongs to advantageEstimator 'grpo', but it is '${estimator}'${estimator === 'rloo' || estimator === 'reinforce' ? '; its option is normalizeAdvantages' : ''}`);
    if (estimator !== 'reinforce' && given['reinforceBaseline'] !== undefined) refuse(`reinforceBaseline belongs to advantageEstimator 'reinforce', but it is '${estimator}'`);
    if (config.delta != null && config.delta < 1 + (config.epsilonHigh ?? config.epsilon!)) refuse(`delta must be at least 1 + epsilonHigh (${1 + (config.epsilonHigh ?? config.epsilon!)}), got ${config.delta}`);
    if (config.delta != null && config.lossType === 'cispo') refuse("delta caps the ratio of the clipped losses; cispo has epsilonHigh");
    if (config.useBiasCorrectionKl && (config.klInReward || config.klEstimator === 'exact'))
      refuse(`useBiasCorrectionKl corrects an estimator in the loss, but ${config.klInReward ? 'klInReward is set' : "klEstimator 'exact' has no bias"}; leave it out`);
    if (config.klInReward && given['klEstimator'] !== undefined && config.klEstimator !== 'k1') refuse(`klInReward uses k1, but klEstimator is '${config.klEstimator}'; leave it out`);
  }
}
