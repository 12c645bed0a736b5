/**
 * Policy-gradient post-training (GRPO 2402.03300 and its family): sample completions, reward them, turn
 * rewards into advantages, and make numIterations clipped updates from each batch. RLOO, REINFORCE,
 * REINFORCE++, PPO, Dr.GRPO, DAPO, CISPO and GSPO are options of it.
 */
import { checkOptions, required, rule, type Rules } from '../../core/check.js';
import type { Tensor } from '../../core/tensor.js';
import { fail } from '../../errors.js';
import { isPrompt, type Sample } from '../../model/batch.js';
import type { TrainingShape } from '../../model/trainingEstimate.js';
import {
  type GradientOptions,
  type Model,
  modelRule,
  type ScoreOptions,
  type Scores,
} from '../../model/model.js';
import { encodePrompt } from '../../model/tokenizer/tokenizer.js';
import { computeAdvantages, weightedSum } from '../credit/advantages.js';
import {
  type PolicyConfigName,
  resolveConfig,
  type ResolvedConfig,
  type ResolvedGRPOConfig,
} from '../config/config.js';
import type { GRPOConfig } from '../config/options.js';
import type { Sampler } from '../rollout/dataset.js';
import type { CompletionRecord } from '../run/log.js';
import {
  activeCoefficient,
  type EntropyControl,
  initialControl,
  nextControl,
} from '../loss/entropyControl.js';
import { perToken, planLoss } from '../loss/loss.js';
import { chances } from '../rewards/evaluateRewards.js';
import { longest } from '../run/memory.js';
import {
  completionMetrics,
  explain,
  importanceMetrics,
  lossMetrics,
  mismatchMetrics,
  rewardSummary,
} from '../run/metrics.js';
import { discountedReturns, generalizedAdvantages, tokenRewards, whiten } from '../credit/returns.js';
import type { RolloutSource } from '../rollout/remoteRollouts.js';
import { callRewards, type NamedReward, nameRewards } from '../rewards/call.js';
import { rewardInput, type Rollout, sample } from '../rollout/rollout.js';
import { resolveStages, type Stage, stepsOf } from '../config/stages.js';
import { Stream } from '../rollout/streams.js';
import { highEntropyMask, importanceWeights, offPolicyMask } from '../loss/tokenFactors.js';
import {
  ARGUMENT,
  ARGUMENTS,
  type StepContext,
  type StepOutcome,
  Trainer,
  type TrainerArguments,
} from './trainer.js';
import type { PromptRow, RewardFunc } from '../interfaces.js';
import { ValueHead, type ValueHeadState, valueLoss } from '../credit/valueHead.js';

/** What GRPOTrainer and its kin are made from. */
export interface GRPOTrainerArguments<Config = GRPOConfig> extends TrainerArguments<PromptRow> {
  /**
   * One or several; their weighted sum (rewardWeights, default 1 each) is the reward. Those of this package,
   * or your own (RewardFunc).
   */
  readonly rewardFuncs: RewardFunc | readonly RewardFunc[];
  /** Options of the method; those left out have TRL's defaults. */
  readonly config?: Config | undefined;
  /** For the KL penalty. Default: a copy of the model as it is when training starts. */
  readonly refModel?: Model | undefined;
  /** Who samples; default: the model itself. For servers: openAIRollouts, sglangRollouts. */
  readonly rollouts?: RolloutSource | undefined;
}

const POLICY_ARGUMENTS: Rules = {
  ...ARGUMENTS,
  refModel: modelRule,
  rewardFuncs: required(
    rule(
      'a function or an array of functions that is not empty',
      (value) => typeof value === 'function' || (Array.isArray(value) && value.length > 0),
    ),
  ),
  rollouts: rule(
    'a source of completions with generate(), as openAIRollouts() makes',
    (value) => typeof (value as RolloutSource | null)?.generate === 'function',
  ),
};
/** The options among a trainer's arguments, both checked. */
export function policyConfig<Name extends PolicyConfigName>(
  caller: string,
  name: Name,
  args: GRPOTrainerArguments<object>,
): ResolvedConfig<Name> {
  checkOptions(caller, args, POLICY_ARGUMENTS, ARGUMENT);
  return resolveConfig(name, args.config);
}

