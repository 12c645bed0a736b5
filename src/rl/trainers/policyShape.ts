/** Sizes of a policy's largest update, for the estimate of memory. */
import { isPrompt } from '../../model/batch.js';
import { encodePrompt } from '../../model/tokenizer/tokenizer.js';
import type { TrainingShape } from '../../model/trainingEstimate.js';
import type { ResolvedGRPOConfig } from '../config/config.js';
import type { PromptRow } from '../interfaces.js';
import type { Sampler } from '../rollout/dataset.js';
import { promptsPerStep, type SamplingContext } from '../rollout/rollOut.js';
import { longest } from '../run/memory.js';

export function policyShape(
  { model, config, tokenizer, source }: SamplingContext,
  sampler: Sampler<PromptRow>,
): Omit<TrainingShape, 'trainable'> {
  const { maxCompletionLength, numGenerations } = config;
  const { maxPositions } = model.spec;
  const prompts = promptsPerStep(config);
  // What is no prompt the step refuses, in its own words.
  const tokens = ({ prompt }: PromptRow): number =>
    isPrompt(prompt) ? encodePrompt(tokenizer, prompt, config.chatTemplateKwargs).length : 0;
  const longestPrompt = longest(sampler.some(prompts), ['prompt'], tokens);
  const promptLength = Math.min(longestPrompt, maxPositions - 1);
  const sequenceLength = Math.min(promptLength + maxCompletionLength, maxPositions);
  const sampling = {
    prompts,
    promptLength,
    numReturnSequences: numGenerations,
    maxNewTokens: maxCompletionLength,
  };
  return {
    sequences: prompts * numGenerations,
    sequenceLength,
    scoredLength: sequenceLength - promptLength,
    reference: referenceUse(config),
    ...(source ? {} : { sampling }),
  };
}

/** 'exact': the KL term sums over the whole vocabulary, which holds more of the reference. */
function referenceUse({ beta, klInReward, klEstimator }: ResolvedGRPOConfig): boolean | 'exact' {
  if (beta === 0) return false;
  return klEstimator === 'exact' && !klInReward ? 'exact' : true;
}
