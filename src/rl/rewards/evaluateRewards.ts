/**
 * A model on held-out rows by the rewards it is trained with: greedy, pass@k, maj@k, best-of-k.
 *   right     the first reward function says at least 1
 *   pass@k    one of k samples is right: the unbiased estimator (2107.03374)
 *   maj@k     the answer that most of k samples give is right (answers by `answers`; ties share)
 *   best@k    mean over subsets of k of the largest reward (the weighted sum)
 * for k = 1, 2, 4, … up to the samples per prompt, and that number itself.
 */
import {
  anything,
  check,
  checkOptions,
  count,
  func,
  JOB,
  list,
  natural,
  nonEmptyList,
  object,
  orNull,
  positive,
  required,
  type Rules,
  SAMPLING,
} from '../../core/check.js';
import type { JobOptions } from '../../core/job.js';
import { majorityAtK, mean } from '../../evaluation/estimators.js';
import { type Model, modelRule } from '../../model/model.js';
import type { Tokenizer } from '../../model/tokenizer/tokenizer.js';
import type { PromptRow, RewardFunc } from '../interfaces.js';
import type { RolloutSource } from '../rollout/remoteRollouts.js';
import { type Rollout, sample } from '../rollout/sample.js';
import { Stream } from '../rollout/streams.js';
import { answerKeys } from './answerKeys.js';
import { callRewards, type NamedReward, nameRewards } from './call.js';
import { chances, isRight, sampleCounts } from './chances.js';
import { rewardInput } from './rewardInput.js';
import { rewardSummary, weightedSum } from './statistics.js';

/** How evaluateRewards() samples and judges. */
export interface RewardEvaluationOptions extends JobOptions {
  /** Prompts and the columns that the rewards need; not empty. */
  readonly rows: readonly PromptRow[];
  /** The first one says who is right (at least 1); `reward` and best@k are about the weighted sum. */
  readonly rewardFuncs: RewardFunc | readonly RewardFunc[];
  /** One per function. Default 1 each. */
  readonly rewardWeights?: readonly number[];
  /** Samples per prompt. Default 8; 0: greedy only. */
  readonly samples?: number;
  /** Default 512, cut to what the context leaves. */
  readonly maxCompletionLength?: number;
  /** Of the samples. Default 1. */
  readonly temperature?: number;
  /** Of the samples: as GenerateOptions'. Defaults: everything may be drawn. */
  readonly topP?: number;
  readonly topK?: number;
  readonly minP?: number | null;
  /** As GenerateOptions'. Default: the model's end of sequence. */
  readonly stop?: (number | string)[];
  /** Default 42. */
  readonly seed?: number;
  /** Variables for the chat template, where prompts are messages. */
  readonly chatTemplateKwargs?: Record<string, unknown>;
  /**
   * The answer that a completion votes for, undefined for none. Default: the final answers, equal when they
   * are the same mathematics.
   */
  readonly answers?: (completions: readonly string[]) => readonly (string | undefined)[];
  /** Default: the model's own. Needed for text only. */
  readonly tokenizer?: Tokenizer;
  /** Who samples; default: the model itself. */
  readonly rollouts?: RolloutSource;
  /** Prompts at a time; changes no result. Default 32. */
  readonly batchSize?: number;
  /** For each call of a reward function. Default 120,000. */
  readonly rewardTimeoutMs?: number;
  /** Called with every completion. */
  readonly onCompletion?: (record: EvaluatedCompletion) => void;
}

/** What onCompletion gets. */
interface EvaluatedCompletion {
  /** Of the row. */
  readonly index: number;
  readonly greedy: boolean;
  readonly completion: string | readonly number[];
  readonly reward: number | null;
  readonly right: boolean;
}

/**
 * 'greedy', 'pass@k', 'maj@k', 'best@k', 'reward', 'rewards/<name>/mean' …: shares and means over the rows.
 */
export type RewardEvaluation = { readonly prompts: number; readonly samplesPerPrompt: number } & Readonly<
  Record<string, number | null>
>;

const caller = 'evaluateRewards';

const OPTIONS: Rules = {
  ...JOB,
  ...SAMPLING,
  minP: orNull(SAMPLING['minP']!),
  rows: required(nonEmptyList),
  rewardFuncs: required(anything),
  rewardWeights: list,
  samples: natural,
  maxCompletionLength: count,
  stop: list,
  seed: natural,
  chatTemplateKwargs: object,
  answers: func,
  tokenizer: object,
  rollouts: object,
  batchSize: count,
  rewardTimeoutMs: positive,
  onCompletion: func,
};

/**
 * A model on held-out rows by the rewards it is trained with: one greedy completion per prompt, then
 * `samples` sampled ones.
 * @throws ERR_REWARD, ERR_REMOTE, ERR_INVALID_ARG as the trainer.
 */