/** What updates need of a rollout. Plain numbers: a checkpoint between two updates holds it. */
interface Batch {
  /** The sequences that are not masked. */
  readonly samples: readonly Sample[];
  /** Active tokens of every sequence, 0 = masked. */
  readonly lengths: readonly number[];
  /** Per active token. */
  readonly advantages: readonly number[];
  /** With a value head: what V was and should be, per active token. */
  readonly values: { readonly old: readonly number[]; readonly returns: readonly number[] } | null;
  readonly refLogps: readonly number[] | null;
  /** Of the first update's own forward pass; null until then. */
  readonly oldLogps: readonly number[] | null;
  /** Updates made. */
  readonly iteration: number;
}

/** Completions and their rewards, as token-level estimators take them. */
interface Scored {
  readonly samples: readonly Sample[];
  readonly lengths: readonly number[];
  readonly scores: Float64Array;
  /** Per token; 0 where no reward function had an opinion. */
  readonly scorable: Float32Array;
  readonly tokenKl: Float64Array | undefined;
}

/** What a checkpoint keeps between two steps. */
interface Pending {
  readonly batch: Batch | null;
  readonly head: ValueHeadState | null;
  readonly entropy: EntropyControl;
}

/** What the first update of a batch reports of the rollout behind it. */
interface Report {
  readonly numbers: Readonly<Record<string, number>>;
  readonly records: readonly CompletionRecord[];
  readonly samplingLogps: Float32Array;
  readonly unscorable: number;
  readonly tokens: number;
}

/** Steps between two looks at what the body would gain. */
const GROWTH_EVERY = 4;

/** Over the tokens of each sequence. */
function sums(values: ArrayLike<number>, lengths: readonly number[]): Float64Array {
  let n = 0;
  return Float64Array.from(lengths, (length) => {
    let sum = 0;
    for (const end = n + length; n < end; ++n) sum += values[n]!;
    return sum;
  });
}

/** Every sequence masked: no rows. */
const NOTHING: Scores = {
  logps: new Float32Array(),
  entropy: new Float32Array(),
  maxProb: new Float32Array(),
};

const concatenate = (parts: readonly Float32Array[]): Float32Array => {
  const out = new Float32Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) out.set(part, at), (at += part.length);
  return out;
};

/**
 * Policy-gradient post-training: a step samples numGenerations completions of each prompt, rewards them,
 * turns rewards into advantages and makes numIterations clipped updates. GRPO (2402.03300) as TRL has it, and
 * by options Dr. GRPO, DAPO, CISPO, GSPO, REINFORCE, REINFORCE++ (docs/training.md). The model trains in
 * place. train() runs to the end, steps() step by step; with an outputDir metrics, completions and
 * checkpoints are written, and a run resumes bit for bit. dispose() frees the optimizer and the reference
 * copy, not the model.
 * @throws ERR_INVALID_ARG (options, rewards, data set), ERR_UNSUPPORTED (a stage that treats a tied model's
 * classifier apart).
 */
export class GRPOTrainer extends Trainer<PromptRow, ResolvedGRPOConfig> {
  protected readonly rewards: readonly NamedReward[];
  /** Prompts per rollout. */
  readonly #prompts: number;
  readonly #givenReference: Model | undefined;
  readonly #source: RolloutSource | undefined;
  /** The step whose weights the source has. */
  #synced: number | undefined;
  #reference: Model | undefined;
  #batch: Batch | undefined;
  #head: ValueHead | undefined;
  #entropy: EntropyControl;
  /** Features of the batch under way, reused while only the classifier trains. */
  #features: Tensor | undefined;

