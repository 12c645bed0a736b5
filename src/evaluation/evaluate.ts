/**
 * What a policy does on held-out prompts: how often it is right, how varied it is and how sure of itself.
 * Works for any task.
 */
import {
  check,
  checkOptions,
  count,
  func,
  JOB,
  list,
  natural,
  nonEmptyList,
  required,
  rule,
  type Rules,
  TEMPERATURE,
} from '../core/check.js';
import type { JobOptions } from '../core/job.js';
import type { Sample } from '../model/batch.js';
import type { Completion } from '../model/generation.js';
import type { Model } from '../model/model.js';
import { bestOfN, mean, passAtK } from './estimators.js';

/** What evaluate() samples and how it judges. */
export interface EvaluationOptions extends JobOptions {
  /** Token ids. */
  readonly prompts: readonly (readonly number[])[];
  /** A completion is right when its reward is at least 1. */
  readonly reward: (promptIndex: number, completion: Completion) => number;
  /** Per completion. */
  readonly maxNewTokens: number;
  /** Samples per prompt. Default 8. */
  readonly samples?: number;
  /** The larger k of pass@k. Default: `samples`. */
  readonly k?: number;
  /** Of sampling, and of the distributions reported. Default 1; greedy is always 0. */
  readonly temperature?: number;
  /** Default 0. */
  readonly seed?: number;
  /**
   * Frozen prefixes: each scored token's distribution is taken after them, whatever this model would have
   * written.
   */
  readonly fixed?: readonly Sample[];
}

/** Means over next-token distributions, in nats for entropy. */
export interface Confidence {
  readonly maxProb: number;
  readonly entropy: number;
}

/** What evaluate() measured; means are over prompts, confidence over tokens. */
export interface Evaluation {
  readonly prompts: number;
  readonly samplesPerPrompt: number;
  /** Mean over all samples. */
  readonly reward: number;
  /** Probability that one sample, or one of k, is right (2107.03374). */
  readonly passAt1: number;
  readonly passAtK: number;
  readonly k: number;
  /** Expected reward of the best of n samples, n = 1, 2, 4 … samplesPerPrompt. */
  readonly bestOf: readonly { readonly n: number; readonly reward: number }[];
  /** Share of prompts whose greedy completion is right. */
  readonly greedy: number;
  /** Distinct completions among a prompt's samples, on average. */
  readonly distinct: number;
  /** Tokens per sample. */
  readonly meanLength: number;
  /** Over the policy's own samples. */
  readonly onPolicy: Confidence;
  /** Over the frozen prefixes. */
  readonly fixed?: Confidence;
}

const OPTIONS: Rules = {
  ...JOB,
  prompts: required(nonEmptyList),
  reward: required(func),
  maxNewTokens: required(natural),
  samples: count,
  k: count,
  temperature: TEMPERATURE,
  seed: natural,
  fixed: list,
};

const SAMPLES = rule('a Model', (value) => typeof (value as Model | null)?.generate === 'function');

async function confidence(
  model: Model,
  samples: readonly Sample[],
  options: { readonly temperature: number } & JobOptions,
): Promise<Confidence> {
  const { maxProb, entropy } = await model.score(samples, options);
  return { maxProb: mean(maxProb), entropy: mean(entropy) };
}

/**
 * A policy on held-out prompts: how often it is right (pass@k, best-of-n by the unbiased estimators), how
 * varied and how sure of itself. Also returns the samples: the base model's are what later evaluations take
 * as `fixed`. @throws ERR_INVALID_ARG as model.generate.
 */
export async function evaluate(
  model: Model,
  options: EvaluationOptions,
): Promise<{ evaluation: Evaluation; samples: Sample[] }> {
  check('evaluate', 'model', model, SAMPLES);
  checkOptions('evaluate', options, OPTIONS);
  const { prompts, reward, maxNewTokens, samples: n = 8, k = n, temperature = 1, seed = 0, signal } = options;
  const generate = (extra: { temperature: number; numReturnSequences: number }) =>
    model.generate(prompts, { maxNewTokens, seed, signal, ...extra });

  const completions = await generate({ temperature, numReturnSequences: n });
  const greedy = await generate({ temperature: 0, numReturnSequences: 1 });
  const rewards = completions.map((completion, i) => reward(Math.floor(i / n), completion));
  const perPrompt = prompts.map((_, p) => {
    const own = rewards.slice(p * n, (p + 1) * n);
    const texts = completions.slice(p * n, (p + 1) * n).map(({ completionIds }) => completionIds.join(' '));
    return { rewards: own, right: own.filter((r) => r >= 1).length, distinct: new Set(texts).size };
  });
  const samples = scoredSamples(completions);
  const onPolicy = await confidence(model, samples, { temperature, signal });
  const evaluation: Evaluation = {
    prompts: prompts.length,
    samplesPerPrompt: n,
    reward: mean(rewards),
    passAt1: mean(perPrompt.map(({ right }) => passAtK(n, right, 1))),
    passAtK: mean(perPrompt.map(({ right }) => passAtK(n, right, k))),
    k,
    bestOf: powersOfTwo(n).map((best) => ({
      n: best,
      reward: mean(perPrompt.map((own) => bestOfN(own.rewards, best))),
    })),
    greedy: mean(greedy.map((completion, p) => (reward(p, completion) >= 1 ? 1 : 0))),
    distinct: mean(perPrompt.map(({ distinct }) => distinct)),
    meanLength: mean(completions.map(({ completionIds }) => completionIds.length)),
    onPolicy,
    ...(options.fixed ? { fixed: await confidence(model, options.fixed, { temperature, signal }) } : {}),
  };
  return { evaluation, samples };
}

/** Completions as samples, without those that have no token to score. */
function scoredSamples(completions: readonly Completion[]): Sample[] {
  const samples = completions.map(({ inputIds, completionIds }) => ({
    inputIds,
    scoreFrom: inputIds.length - completionIds.length,
  }));
  return samples.filter(({ inputIds, scoreFrom }) => scoreFrom < inputIds.length);
}

/** 1, 2, 4 … up to n. */
function powersOfTwo(n: number): number[] {
  const powers: number[] = [];
  for (let power = 1; power <= n; power *= 2) powers.push(power);
  return powers;
}
