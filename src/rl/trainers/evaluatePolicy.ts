/** A policy on held-out rows, by the rewards it is trained with. */
import type { PromptRow } from '../interfaces.js';
import { chances } from '../rewards/chances.js';
import type { NamedReward } from '../rewards/call.js';
import { score, type ScoreContext } from '../rewards/score.js';
import { rewardSummary } from '../rewards/statistics.js';
import { rollOutEvaluation, type SamplingContext } from '../rollout/rollOut.js';
import { completionMetrics } from '../run/metrics.js';

export type EvaluationContext = SamplingContext & ScoreContext & { readonly rewards: readonly NamedReward[] };

const mean = (values: Float32Array): number => values.reduce((a, b) => a + b, 0) / values.length;

/**
 * Rewards, pass@k, best@k (chances.ts), lengths and confidence of fresh completions, keys beginning with
 * 'eval_'; the same random numbers each time.
 */
export async function evaluatePolicy(
  rows: readonly PromptRow[],
  step: number,
  context: EvaluationContext,
): Promise<Record<string, number | null>> {
  const { model, config, rewards: functions, signal } = context;
  const rollout = await rollOutEvaluation(rows, step, context);
  const rewards = await score(rollout, { step, stage: 'eval' }, context);
  const { temperature } = config;
  const { entropy, maxProb } = await model.score([...rollout.samples], { temperature, signal });
  const samplesPerPrompt = rollout.rows.length / rows.length;
  const numbers = {
    ...rewardSummary(functions, rewards.columns),
    ...completionMetrics(rollout),
    ...rewards.logged,
    entropy: mean(entropy),
    max_prob: mean(maxProb),
    ...chances(rewards.columns[0]!, rewards.totals, samplesPerPrompt),
  };
  return Object.fromEntries(
    Object.entries(numbers).map(([key, value]) => [`eval_${key}`, Number.isFinite(value) ? value : null]),
  );
}