  constructor(
    args: GRPOTrainerArguments,
    config: ResolvedGRPOConfig = policyConfig('GRPOTrainer', 'GRPOConfig', args),
    stages: StagesOf = defaultStages,
  ) {
    super(args, config, (sampler) => stages(config, sampler));
    this.rewards = nameRewards(args.rewardFuncs, config.rewardWeights, this.constructor.name);
    this.#prompts = promptsPerStep(config);
    this.#givenReference = args.refModel;
    this.#source = args.rollouts;
    this.#entropy = initialControl(config);
    if (config.advantageEstimator === 'gae') this.#head = new ValueHead(this.model);
  }

  protected override async setUp(): Promise<void> {
    if (this.config.beta > 0) this.#reference ??= this.#givenReference ?? (await this.model.clone());
  }
  protected override get reference(): Model | undefined {
    return this.#reference;
  }
  protected override pending(): Pending {
    return { batch: this.#batch ?? null, head: this.#head?.state() ?? null, entropy: this.#entropy };
  }
  protected override restorePending({ batch, head, entropy }: Pending): void {
    this.#dropFeatures();
    this.#batch = batch ?? undefined;
    if (head) this.#head = new ValueHead(this.model, head);
    this.#entropy = entropy;
  }
  override dispose(): void {
    this.#dropFeatures();
    if (this.#reference !== this.#givenReference) this.#reference?.dispose();
    this.#reference = undefined;
    super.dispose();
  }

  protected override shape(): Omit<TrainingShape, 'trainable'> {
    const { beta, klInReward, klEstimator, maxCompletionLength, numGenerations } = this.config;
    const { maxPositions } = this.model.spec;
    // What is no prompt the step refuses, in its own words.
    const tokens = ({ prompt }: PromptRow) =>
      isPrompt(prompt)
        ? encodePrompt(() => this.tokenizer, prompt, this.config.chatTemplateKwargs).length
        : 0;
    const promptLength = Math.min(
      longest(this.sampler.some(this.#prompts), ['prompt'], tokens),
      maxPositions - 1,
    );
    const sequenceLength = Math.min(promptLength + maxCompletionLength, maxPositions);
    return {
      sequences: this.#prompts * numGenerations,
      sequenceLength,
      scoredLength: sequenceLength - promptLength,
      reference: beta > 0 ? (klEstimator === 'exact' && !klInReward ? 'exact' : true) : false,
      ...(this.#source
        ? {}
        : {
            sampling: {
              prompts: this.#prompts,
              promptLength,
              numReturnSequences: numGenerations,
              maxNewTokens: maxCompletionLength,
            },
          }),
    };
  }

  protected override async accumulate(context: StepContext): Promise<StepOutcome> {
    const { config, model } = this;
    const { signal } = context;
    const classifierOnly = model.parameters((p) => p.trainable).every((p) => p.role === 'classifier');
    try {
      const { batch, report } = this.#batch
        ? { batch: this.#batch, report: undefined }
        : await this.#roll(context, classifierOnly);
      const shared: ScoreOptions = {
        signal,
        ...(await this.#sharedFeatures(batch.samples, classifierOnly, signal)),
      };
      const entropyCoef = activeCoefficient(this.#entropy, config);
      const plan = planLoss(
        {
          lengths: batch.lengths,
          reference: this.#reference,
          entropyCoef,
          ...(await this.#factors(batch, shared)),
          oldLogps: batch.oldLogps ? Float32Array.from(batch.oldLogps) : undefined,
          refLogps: batch.refLogps ? Float32Array.from(batch.refLogps) : undefined,
        },
        config,
      );
      const value = await this.#valueStep(batch, shared);
      const scores =
        batch.samples.length > 0
          ? await model.accumulateGradients(batch.samples, { ...plan.options, ...shared, ...value?.head })
          : NOTHING;
      const losses = lossMetrics(scores, batch.lengths, config, plan.entropyCoefficients);
      const entropy = nextControl(this.#entropy, losses['entropy']!, config);
      const growth =
        context.stage.endsWhen &&
        context.state.stageStep % GROWTH_EVERY === GROWTH_EVERY - 1 &&
        batch.samples.length > 0
          ? await this.#growth(batch.samples, plan.options, signal)
          : {};
      const numbers = {
        ...report?.numbers,
        ...growth,
        ...losses,
        ...(value
          ? {
              loss: losses['loss']! + config.vfCoef * value.loss,
              'loss/value_avg': value.loss,
              'val/clipfrac_avg': value.clipFraction,
            }
          : {}),
        ...(config.entropyCoef !== 0 || config.useAdaptiveEntropy ? { entropy_coef: entropy.coef } : {}),
        ...(report && this.#comparable ? mismatchMetrics(scores.logps, report.samplingLogps) : {}),
      };
      const masked = batch.lengths.filter((length) => length === 0).length;
      const facts = {
        first: context.state.stageStep === 0,
        unscorable: report?.unscorable ?? 0,
        masked: report ? masked : 0,
        completions: batch.lengths.length,
      };
      return {
        metrics: numbers,
        notes: explain(numbers, config, facts),
        ...(report && config.logCompletions ? { completions: report.records } : {}),
        rows: report ? this.#prompts : 0,
        sampled: report ? batch.lengths.length : 0,
        tokens: report?.tokens ?? 0,
        commit: ({ applied, learningRate }) => {
          const iteration = batch.iteration + 1;
          const more = iteration < config.numIterations;
          this.#batch = more
            ? { ...batch, iteration, oldLogps: batch.oldLogps ?? Array.from(scores.logps) }
            : undefined;
          if (!more) this.#dropFeatures();
          this.#entropy = entropy;
          if (value && applied) this.#head!.update(value.gradient, learningRate, config);
        },
      };
    } catch (error) {
      this.#dropFeatures();
      throw error;
    }
  }

  /** Advantages with the masks of the options, and the tokens that the entropy bonus is about. */
  async #factors(
    batch: Batch,
    shared: ScoreOptions,
  ): Promise<{ advantages: Float32Array; entropyMask?: Float64Array }> {
    const { topEntropyQuantile, offPolicyMaskThreshold: threshold, temperature } = this.config;
    const advantages = Float32Array.from(batch.advantages);
    const offPolicy = threshold !== null && batch.oldLogps !== null;
    if (batch.samples.length === 0 || (topEntropyQuantile === 1 && !offPolicy)) return { advantages };
    const now = await this.model.score(batch.samples, { temperature, ...shared });
    const kept = offPolicy
      ? perToken(
          offPolicyMask(advantages, now.logps, batch.oldLogps!, batch.lengths, threshold),
          batch.lengths,
        )
      : undefined;
    const entropyMask = topEntropyQuantile < 1 ? highEntropyMask(now.entropy, topEntropyQuantile) : undefined;
    return {
      advantages: advantages.map((a, n) => a * (kept?.[n] ?? 1) * (entropyMask?.[n] ?? 1)),
      ...(entropyMask ? { entropyMask } : {}),
    };
  }

  /** The value loss, what it sends into the trunk, and the head's own gradient. */
  async #valueStep({ samples, values }: Batch, { features, signal }: ScoreOptions) {
    const head = this.#head;
    if (!head || !values || samples.length === 0) return undefined;
    const own = features ?? (await this.model.features(samples, { signal }));
    try {
      const { loss, clipFraction, gradient } = valueLoss(
        await head.values(own),
        values.old,
        values.returns,
        this.config,
      );
      const headGradients = this.model.context.math === 'fp64' ? gradient : Float32Array.from(gradient);
      return {
        loss,
        clipFraction,
        gradient: await head.gradient(own, headGradients),
        head: { headGradients, headWeight: head.weight },
      };
    } finally {
      if (own !== features) own.dispose();
    }
  }

  /** A new batch: rollout, rewards, advantages. */
  async #roll(
    { stage, state, signal }: StepContext,
    classifierOnly: boolean,
  ): Promise<{ batch: Batch; report: Report }> {
    const { config, rewards } = this;
    const rollout = await this.#sample(
      this.sampler.rows(state.rows, this.#prompts),
      config.numGenerations,
      Stream.rollout + state.completions,
      signal,
    );
    const { columns, logged } = await this.#score(rollout, state.step + 1, stage.name, signal);

    const kept = rollout.samples.flatMap((_, i) =>
      config.maskTruncatedCompletions && !rollout.terminated[i] ? [] : [i],
    );
    const isKept = new Set(kept);
    const samples = kept.map((i) => rollout.samples[i]!);
    const lengths = rollout.lengths.map((length, i) => (isKept.has(i) ? length : 0));
    const { refLogps, tokenKl } = await this.#klTerms(samples, classifierOnly, signal);
    const byToken =
      config.advantageEstimator === 'gae' || config.advantageEstimator === 'reinforce_plus_plus';
    const weights = rewards.map((r) => r.weight);
    const { advantages: perCompletion, fractionZeroStd } = computeAdvantages(
      columns,
      weights,
      config,
      tokenKl && !byToken ? sums(tokenKl, lengths).map((kl) => config.beta * kl) : undefined,
    );
    const totals = weightedSum(columns, weights);
    const scorable = perToken(
      totals.map((total) => (Number.isNaN(total) ? 0 : 1)),
      lengths,
    );
    const { advantages, values } = byToken
      ? await this.#tokenAdvantages(
          { samples, lengths, scores: perCompletion, scorable, tokenKl },
          classifierOnly,
          signal,
        )
      : { advantages: perToken(perCompletion, lengths), values: null };
    const unscorable = totals.filter(Number.isNaN).length;
    const samplingLogps = concatenate(kept.map((i) => rollout.completions[i]!.logps));
    const correction = await this.#correction(samples, lengths, samplingLogps, classifierOnly, signal);
    return {
      batch: {
        samples,
        lengths,
        advantages: Array.from(advantages, (a, n) => a * (correction?.weights[n] ?? 1)),
        values,
        refLogps: refLogps ? [...refLogps] : null,
        oldLogps: correction ? [...correction.oldLogps] : null,
        iteration: 0,
      },
      report: {
        numbers: {
          ...rewardSummary(rewards, columns),
          frac_reward_zero_std: fractionZeroStd,
          ...completionMetrics(rollout),
          ...logged,
          ...(correction ? importanceMetrics(correction.weights) : {}),
          ...(tokenKl ? { kl: tokenKl.reduce((a, b) => a + b, 0) / Math.max(tokenKl.length, 1) } : {}),
        },
        records: config.logCompletions
          ? this.#records(
              rollout,
              columns,
              byToken
                ? sums(advantages, lengths).map((sum, s) => sum / Math.max(lengths[s]!, 1))
                : perCompletion,
            )
          : [],
        samplingLogps,
        unscorable,
        tokens: rollout.samples.reduce((n, s) => n + s.inputIds.length, 0),
      },
    };
  }

  async #sample(
    rows: readonly PromptRow[],
    numGenerations: number,
    firstStream: number,
    signal: AbortSignal | undefined,
  ): Promise<Rollout> {
    if (this.#source?.syncWeights && this.#synced !== this.step) {
      await this.#source.syncWeights(this.model, this.step, signal);
      this.#synced = this.step;
    }
    return sample(rows, {
      caller: this.constructor.name,
      model: this.model,
      tokenizer: () => this.tokenizer,
      config: this.config,
      numGenerations,
      firstStream,
      signal,
      source: this.#source,
    });
  }

  async #score(
    rollout: Rollout,
    step: number,
    stage: string,
    signal: AbortSignal | undefined,
  ): Promise<{ columns: Float64Array[]; logged: Record<string, number> }> {
    const values = new Map<string, number[]>();
    const logMetric = (name: string, value: number) =>
      void values.set(name, [...(values.get(name) ?? []), value]);
    const input = rewardInput(rollout, () => this.tokenizer, step, stage, logMetric);
    const columns = await callRewards(this.rewards, input, rollout.samples.length, {
      timeoutMs: this.config.rewardTimeoutMs,
      step,
      signal,
    });
    return {
      columns,
      logged: Object.fromEntries(
        [...values].map(([name, all]) => [name, all.reduce((a, b) => a + b, 0) / all.length]),
      ),
    };
  }

  /**
   * For a penalty in the loss the reference's log-probabilities; for one in the reward log π − log π_ref (k1)
   * of every token.
   */
  async #klTerms(
    samples: readonly Sample[],
    classifierOnly: boolean,
    signal: AbortSignal | undefined,
  ): Promise<{ refLogps?: Float32Array; tokenKl?: Float64Array }> {
    const { beta, klInReward, klEstimator, temperature } = this.config;
    if (beta === 0 || samples.length === 0 || (klEstimator === 'exact' && !klInReward)) return {};
    const { logps: refLogps } = await this.#reference!.score(samples, { temperature, signal });
    if (!klInReward) return { refLogps };
    const { logps } = await this.model.score(samples, {
      temperature,
      signal,
      ...(await this.#sharedFeatures(samples, classifierOnly, signal)),
    });
    return { tokenKl: Float64Array.from(logps, (logp, n) => logp - refLogps[n]!) };
  }

  /**
   * For rollouts made elsewhere: this model's log-probabilities, and what tokens weigh because the server's
   * differ.
   */
  async #correction(
    samples: readonly Sample[],
    lengths: readonly number[],
    samplingLogps: Float32Array,
    classifierOnly: boolean,
    signal: AbortSignal | undefined,
  ) {
    if (!this.#source || !this.config.vllmImportanceSamplingCorrection || samples.length === 0)
      return undefined;
    const { logps: oldLogps } = await this.model.score(samples, {
      temperature: this.config.temperature,
      signal,
      ...(await this.#sharedFeatures(samples, classifierOnly, signal)),
    });
    return { oldLogps, weights: importanceWeights(oldLogps, samplingLogps, lengths, this.config) };
  }

  /**
   * REINFORCE++ and GAE: whitened advantages per token, and for GAE what the value head said and should have
   * said.
   */
  async #tokenAdvantages(
    { samples, lengths, scores, scorable: mask, tokenKl }: Scored,
    classifierOnly: boolean,
    signal: AbortSignal | undefined,
  ) {
    const { config } = this;
    const plain = tokenRewards(scores, lengths, config.klInReward ? config.beta : 0, tokenKl);
    if (!this.#head || samples.length === 0)
      return { advantages: whiten(discountedReturns(plain, lengths, config.gamma), { mask }), values: null };
    const { features } = await this.#sharedFeatures(samples, classifierOnly, signal);
    const own = features ?? (await this.model.features(samples, { signal }));
    try {
      const old = await this.#head.values(own);
      const { advantages, returns } = generalizedAdvantages(
        config.whitenRewards ? whiten(plain, { shiftMean: false, mask }) : plain,
        old,
        lengths,
        config,
      );
      return { advantages: whiten(advantages, { mask }), values: { old: [...old], returns: [...returns] } };
    } finally {
      if (own !== features) own.dispose();
    }
  }

  /**
   * ‖∂L/∂W‖² and ‖∂L/∂θ_φ‖² of the batch: what plain descent gains through each per unit of learning rate,
   * whatever is trained now.
   */
  async #growth(
    samples: readonly Sample[],
    loss: GradientOptions,
    signal: AbortSignal | undefined,
  ): Promise<Record<string, number>> {
    // Everything is trainable in a copy.
    using copy = await this.model.clone({ signal });
    await copy.accumulateGradients(samples, { ...loss, signal });
    const squares = { classifier: 0, body: 0 };
    for (const { name, role } of copy.parameters()) {
      const gradient = await copy.getGradient(name);
      for (let i = 0; i < gradient.length; ++i)
        squares[role === 'classifier' ? 'classifier' : 'body'] += gradient[i]! ** 2;
    }
    return { 'growth/representation': squares.classifier, 'growth/gradient': squares.body };
  }

  async #sharedFeatures(
    samples: readonly Sample[],
    classifierOnly: boolean,
    signal: AbortSignal | undefined,
  ): Promise<{ features?: Tensor }> {
    if (!classifierOnly || samples.length === 0) return {};
    this.#features ??= await this.model.features(samples, { signal });
    return { features: this.#features };
  }
  #dropFeatures(): void {
    this.#features?.dispose();
    this.#features = undefined;
  }

  /** Truncated sampling draws from another distribution than the one trained. */
  get #comparable(): boolean {
    return this.config.topP === 1 && this.config.topK === 0 && !this.config.minP;
  }

  #records(rollout: Rollout, columns: readonly Float64Array[], advantages: Float64Array): CompletionRecord[] {
    return rollout.completions.map(({ completionIds }, i) => ({
      prompt: rollout.rows[i]!.prompt,
      completion: this.hasTokenizer ? this.tokenizer.decode(completionIds) : completionIds,
      advantage: advantages[i]!,
      rewards: Object.fromEntries(
        this.rewards.map(({ name }, f) => [name, Number.isNaN(columns[f]![i]!) ? null : columns[f]![i]!]),
      ),
    }));
  }

