/** A model small enough to train in milliseconds, and a task whose reward it can raise. */
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { createContext, Model } from '../../src/index.js';
import type { GRPOConfig, PromptRow, RewardFunc, StepMetrics } from '../../src/rl/index.js';

export const VOCABULARY = 17;
export const EOS = 1;
export const CONTEXT = 12;

export const tinyModel = async (
  options: { math?: 'fp32' | 'fp64'; tied?: boolean; threads?: number; eos?: boolean } = {},
): Promise<Model> =>
  Model.fromConfig(
    {
      model_type: 'gpt',
      vocab_size: VOCABULARY,
      hidden_size: 8,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      intermediate_size: 16,
      max_position_embeddings: CONTEXT,
      tie_word_embeddings: options.tied ?? false,
      ...(options.eos === false ? {} : { eos_token_id: EOS }),
    },
    {
      context: await createContext({ math: options.math ?? 'fp32', threads: options.threads ?? 1 }),
      seed: 5,
    },
  );

export const prompts = (count = 10): PromptRow[] =>
  Array.from({ length: count }, (_, i) => ({ prompt: [2 + (i % 5), 3 + (i % 7)], wanted: 4 + (i % 3) }));

/**
 * Share of tokens in the residue class of the row's column `wanted`: dense enough that every group differs.
 */
export const wantedTokens: RewardFunc = ({ completionIds, wanted }) =>
  completionIds.map(
    (ids, i) => ids.filter((id) => id % 3 === (wanted as number[])[i]! % 3).length / ids.length,
  );

export const config: GRPOConfig = {
  perDeviceTrainBatchSize: 8,
  numGenerations: 4,
  maxCompletionLength: 6,
  maxSteps: 10,
  learningRate: 0.01,
  seed: 3,
  lrSchedulerType: 'linear',
};

/** Arguments of a policy's trainer, but for the config. */
export const common = (model: Model) => ({ model, rewardFuncs: wantedTokens, trainDataset: prompts() });

export const temporary = (): string => mkdtempSync(join(tmpdir(), 'headfirst-rl-'));

export async function weights(model: Model): Promise<Record<string, number[]>> {
  const out: Record<string, number[]> = {};
  for (const { name } of model.parameters()) out[name] = [...(await model.getParameter(name))];
  return out;
}

/** Rows of metrics.jsonl without the one column that may differ between equal runs. */
export const logged = (directory: string): Omit<StepMetrics, 'step_time'>[] =>
  readFileSync(join(directory, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => {
      const { step_time: _, ...row } = JSON.parse(line) as StepMetrics;
      return row as StepMetrics;
    });
