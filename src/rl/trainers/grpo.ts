/**
 * Policy-gradient post-training (GRPO 2402.03300 and its family): sample completions, reward them, turn
 * rewards into advantages, and make numIterations clipped updates from each batch (policyStep.ts). RLOO,
 * REINFORCE, REINFORCE++, PPO, Dr.GRPO, DAPO, CISPO and GSPO are options of it.
 */
import { checkOptions } from '../../core/check.js';
import { fail } from '../../errors.js';
import type { Model } from '../../model/model.js';
import {
  type PolicyConfigName,
  resolveConfig,
  type ResolvedConfig,
  type ResolvedGRPOConfig,
} from '../config/config.js';
import { resolveStages, type Stage, stepsOf } from '../config/stages.js';
import { BatchFeatures } from '../credit/features.js';
import { freshValueHead } from '../credit/valueHead.js';
import type { PromptRow } from '../interfaces.js';
import { initialControl } from '../loss/entropyControl.js';
import { type NamedReward, nameRewards } from '../rewards/call.js';
import type { Sampler } from '../rollout/dataset.js';
import type { RolloutSource } from '../rollout/remoteRollouts.js';
import { promptsPerStep } from '../rollout/rollOut.js';
import { WeightSync } from '../rollout/weightSync.js';
import type { StepResult } from '../run/apply.js';
import type { TrainingState } from '../run/state.js';
import { ARGUMENT, type GRPOTrainerArguments, POLICY_ARGUMENTS } from './arguments.js';
import { evaluatePolicy } from './evaluatePolicy.js';
import { policyShape } from './policyShape.js';
import { policyStep } from './policyStep.js';
import { type MethodShape, type StepContext, Trainer } from './trainer.js';

/** The options among a trainer's arguments, both checked. */
export function policyConfig<Name extends PolicyConfigName>(
  caller: string,
  name: Name,
  args: GRPOTrainerArguments<object>,
): ResolvedConfig<Name> {
  checkOptions(caller, args, POLICY_ARGUMENTS, ARGUMENT);
  return resolveConfig(name, args.config);
}

/** Steps of the full stage: maxSteps, or the epochs' rollouts times the updates from each. */
export function fullSteps(config: ResolvedGRPOConfig, sampler: Sampler<PromptRow>, caller: string): number {
  const rowsPerStep = promptsPerStep(config) / config.numIterations;
  return stepsOf(config, rowsPerStep, sampler.size, caller);
}

type StagesOf = (config: ResolvedGRPOConfig, sampler: Sampler<PromptRow>) => Stage[];

/** One stage, unless the options name others. */
function defaultStages(config: ResolvedGRPOConfig, sampler: Sampler<PromptRow>): Stage[] {
  if (config.stages) return resolveStages(config.stages, config);
  const { trainable, learningRate } = config;
  const steps = fullSteps(config, sampler, 'GRPOTrainer');
  return resolveStages([{ name: 'full', steps, trainable, learningRate }], config);
}

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
  readonly #givenReference: Model | undefined;
  readonly #source: RolloutSource | undefined;
  readonly #weightSync: WeightSync;
  readonly #features: BatchFeatures;
  #reference: Model | undefined;

  constructor(
    args: GRPOTrainerArguments,
    config: ResolvedGRPOConfig = policyConfig('GRPOTrainer', 'GRPOConfig', args),
    stages: StagesOf = defaultStages,
  ) {
    const { model, rewardFuncs, refModel, rollouts } = args;
    const hasValueHead = config.advantageEstimator === 'gae';
    super(args, config, (sampler) => stages(config, sampler), {
      batch: null,
      valueHead: hasValueHead ? freshValueHead(model.spec.hiddenSize) : null,
      entropy: initialControl(config),
    });
    this.rewards = nameRewards(rewardFuncs, config.rewardWeights, this.caller);
    this.#givenReference = refModel;
    this.#source = rollouts;
    this.#weightSync = new WeightSync(rollouts);
    this.#features = new BatchFeatures(model);
  }

  protected override async setUp(): Promise<void> {
    if (this.config.beta > 0) this.#reference ??= this.#givenReference ?? (await this.model.clone());
  }
  protected override get reference(): Model | undefined {
    return this.#reference;
  }
  protected override releaseBatch(): void {
    this.#features.drop();
  }
  override dispose(): void {
    this.releaseBatch();
    if (this.#reference !== this.#givenReference) this.#reference?.dispose();
    this.#reference = undefined;
    super.dispose();
  }

  protected override advance(state: TrainingState, context: StepContext): Promise<StepResult> {
    return policyStep(state, {
      ...context,
      ...this.#samplingContext(context.signal),
      sampler: this.sampler,
      reference: this.#reference,
      features: this.#features,
      sampledElsewhere: this.#source !== undefined,
      decoder: this.maybeTokenizer,
    });
  }

  protected override shape(): MethodShape {
    return policyShape(this.#samplingContext(undefined), this.sampler);
  }

  /**
   * Rewards, pass@k, best@k (evaluateRewards.ts), lengths and confidence of fresh completions of the
   * evalDataset; the same random numbers each time.
   */
  override async evaluate(
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Record<string, number | null>> {
    const { signal } = this.evaluationOptions(options);
    const rows = this.evalDataset;
    if (!rows) fail('ERR_INVALID_ARG', `${this.caller}.evaluate: there is no evalDataset`);
    return evaluatePolicy(rows, this.step, this.#samplingContext(signal));
  }

  #samplingContext(signal: AbortSignal | undefined) {
    return {
      caller: this.caller,
      model: this.model,
      config: this.config,
      tokenizer: () => this.tokenizer,
      knownTokenizer: this.knownTokenizer,
      rewards: this.rewards,
      source: this.#source,
      weightSync: this.#weightSync,
      signal,
    };
  }
}
