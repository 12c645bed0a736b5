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
  const rewards = completions.map((completion, i) => reward(Math.floor(i / n), completion));
  const perPrompt = prompts.map((_, p) => ({
    rewards: rewards.slice(p * n, (p + 1) * n),
    right: rewards.slice(p * n, (p + 1) * n).filter((r) => r >= 1).length,
    distinct: new Set(completions.slice(p * n, (p + 1) * n).map((c) => c.completionIds.join(' '))).size,
  }));
  const greedy = await generate({ temperature: 0, numReturnSequences: 1 });

  const samples = completions
    .map(
      ({ inputIds, completionIds }): Sample => ({
        inputIds,
        scoreFrom: inputIds.length - completionIds.length,
      }),
    )
    .filter(({ inputIds, scoreFrom }) => scoreFrom < inputIds.length);
  const evaluation: Evaluation = {
    prompts: prompts.length,
    samplesPerPrompt: n,
    reward: mean(rewards),
    passAt1: mean(perPrompt.map(({ right }) => passAtK(n, right, 1))),
    passAtK: mean(perPrompt.map(({ right }) => passAtK(n, right, k))),
    k,
    bestOf: Array.from({ length: Math.floor(Math.log2(n)) + 1 }, (_, i) => 2 ** i).map((best) => ({
      n: best,
      reward: mean(perPrompt.map((p) => bestOfN(p.rewards, best))),
    })),
    greedy: mean(greedy.map((completion, p) => (reward(p, completion) >= 1 ? 1 : 0))),
    distinct: mean(perPrompt.map(({ distinct }) => distinct)),
    meanLength: mean(completions.map((c) => c.completionIds.length)),
    onPolicy: await confidence(model, samples, { temperature, signal }),
    ...(options.fixed ? { fixed: await confidence(model, options.fixed, { temperature, signal }) } : {}),
  };
  return { evaluation, samples };
}
