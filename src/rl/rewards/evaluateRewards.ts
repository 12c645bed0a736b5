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
import { bestOfN, majorityAtK, mean, passAtK } from '../../evaluation/estimators.js';
import { type Model, modelRule } from '../../model/model.js';
import type { Tokenizer } from '../../model/tokenizer/tokenizer.js';
import { weightedSum } from '../credit/advantages.js';
import { rewardSummary } from '../run/metrics.js';
import type { RolloutSource } from '../rollout/remoteRollouts.js';
import { callRewards, nameRewards } from './call.js';
import { answerKeys } from './answerKeys.js';
import { rewardInput, type Rollout, sample } from '../rollout/rollout.js';
import { Stream } from '../rollout/streams.js';
import type { PromptRow, RewardFunc } from '../interfaces.js';

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
export interface EvaluatedCompletion {
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

const isRight = (value: number) => value >= 1;
const powers = (n: number): number[] => [
  ...new Set([...Array.from({ length: Math.floor(Math.log2(n)) + 1 }, (_, i) => 2 ** i), n]),
];

/**
 * pass@k and best@k; n samples per prompt lie next to each other. `first`: what says who is right, `totals`:
 * the weighted sums.
 */
export function chances(first: Float64Array, totals: Float64Array, n: number): Record<string, number> {
  const groups = Array.from({ length: first.length / n }, (_, p) => [p * n, (p + 1) * n] as const);
  return Object.fromEntries(
    powers(n).flatMap((k) => [
      [
        `pass@${k}`,
        mean(groups.map(([begin, end]) => passAtK(n, first.subarray(begin, end).filter(isRight).length, k))),
      ],
      [
        `best@${k}`,
        mean(
          groups.map(([begin, end]) =>
            bestOfN(
              totals.subarray(begin, end).map((x) => (Number.isNaN(x) ? 0 : x)),
              k,
            ),
          ),
        ),
      ],
    ]),
  );
}

/**
 * A model on held-out rows by the rewards it is trained with: one greedy completion per prompt, then
 * `samples` sampled ones.
 * @throws ERR_REWARD, ERR_REMOTE, ERR_INVALID_ARG as the trainer.
 */
export async function evaluateRewards(
  model: Model,
  options: RewardEvaluationOptions,
): Promise<RewardEvaluation> {
  const caller = 'evaluateRewards';
  check(caller, 'model', model, modelRule);
  checkOptions(caller, options, OPTIONS);
  const {
    rows,
    samples: n = 8,
    batchSize = 32,
    signal,
    onProgress,
    onCompletion,
    answers = answerKeys,
  } = options;
  const rewards = nameRewards(options.rewardFuncs, options.rewardWeights, caller);
  const tokenizer = () => options.tokenizer ?? model.tokenizer;
  const hasText = options.tokenizer !== undefined || model.hasTokenizer;
  const {
    maxCompletionLength = 512,
    topP = 1,
    topK = 0,
    minP = null,
    stop,
    seed = 42,
    chatTemplateKwargs,
  } = options;
  const text = (rollout: Rollout) =>
    rollout.completions.map(({ completionIds }) =>
      hasText ? tokenizer().decode(completionIds) : completionIds.join(' '),
    );

  /**
   * Rewards by function, one per completion, of `count` completions of every row, and whatever `each` makes
   * of the text.
   */
  async function run(
    count: number,
    temperature: number,
    done: number,
    each: (texts: string[], begin: number, right: boolean[]) => void,
  ): Promise<Float64Array[]> {
    const columns = rewards.map(() => new Float64Array(rows.length * count));
    for (let begin = 0; begin < rows.length; begin += batchSize) {
      const rollout = await sample(rows.slice(begin, begin + batchSize), {
        caller,
        model,
        tokenizer,
        numGenerations: count,
        firstStream: Stream.evaluation + begin * count,
        signal,
        source: options.rollouts,
        config: {
          maxCompletionLength,
          temperature,
          topP: temperature === 0 ? 1 : topP,
          topK: temperature === 0 ? 0 : topK,
          minP: temperature === 0 ? null : minP,
          stop,
          seed,
          chatTemplateKwargs,
        },
      });
      const input = rewardInput(rollout, tokenizer, 0, 'eval', () => undefined);
      const part = await callRewards(rewards, input, rollout.samples.length, {
        timeoutMs: options.rewardTimeoutMs ?? 120_000,
        step: 0,
        signal,
      });
      part.forEach((values, f) => columns[f]!.set(values, begin * count));
      const [texts, right, totals] = [
        text(rollout),
        Array.from(part[0]!, isRight),
        weightedSum(
          part,
          rewards.map((r) => r.weight),
        ),
      ];
      each(texts, begin, right);
      if (onCompletion)
        texts.forEach((completion, i) =>
          onCompletion({
            index: begin + Math.floor(i / count),
            greedy: temperature === 0,
            completion: hasText ? completion : rollout.completions[i]!.completionIds,
            reward: Number.isNaN(totals[i]!) ? null : totals[i]!,
            right: right[i]!,
          }),
        );
      onProgress?.(done + Math.min(begin + batchSize, rows.length), rows.length * (n > 0 ? 2 : 1));
    }
    return columns;
  }

  const [greedy] = await run(1, 0, 0, () => undefined);
  const result: Record<string, number | null> = {
    prompts: rows.length,
    samplesPerPrompt: n,
    greedy: mean(greedy!.map((r) => (isRight(r) ? 1 : 0))),
  };
  if (n > 0) {
    const votes = new Map(powers(n).map((k) => [k, [] as number[]]));
    const columns = await run(n, options.temperature ?? 1, rows.length, (texts, _, right) => {
      for (let p = 0; p < texts.length; p += n) {
        const keys = answers(texts.slice(p, p + n));
        for (const [k, values] of votes) values.push(majorityAtK(keys, right.slice(p, p + n), k));
      }
    });
    Object.assign(
      result,
      chances(
        columns[0]!,
        weightedSum(
          columns,
          rewards.map((r) => r.weight),
        ),
        n,
      ),
      Object.fromEntries([...votes].map(([k, values]) => [`maj@${k}`, mean(values)])),
      rewardSummary(rewards, columns),
    );
  }
  return Object.fromEntries(
    Object.entries(result).map(([key, value]) => [
      key,
      typeof value === 'number' && Number.isFinite(value) ? value : null,
    ]),
  ) as RewardEvaluation;
}