  /**
   * Rewards, pass@k, best@k (evaluateRewards.ts), lengths and confidence of fresh completions of the
   * evalDataset; the same random numbers each time.
   */
  override async evaluate(
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Record<string, number | null>> {
    const { signal } = this.evaluationOptions(options);
    const rows =
      this.evalDataset ??
      fail('ERR_INVALID_ARG', `${this.constructor.name}.evaluate: there is no evalDataset`);
    const rollout = await this.#sample(
      rows,
      this.config.numGenerationsEval ?? this.config.numGenerations,
      Stream.evaluation,
      signal,
    );
    const { columns, logged } = await this.#score(rollout, this.step, 'eval', signal);
    const { entropy, maxProb } = await this.model.score(rollout.samples, {
      temperature: this.config.temperature,
      signal,
    });
    const mean = (values: Float32Array) => values.reduce((a, b) => a + b, 0) / values.length;
    const weights = this.rewards.map((r) => r.weight);
    const numbers = {
      ...rewardSummary(this.rewards, columns),
      ...completionMetrics(rollout),
      ...logged,
      entropy: mean(entropy),
      max_prob: mean(maxProb),
      ...chances(columns[0]!, weightedSum(columns, weights), rollout.rows.length / rows.length),
    };
    return Object.fromEntries(
      Object.entries(numbers).map(([key, value]) => [`eval_${key}`, Number.isFinite(value) ? value : null]),
    );
  }
}

export const promptsPerStep = (config: ResolvedGRPOConfig): number =>
  (config.perDeviceTrainBatchSize * config.gradientAccumulationSteps) / config.numGenerations;

/** Steps of the full stage: maxSteps, or the epochs' rollouts times the updates from each. */
export const fullSteps = (config: ResolvedGRPOConfig, sampler: Sampler<PromptRow>, caller: string): number =>
  stepsOf(config, promptsPerStep(config) / config.numIterations, sampler.size, caller);

type StagesOf = (config: ResolvedGRPOConfig, sampler: Sampler<PromptRow>) => Stage[];

function defaultStages(config: ResolvedGRPOConfig, sampler: Sampler<PromptRow>): Stage[] {
  const { trainable, learningRate } = config;
  return resolveStages(
    config.stages ?? [
      { name: 'full', steps: fullSteps(config, sampler, 'GRPOTrainer'), trainable, learningRate },
    ],
    config,
  );
}
