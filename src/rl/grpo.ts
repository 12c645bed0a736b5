/**
 * Policy-gradient post-training (GRPO 2402.03300 and its family): sample completions, reward them, turn rewards into advantages, and
 * make numIterations clipped updates from each batch. RLOO, REINFORCE, Dr.GRPO, DAPO, CISPO and GSPO are options of it.
 */
import type { Tensor } from '../core/tensor.js';
import { fail } from '../errors.js';
import type { Sample } from '../model/batch.js';
import type { TrainingShape } from '../model/estimate.js';
import type { GradientOptions, Model, Scores } from '../model/model.js';
import { encodePrompt } from '../model/tokenizer.js';
import { computeAdvantages, weightedSum } from './advantages.js';
import { type GRPOConfig, resolveConfig, type ResolvedGRPOConfig } from './config.js';
import type { Sampler } from './dataset.js';
import type { CompletionRecord } from './log.js';
import { planLoss } from './loss.js';
import { longest } from './memory.js';
import { completionMetrics, explain, lossMetrics, mismatchMetrics, rewardSummary } from './metrics.js';
import { callRewards, type NamedReward, nameRewards } from './rewards.js';
import { rewardInput, type Rollout, sample } from './rollout.js';
import { resolveStages, type Stage, stepsOf } from './stages.js';
import { Stream } from './streams.js';
import { type StepContext, type StepOutcome, Trainer, type TrainerArguments } from './trainer.js';
import type { PromptRow, RewardFunc } from './types.js';

export interface GRPOTrainerArguments<Config = GRPOConfig> extends TrainerArguments<PromptRow> {
  readonly rewardFuncs: RewardFunc | readonly RewardFunc[];
  readonly config?: Config | undefined;
  /** For the KL penalty. Default: a copy of the model as it is when training starts. */
  readonly refModel?: Model | undefined;
}

/** What updates need of a rollout. Plain numbers: a checkpoint between two updates holds it. */
interface Batch {
  /** The sequences that are not masked. */
  readonly samples: readonly Sample[];
  /** Active tokens of every sequence, 0 = masked. */
  readonly lengths: readonly number[];
  readonly advantages: readonly number[];
  readonly refLogps: readonly number[] | null;
  /** Of the first update's own forward pass; null until then. */
  readonly oldLogps: readonly number[] | null;
  /** Updates made. */
  readonly iteration: number;
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

/** Every sequence masked: no rows. */
const NOTHING: Scores = { logps: new Float32Array(), entropy: new Float32Array(), maxProb: new Float32Array() };

const concatenate = (parts: readonly Float32Array[]): Float32Array => {
  const out = new Float32Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) out.set(part, at), (at += part.length);
  return out;
};

export class GRPOTrainer extends Trainer<PromptRow, ResolvedGRPOConfig> {
  protected readonly rewards: readonly NamedReward[];
  /** Prompts per rollout. */
  readonly #prompts: number;
  readonly #givenReference: Model | undefined;
  #reference: Model | undefined;
  #batch: Batch | undefined;
  /** Features of the batch under way, reused while only the classifier trains. */
  #features: Tensor | undefined;

  constructor(args: GRPOTrainerArguments, config: ResolvedGRPOConfig = resolveConfig('GRPOConfig', args.config), stages = defaultStages) {
    super(args, config, (sampler) => stages(config, sampler));
    this.rewards = nameRewards(args.rewardFuncs, config.rewardWeights, this.constructor.name);
    this.#prompts = promptsPerStep(config);
    this.#givenReference = args.refModel;
  }

