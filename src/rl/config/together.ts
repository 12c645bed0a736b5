/** Rules that bind several options of a trainer. */
import { lossRefusal } from '../../policy/losses.js';
import type { CommonConfig, ResolvedGRPOConfig } from './schemas.js';

/** As the user gave them: what is not there has its default. */
type Given = Readonly<Record<string, unknown>>;
/** What is wrong with options together, if anything. */
type Mistake = string | undefined;

// ---- all trainers -----------------------------------------------------------------------------------------

function lengthMistake({ maxSteps }: CommonConfig): Mistake {
  return maxSteps === 0 ? 'maxSteps must be at least 1, or -1 to train numTrainEpochs, got 0' : undefined;
}

function stagesMistake(given: Given): Mistake {
  if (!given['stages']) return undefined;
  const option = ['maxSteps', 'trainable', 'numTrainEpochs'].find((name) => given[name] !== undefined);
  return option && `${option} and stages exclude each other; each stage names its own steps and trainable`;
}

function modeMistake(given: Given): Mistake {
  const { mode = 'ft' } = given;
  const option = ['stages', 'trainable'].find((name) => given[name] !== undefined);
  if (mode !== 'ft' && option !== undefined)
    return `mode '${String(mode)}' and ${option} exclude each other; the mode says what is trained`;
  if (mode !== 'ft') return undefined;
  if (given['lpSteps'] !== undefined) return "lpSteps belongs to mode 'lp_ft', but it is 'ft'";
  if (given['lpLearningRate'] !== undefined)
    return "lpLearningRate belongs to mode 'lp_ft' and 'lp', but it is 'ft'";
  return undefined;
}

// ---- trainers of a policy ---------------------------------------------------------------------------------

function groupMistake(config: ResolvedGRPOConfig): Mistake {
  const { perDeviceTrainBatchSize, gradientAccumulationSteps, numGenerations, advantageEstimator } = config;
  const batch = perDeviceTrainBatchSize * gradientAccumulationSteps;
  if (batch % numGenerations !== 0)
    return (
      'perDeviceTrainBatchSize × gradientAccumulationSteps ' +
      `(${perDeviceTrainBatchSize} × ${gradientAccumulationSteps} = ${batch}) must be a multiple of ` +
      `numGenerations (${numGenerations}): a step has whole groups`
    );
  const compares = advantageEstimator === 'grpo' || advantageEstimator === 'rloo';
  if (compares && numGenerations < 2)
    return (
      `numGenerations must be at least 2 with advantageEstimator '${advantageEstimator}', which compares ` +
      `completions of one prompt, got ${numGenerations}`
    );
  return undefined;
}

/** Options that only some estimators read. */
const OWNERS: Readonly<Record<string, readonly ResolvedGRPOConfig['advantageEstimator'][]>> = {
  normalizeAdvantages: ['rloo', 'reinforce'],
  gamma: ['reinforce_plus_plus', 'gae'],
  lam: ['gae'],
  vfCoef: ['gae'],
  cliprangeValue: ['gae'],
  whitenRewards: ['gae'],
  scaleRewards: ['grpo'],
  multiObjectiveAggregation: ['grpo'],
  reinforceBaseline: ['reinforce'],
};
/** What normalises advantages is named by the estimator. */
const NORMALISERS: Readonly<Record<string, string>> = {
  grpo: 'scaleRewards',
  rloo: 'normalizeAdvantages',
  reinforce: 'normalizeAdvantages',
};

function estimatorMistake(config: ResolvedGRPOConfig, given: Given): Mistake {
  const estimator = config.advantageEstimator;
  for (const [option, owners] of Object.entries(OWNERS)) {
    const switchedOff = given[option] === false && option !== 'scaleRewards';
    if (given[option] === undefined || switchedOff || owners.includes(estimator)) continue;
    const names = owners.map((name) => `'${name}'`).join(' and ');
    const normalises = option === 'normalizeAdvantages' || owners.includes('grpo');
    const own = normalises ? NORMALISERS[estimator] : undefined;
    const remedy = own ? `; its option is ${own}` : '';
    return `${option} belongs to advantageEstimator ${names}, but it is '${estimator}'${remedy}`;
  }
  return undefined;
}

function penaltyMistake(config: ResolvedGRPOConfig, given: Given): Mistake {
  const { useBiasCorrectionKl, klInReward, klEstimator } = config;
  if (useBiasCorrectionKl && (klInReward || klEstimator === 'exact')) {
    const reason = klInReward ? 'klInReward is set' : "klEstimator 'exact' has no bias";
    return `useBiasCorrectionKl corrects an estimator in the loss, but ${reason}; leave it out`;
  }
  if (klInReward && given['klEstimator'] !== undefined && klEstimator !== 'k1')
    return `klInReward uses k1, but klEstimator is '${klEstimator}'; leave it out`;
  return undefined;
}

const trainsPolicy = (config: CommonConfig): config is ResolvedGRPOConfig => 'numGenerations' in config;

/** The first mistake among options that are each in range. */
export function mistakeTogether(given: Given, config: CommonConfig): Mistake {
  const common = lengthMistake(config) ?? stagesMistake(given) ?? modeMistake(given);
  if (common !== undefined || !trainsPolicy(config)) return common;
  return (
    groupMistake(config) ??
    estimatorMistake(config, given) ??
    lossRefusal(config.lossType, config) ??
    penaltyMistake(config, given)
  );
}
