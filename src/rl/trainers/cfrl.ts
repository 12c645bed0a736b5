/**
 * Classifier-first RL (2601.04670, §CF-RL): the RL objective on the unembedding matrix W alone for a while,
 * then on everything. Stage 1 runs no backward pass through the body and reuses its features within a batch.
 * Each stage has an optimizer and schedule of its own. classifierSteps (at most, with switchRatio) come
 * before maxSteps: compare with standard RL both at maxSteps and at their sum.
 */
import type { ResolvedCFRLConfig, ResolvedGRPOConfig } from '../config/config.js';
import type { CFRLConfig } from '../config/options.js';
import { fullSteps, GRPOTrainer, type GRPOTrainerArguments, policyConfig } from './grpo.js';
import { resolveStages } from '../config/stages.js';

const bodyLeads = (
  { 'growth/gradient': body, 'growth/representation': classifier }: Readonly<Record<string, number | null>>,
  ratio: number,
): boolean => typeof body === 'number' && typeof classifier === 'number' && body >= ratio * classifier;

/**
 * Classifier-first RL (2601.04670): GRPOTrainer whose stage 1 trains the classifier W alone for
 * classifierSteps, before stage 2 trains what `trainable` says for maxSteps. Each stage has a fresh optimizer
 * and schedule. Compare it with standard RL both at maxSteps and at the sum of both stages.
 * @throws as GRPOTrainer; ERR_UNSUPPORTED on a tied model: load it with untieClassifier: true.
 */
export class CFRLTrainer extends GRPOTrainer {
  constructor(args: GRPOTrainerArguments<CFRLConfig>) {
    const { classifierSteps, classifierLearningRate, switchRatio, ...config }: ResolvedCFRLConfig =
      policyConfig('CFRLTrainer', 'CFRLConfig', args);
    const { learningRate, trainable } = config;
    super({ ...args, config: undefined }, config satisfies ResolvedGRPOConfig, (_, sampler) =>
      resolveStages(
        config.stages ?? [
          {
            name: 'classifier',
            steps: classifierSteps,
            trainable: 'classifier',
            learningRate: classifierLearningRate ?? 10 * learningRate,
            classifierLearningRateMultiplier: 1,
          },
          { name: 'full', steps: fullSteps(config, sampler, 'CFRLTrainer'), trainable, learningRate },
        ],
        config,
      ).map((stage, i) =>
        i === 0 && switchRatio !== undefined && !config.stages
          ? { ...stage, endsWhen: (metrics) => bodyLeads(metrics, switchRatio) }
          : stage,
      ),
    );
  }
}