  protected override async setUp(): Promise<void> {
    if (this.config.beta > 0) this.#reference ??= this.#givenReference ?? (await this.model.clone());
  }
  protected override get reference(): Model | undefined {
    return this.#reference;
  }
  protected override pending(): Batch | null {
    return this.#batch ?? null;
  }
  protected override restorePending(batch: Batch | null): void {
    this.#dropFeatures();
    this.#batch = batch ?? undefined;
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
    const tokens = (row: PromptRow) => encodePrompt(() => this.tokenizer, row.prompt, this.config.chatTemplateKwargs).length;
    const promptLength = Math.min(longest(this.sampler.some(this.#prompts), ['prompt'], tokens), maxPositions - 1);
    const sequenceLength = Math.min(promptLength + maxCompletionLength, maxPositions);
    return {
      sequences: this.#prompts * numGenerations, sequenceLength, scoredLength: sequenceLength - promptLength,
      reference: beta > 0 ? (klEstimator === 'exact' && !klInReward ? 'exact' : true) : false,
      sampling: { prompts: this.#prompts, promptLength, numReturnSequences: numGenerations, maxNewTokens: maxCompletionLength },
    };
  }

  protected override async accumulate(context: StepContext): Promise<StepOutcome> {
    const { config, model } = this;
    const { signal } = context;
    const classifierOnly = model.parameters((p) => p.trainable).every((p) => p.role === 'classifier');
    try {
      const { batch, report } = this.#batch ? { batch: this.#batch, report: undefined } : await this.#roll(context, classifierOnly);
      const plan = planLoss({
        lengths: batch.lengths, advantages: batch.advantages, reference: this.#reference,
        oldLogps: batch.oldLogps ? Float32Array.from(batch.oldLogps) : undefined,
        refLogps: batch.refLogps ? Float32Array.from(batch.refLogps) : undefined,
      }, config);
      const shared = { signal, ...(await this.#sharedFeatures(batch.samples, classifierOnly, signal)) };
      const scores = batch.samples.length > 0 ? await model.accumulateGradients(batch.samples, { ...plan.main, ...shared }) : NOTHING;
      if (plan.entropy) {
        const { losses } = await model.accumulateGradients(batch.samples, { ...plan.entropy, ...shared });
        losses?.forEach((loss, n) => (scores.losses![n]! += loss));
      }
      const growth = context.stage.endsWhen && context.state.stageStep % GROWTH_EVERY === GROWTH_EVERY - 1 && batch.samples.length > 0 ? await this.#growth(batch.samples, plan.main, signal) : {};
      const numbers = {
        ...report?.numbers, ...growth,
        ...lossMetrics(scores, batch.lengths, config, plan.entropyCoefficients),
        ...(report && this.#comparable ? mismatchMetrics(scores.logps, report.samplingLogps) : {}),
      };
      const masked = batch.lengths.filter((length) => length === 0).length;
      const facts = { first: context.state.stageStep === 0, unscorable: report?.unscorable ?? 0, masked: report ? masked : 0, completions: batch.lengths.length };
      return {
        metrics: numbers,
        notes: explain(numbers, config, facts),
        ...(report && config.logCompletions ? { completions: report.records } : {}),
        rows: report ? this.#prompts : 0, sampled: report ? batch.lengths.length : 0, tokens: report?.tokens ?? 0,
        commit: () => {
          const iteration = batch.iteration + 1;
          const more = iteration < config.numIterations;
          this.#batch = more ? { ...batch, iteration, oldLogps: batch.oldLogps ?? Array.from(scores.logps) } : undefined;
          if (!more) this.#dropFeatures();
        },
      };
    } catch (error) {
      this.#dropFeatures();
      throw error;
    }
  }

  /** A new batch: rollout, rewards, advantages. */
  async #roll({ stage, state, signal }: StepContext, classifierOnly: boolean): Promise<{ batch: Batch; report: Report }> {
    const { config, rewards } = this;
    const rollout = await this.#sample(this.sampler.rows(state.rows, this.#prompts), config.numGenerations, Stream.rollout + state.completions, signal);
    const { columns, logged } = await this.#score(rollout, state.step + 1, stage.name, signal);

    const kept = rollout.samples.flatMap((_, i) => (config.maskTruncatedCompletions && !rollout.terminated[i] ? [] : [i]));
    const isKept = new Set(kept);
    const samples = kept.map((i) => rollout.samples[i]!);
    const lengths = rollout.lengths.map((length, i) => (isKept.has(i) ? length : 0));
    const { refLogps, penalty, kl } = await this.#klTerms(samples, lengths, classifierOnly, signal);
    const { advantages, fractionZeroStd } = computeAdvantages(columns, rewards.map((r) => r.weight), config, penalty);
    const unscorable = weightedSum(columns, rewards.map((r) => r.weight)).filter(Number.isNaN).length;
    return {
      batch: { samples, lengths, advantages: [...advantages], refLogps: refLogps ? [...refLogps] : null, oldLogps: null, iteration: 0 },
      report: {
        numbers: { ...rewardSummary(rewards, columns), frac_reward_zero_std: fractionZeroStd, ...completionMetrics(rollout), ...logged, ...kl },
        records: config.logCompletions ? this.#records(rollout, columns, advantages) : [],
        samplingLogps: concatenate(kept.map((i) => rollout.completions[i]!.logps)),
        unscorable,
        tokens: rollout.samples.reduce((n, s) => n + s.inputIds.length, 0),
      },
    };
  }

  #sample(rows: readonly PromptRow[], numGenerations: number, firstStream: number, signal: AbortSignal | undefined): Promise<Rollout> {
    return sample(rows, { caller: this.constructor.name, model: this.model, tokenizer: () => this.tokenizer, config: this.config, numGenerations, firstStream, signal });
  }

  async #score(rollout: Rollout, step: number, stage: string, signal: AbortSignal | undefined): Promise<{ columns: Float64Array[]; logged: Record<string, number> }> {
    const values = new Map<string, number[]>();
    const logMetric = (name: string, value: number) => void values.set(name, [...(values.get(name) ?? []), value]);
    const input = rewardInput(rollout, () => this.tokenizer, step, stage, logMetric);
    const columns = await callRewards(this.rewards, input, rollout.samples.length, { timeoutMs: this.config.rewardTimeoutMs, step, signal });
    return { columns, logged: Object.fromEntries([...values].map(([name, all]) => [name, all.reduce((a, b) => a + b, 0) / all.length])) };
  }

  /** Reference log-probabilities for a penalty in the loss, or the penalty itself when it belongs to the reward. */
  async #klTerms(samples: readonly Sample[], lengths: readonly number[], classifierOnly: boolean, signal: AbortSignal | undefined) {
    const { beta, klInReward, klEstimator, temperature } = this.config;
    if (beta === 0 || samples.length === 0 || (klEstimator === 'exact' && !klInReward)) return {};
    const { logps: refLogps } = await this.#reference!.score(samples, { temperature, signal });
    if (!klInReward) return { refLogps };
    const { logps } = await this.model.score(samples, { temperature, signal, ...(await this.#sharedFeatures(samples, classifierOnly, signal)) });
    let n = 0;
    let total = 0;
    const penalty = Float64Array.from(lengths, (length) => {
      let sum = 0;
      for (const end = n + length; n < end; ++n) sum += logps[n]! - refLogps[n]!;
      total += sum;
      return beta * sum;
    });
    return { penalty, kl: { kl: total / Math.max(n, 1) } };
  }

  /** ‖∂L/∂W‖² and ‖∂L/∂θ_φ‖² of the batch: what plain descent gains through each per unit of learning rate, whatever is trained now. */
  async #growth(samples: readonly Sample[], loss: GradientOptions, signal: AbortSignal | undefined): Promise<Record<string, number>> {
    // Everything is trainable in a copy.
    using copy = await this.model.clone({ signal });
    await copy.accumulateGradients(samples, { ...loss, signal });
    const squares = { classifier: 0, body: 0 };
    for (const { name, role } of copy.parameters()) {
      const gradient = await copy.getGradient(name);
      for (let i = 0; i < gradient.length; ++i) squares[role === 'classifier' ? 'classifier' : 'body'] += gradient[i]! ** 2;
    }
    return { 'growth/representation': squares.classifier, 'growth/gradient': squares.body };
  }

  async #sharedFeatures(samples: readonly Sample[], classifierOnly: boolean, signal: AbortSignal | undefined): Promise<{ features?: Tensor }> {
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
      rewards: Object.fromEntries(this.rewards.map(({ name }, f) => [name, Number.isNaN(columns[f]![i]!) ? null : columns[f]![i]!])),
    }));
  }

  /** Rewards, lengths and confidence of fresh completions of the evalDataset; the same random numbers each time. */
  override async evaluate({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<Record<string, number | null>> {
    const rows = this.evalDataset ?? fail('ERR_INVALID_ARG', `${this.constructor.name}.evaluate: there is no evalDataset`);
    const rollout = await this.#sample(rows, this.config.numGenerationsEval ?? this.config.numGenerations, Stream.evaluation, signal);
    const { columns, logged } = await this.#score(rollout, this.step, 'eval', signal);
    const { entropy, maxProb } = await this.model.score(rollout.samples, { temperature: this.config.temperature, signal });
    const mean = (values: Float32Array) => values.reduce((a, b) => a + b, 0) / values.length;
    const numbers = { ...rewardSummary(this.rewards, columns), ...completionMetrics(rollout), ...logged, entropy: mean(entropy), max_prob: mean(maxProb) };
    return Object.fromEntries(Object.entries(numbers).map(([key, value]) => [`eval_${key}`, Number.isFinite(value) ? value : null]));
  }
}

export const promptsPerStep = (config: ResolvedGRPOConfig): number => (config.perDeviceTrainBatchSize * config.gradientAccumulationSteps) / config.numGenerations;

/** Steps of the full stage: maxSteps, or the epochs' rollouts times the updates from each. */
export const fullSteps = (config: ResolvedGRPOConfig, sampler: Sampler<PromptRow>, caller: string): number =>
  stepsOf(config, promptsPerStep(config) / config.numIterations, sampler.size, caller);

function defaultStages(config: ResolvedGRPOConfig, sampler: Sampler<PromptRow>): Stage[] {
  const { trainable, learningRate } = config;
  return resolveStages(config.stages ?? [{ name: 'full', steps: fullSteps(config, sampler, 'GRPOTrainer'), trainable, learningRate }], config);
}