export async function evaluateRewards(
  model: Model,
  options: RewardEvaluationOptions,
): Promise<RewardEvaluation> {
  check(caller, 'model', model, modelRule);
  checkOptions(caller, options, OPTIONS);
  const { samples = 8, temperature = 1, answers = answerKeys } = options;
  const evaluation: Evaluation = {
    model,
    options,
    rewards: nameRewards(options.rewardFuncs, options.rewardWeights, caller),
    tokenizer: () => options.tokenizer ?? model.tokenizer,
    hasText: options.tokenizer !== undefined || model.hasTokenizer,
    passes: samples > 0 ? 2 : 1,
  };
  const [greedy] = await samplePass(evaluation, { samples: 1, temperature: 0, done: 0 });
  const result: Record<string, number | null> = {
    prompts: options.rows.length,
    samplesPerPrompt: samples,
    greedy: mean(greedy!.map((reward) => (isRight(reward) ? 1 : 0))),
  };
  if (samples > 0) {
    const votes = new Map(sampleCounts(samples).map((k) => [k, [] as number[]]));
    const count = (texts: readonly string[], right: readonly boolean[]) => {
      for (let begin = 0; begin < texts.length; begin += samples) {
        const keys = answers(texts.slice(begin, begin + samples));
        const rightOfPrompt = right.slice(begin, begin + samples);
        for (const [k, values] of votes) values.push(majorityAtK(keys, rightOfPrompt, k));
      }
    };
    const done = options.rows.length;
    const columns = await samplePass(evaluation, { samples, temperature, done, each: count });
    const weights = evaluation.rewards.map(({ weight }) => weight);
    Object.assign(result, chances(columns[0]!, weightedSum(columns, weights), samples));
    for (const [k, values] of votes) result[`maj@${k}`] = mean(values);
    Object.assign(result, rewardSummary(evaluation.rewards, columns));
  }
  for (const [key, value] of Object.entries(result)) {
    if (!Number.isFinite(value)) result[key] = null;
  }
  return result as RewardEvaluation;
}

/** What both passes over the rows share. */
interface Evaluation {
  readonly model: Model;
  readonly options: RewardEvaluationOptions;
  readonly rewards: readonly NamedReward[];
  readonly tokenizer: () => Tokenizer;
  /** Completions are shown and voted by as text, else as token ids. */
  readonly hasText: boolean;
  /** Over the rows: for the progress told. */
  readonly passes: number;
}

interface Pass {
  /** Completions of each row. */
  readonly samples: number;
  /** 0: greedy. */
  readonly temperature: number;
  /** Rows that earlier passes were about. */
  readonly done: number;
  /** Gets every batch's texts, and which of them are right. */
  readonly each?: (texts: readonly string[], right: readonly boolean[]) => void;
}

/** Rewards of completions of every row: one array per function, completions of a row next to each other. */
async function samplePass(evaluation: Evaluation, pass: Pass): Promise<Float64Array[]> {
  const { options, rewards, passes } = evaluation;
  const { rows, batchSize = 32, onProgress } = options;
  const columns = rewards.map(() => new Float64Array(rows.length * pass.samples));
  for (let begin = 0; begin < rows.length; begin += batchSize) {
    const batch = await sampleBatch(evaluation, pass, begin, batchSize);
    for (const [f, values] of batch.columns.entries()) columns[f]!.set(values, begin * pass.samples);
    const right = Array.from(batch.columns[0]!, isRight);
    pass.each?.(batch.texts, right);
    tellCompletions(evaluation, pass, begin, batch, right);
    onProgress?.(pass.done + Math.min(begin + batchSize, rows.length), rows.length * passes);
  }
  return columns;
}

interface JudgedBatch {
  readonly rollout: Rollout;
  readonly texts: readonly string[];
  readonly columns: readonly Float64Array[];
}

async function sampleBatch(
  { model, options, rewards, tokenizer, hasText }: Evaluation,
  { samples, temperature }: Pass,
  begin: number,
  batchSize: number,
): Promise<JudgedBatch> {
  const { rows, signal, stop, chatTemplateKwargs } = options;
  const { maxCompletionLength = 512, seed = 42, rewardTimeoutMs = 120_000 } = options;
  const { topP = 1, topK = 0, minP = null } = options;
  const isGreedy = temperature === 0;
  const rollout = await sample(rows.slice(begin, begin + batchSize), {
    caller,
    model,
    tokenizer,
    knownTokenizer: options.tokenizer ?? model.maybeTokenizer,
    numGenerations: samples,
    firstStream: Stream.evaluation + begin * samples,
    signal,
    source: options.rollouts,
    config: {
      maxCompletionLength,
      temperature,
      topP: isGreedy ? 1 : topP,
      topK: isGreedy ? 0 : topK,
      minP: isGreedy ? null : minP,
      stop,
      seed,
      chatTemplateKwargs,
    },
  });
  const input = rewardInput(rollout, tokenizer, 0, 'eval', () => undefined);
  const columns = await callRewards(rewards, input, rollout.samples.length, {
    timeoutMs: rewardTimeoutMs,
    step: 0,
    signal,
  });
  const texts = Array.from(rollout.completions, ({ completionIds }) =>
    hasText ? tokenizer().decode(completionIds) : completionIds.join(' '),
  );
  return { rollout, texts, columns };
}

/** Calls onCompletion with every completion of a batch. */
function tellCompletions(
  { options, rewards, hasText }: Evaluation,
  { samples, temperature }: Pass,
  begin: number,
  { rollout, texts, columns }: JudgedBatch,
  right: readonly boolean[],
): void {
  const { onCompletion } = options;
  if (!onCompletion) return;
  const totals = weightedSum(
    columns,
    rewards.map(({ weight }) => weight),
  );
  for (const [i, { completionIds }] of [...rollout.completions].entries()) {
    const total = totals[i]!;
    onCompletion({
      index: begin + Math.floor(i / samples),
      greedy: temperature === 0,
      completion: hasText ? texts[i]! : completionIds,
      reward: Number.isNaN(total) ? null : total,
      right: right[i]!,
    });
  }
}
