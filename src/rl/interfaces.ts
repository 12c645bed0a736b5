/**
 * What trainers, rewards and their users exchange. Names are TRL's, in camelCase; metric keys are TRL's own
 * strings.
 */
import type { Random } from '../core/random.js';
import type { Prompt } from '../model/tokenizer/tokenizer.js';

/** One line of a data set: a prompt and any columns, which reward functions receive by name. */
export interface PromptRow {
  /** Text, token ids, or messages. */
  readonly prompt: Prompt;
  /** What reward functions need to judge, e.g. `answer`. */
  readonly [column: string]: unknown;
}

/**
 * Rows in an array, or made on demand: `(index, random) => row` is called with 0, 1, 2, … for ever; take
 * every random number from `random` (a stream of the trainer's seed and the index), so that a resumed run
 * sees the same rows.
 */
export type Dataset<Row> = readonly Row[] | ((index: number, random: Random) => Row);

/** What a reward function gets: one entry per completion in every array, and the columns of its rows. */
export interface RewardInput {
  /** As the rows have them. */
  readonly prompts: readonly Prompt[];
  /** Text without special tokens. Needs a tokenizer (ERR_UNSUPPORTED); completionIds never does. */
  readonly completions: readonly string[];
  /** Token ids, the stop token included. */
  readonly completionIds: readonly (readonly number[])[];
  /** Ended by itself (a stop token) rather than cut off by length. */
  readonly terminated: readonly boolean[];
  /** Optimizer steps made so far, and the stage under way ('eval' in an evaluation). */
  readonly trainerState: { readonly step: number; readonly stage: string };
  /** Adds a number to the step's metrics (the mean over calls in the step). */
  readonly logMetric: (name: string, value: number) => void;
  /** Aborted when the function runs out of time or training stops. */
  readonly signal: AbortSignal;
  /** Columns of the data set, repeated for each completion. */
  // biome-ignore lint/suspicious/noExplicitAny: columns are what the caller's data set has
  readonly [column: string]: any;
}

/** One number per completion; null = this function has no opinion on it. */
export type RewardValues = ArrayLike<number | null>;
/** TRL's reward function. Its name in metrics is the function's own, or `rewardName`. */
export type RewardFunc = ((input: RewardInput) => RewardValues | PromiseLike<RewardValues>) & {
  readonly rewardName?: string;
};

/** A row of metrics.jsonl. A number that cannot be computed (the mean of nothing) is null. */
export interface StepMetrics {
  /** Optimizer steps made in all stages, this one included. */
  readonly step: number;
  readonly stage: string;
  /** Plain sentences about what a reader may misread, e.g. why the loss is 0. */
  readonly notes: readonly string[];
  /** TRL's metrics under TRL's keys; docs/training.md says what each is. */
  readonly [key: string]: number | null | string | readonly string[];
}

/** What train()'s onProgress gets after every step. */
export interface TrainProgress {
  readonly step: number;
  readonly totalSteps: number;
  readonly stage: string;
  readonly metrics: StepMetrics;
}

/** How a trainer's train() and steps() run. */
export interface TrainOptions {
  /**
   * Aborting undoes the step under way; with an outputDir the run then writes a checkpoint of the last whole
   * step. The call rejects with the signal's reason.
   */
  readonly signal?: AbortSignal | undefined;
  /** Called after every step. */
  readonly onProgress?: ((progress: TrainProgress) => void) | undefined;
  /**
   * A checkpoint directory, or 'latest' = the newest in outputDir (ERR_CHECKPOINT when there is none).
   * Continues bit for bit; with a greater maxSteps a finished run goes on.
   */
  readonly resumeFrom?: string | undefined;
}

/** What a finished train() gives. */
export interface TrainResult {
  /** Optimizer steps made in all stages. */
  readonly steps: number;
  /** Of the last step made by this trainer object; undefined when it made none. */
  readonly metrics: StepMetrics | undefined;
  /** The last checkpoint written, if any. */
  readonly checkpoint: string | undefined;
}
