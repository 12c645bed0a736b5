/**
 * Classifier-first RL (2601.04670, §CF-RL): the RL objective on the unembedding matrix W alone for a while,
 * then on everything. Stage 1 runs no backward pass through the body and reuses its features within a batch.
 * Each stage has an optimizer and schedule of its own. classifierSteps (at most, with switchRatio) come
 * before maxSteps: compare with standard RL both at maxSteps and at their sum.
 */
import type { ResolvedCFRLConfig, ResolvedGRPOConfig } from '../config/config.js';
import type { CFRLConfig, StageConfig } from '../config/options.js';
import { resolveStages, type Stage } from '../config/stages.js';
import type { PromptRow } from '../interfaces.js';
import type { Sampler } from '../rollout/dataset.js';
import type { GRPOTrainerArguments } from './arguments.js';
import { fullSteps, GRPOTrainer, policyConfig } from './grpo.js';

type Own = Pick<ResolvedCFRLConfig, 'classifierSteps' | 'classifierLearningRate' | 'switchRatio'>;

/** Whether the body has `ratio` times as much to gain as the classifier; false where a step did not look. */
function bodyLeads(metrics: Readonly<Record<string, number | null>>, ratio: number): boolean {
  const body = metrics['growth/gradient'];
  const classifier = metrics['growth/representation'];
  return typeof body === 'number' && typeof classifier === 'number' && body >= ratio * classifier;
}

function cfrlStages(config: ResolvedGRPOConfig, own: Own, sampler: Sampler<PromptRow>): Stage[] {
  if (config.stages) return resolveStages(config.stages, config);
  const { learningRate, trainable } = config;
  const { classifierSteps, classifierLearningRate, switchRatio } = own;
  const classifier: StageConfig = {
    name: 'classifier',
    steps: classifierSteps,
    trainable: 'classifier',
    learningRate: classifierLearningRate ?? 10 * learningRate,
    classifierLearningRateMultiplier: 1,
  };
  const steps = fullSteps(config, sampler, 'CFRLTrainer');
  const full: StageConfig = { name: 'full', steps, trainable, learningRate };
  const [first, second] = resolveStages([classifier, full], config) as [Stage, Stage];
  if (switchRatio === undefined) return [first, second];
  return [{ ...first, endsWhen: (metrics) => bodyLeads(metrics, switchRatio) }, second];
}

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
    const own: Own = { classifierSteps, classifierLearningRate, switchRatio };
    super({ ...args, config: undefined }, config, (_, sampler) => cfrlStages(config, own, sampler));
  }
}
