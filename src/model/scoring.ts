/** Forward passes: logits, features, and figures of the scored tokens. */
import type { NativeScores } from '../core/addon/contract.js';
import { checkOptions, flag, JOB, type Rules, TEMPERATURE } from '../core/check.js';
import { type JobOptions, runJob } from '../core/job.js';
import { Tensor, tensorRule } from '../core/tensor.js';
import { type Batch, checkBatch, packBatch, packSamples, type Sample } from './batch.js';
import type { ModelParts } from './parts.js';

/**
 * Figures per scored token, samples' tokens one after the other in the order given; Float64Arrays in a fp64
 * context.
 */
export type Scores = NativeScores;

/** What forward() returns of each sequence. Default: logits only. */
export interface ForwardOptions extends JobOptions {
  readonly logits?: boolean;
  readonly hiddenStates?: boolean;
}

/** One tensor per sequence: logits (T, V), features (T, d). */
export interface ForwardResult {
  logits?: Tensor[];
  hiddenStates?: Tensor[];
}

export interface LogprobOptions extends JobOptions {
  /** Of softmax(z / temperature), whose figures are given. Default 1. */
  readonly temperature?: number;
}

/** One array per sequence; entry t − 1 is of token t. */
export interface Logprobs {
  logps: Float32Array[];
  entropy: Float32Array[];
  maxProb: Float32Array[];
}

export interface ScoreOptions extends LogprobOptions {
  /** From features(); only valid while nothing but the classifier has changed since. */
  readonly features?: Tensor;
}

const FORWARD: Rules = { ...JOB, logits: flag, hiddenStates: flag };
const LOGPROBS: Rules = { ...JOB, temperature: TEMPERATURE };
export const SCORE: Rules = { ...LOGPROBS, features: tensorRule };

export async function forward(
  model: ModelParts,
  batch: Batch,
  options: ForwardOptions,
): Promise<ForwardResult> {
  checkOptions('model.forward', options, FORWARD);
  const packed = packBatch('model.forward', model, batch);
  const { logits = !options.hiddenStates, hiddenStates = false } = options;
  const native = await runJob(options, (onProgress) =>
    model.native.forward(packed, { logits, hiddenStates }, onProgress),
  );
  const result: ForwardResult = {};
  if (logits) result.logits = native.logits!.map((tensor) => new Tensor(tensor));
  if (hiddenStates) result.hiddenStates = native.hiddenStates!.map((tensor) => new Tensor(tensor));
  return result;
}

export async function logprobs(model: ModelParts, batch: Batch, options: LogprobOptions): Promise<Logprobs> {
  const caller = 'model.logprobs';
  checkOptions(caller, options, LOGPROBS);
  checkBatch(caller, batch);
  const samples = batch.inputIds.map((inputIds) => ({ inputIds, scoreFrom: 1 }));
  const scores = await score(model, samples, options, caller);
  // All sequences' figures are in one array: sequence s has those from offsets[s] to offsets[s + 1].
  const offsets = [0];
  for (const { inputIds } of samples) offsets.push(offsets.at(-1)! + Math.max(inputIds.length - 1, 0));
  const split = (figures: Float32Array) => samples.map((_, s) => figures.slice(offsets[s], offsets[s + 1]));
  return {
    logps: split(scores.logps),
    entropy: split(scores.entropy),
    maxProb: split(scores.maxProb),
  };
}

export async function score(
  model: ModelParts,
  samples: readonly Sample[],
  options: ScoreOptions,
  caller: string,
): Promise<Scores> {
  checkOptions(caller, options, SCORE);
  const packed = packSamples(caller, model, samples);
  const { temperature = 1, features } = options;
  const native = { temperature, ...(features ? { features: features.native } : {}) };
  return runJob(options, (onProgress) => model.native.score(packed, native, onProgress));
}

export async function features(
  model: ModelParts,
  samples: readonly Sample[],
  options?: JobOptions,
): Promise<Tensor> {
  checkOptions('model.features', options, JOB);
  const packed = packSamples('model.features', model, samples);
  const native = await runJob(options, (onProgress) => model.native.features(packed, onProgress));
  return new Tensor(native);
}
