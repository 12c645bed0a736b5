/**
 * What the paper's claims are judged by, measured on a model at a mark: how its features and classifier look
 * and moved, and what one plain policy-gradient step would do through each component. The rollout is fresh;
 * probes and states are the base model's own samples.
 */
import { classifierNorm } from '../../analysis/classifier.js';
import { explainStep } from '../../analysis/explain.js';
import type { AdvantageSample } from '../../analysis/explainOptions.js';
import type { ChangeOf } from '../../analysis/explanation.js';
import { featureDrift, featureSimilarity } from '../../analysis/features.js';
import { mean, standardDeviation } from '../../evaluation/estimators.js';
import type { Sample } from '../../model/batch.js';
import type { Model } from '../../model/model.js';
import { decode, EOS, MAX_RESPONSE_TOKENS } from '../tasks/noisyAdder.js';

/** Change of a mean over probes per unit of learning rate, by component. */
export interface ComponentRates {
  readonly representation: number;
  readonly gradient: number;
}
export interface StepRates {
  readonly entropy: ComponentRates;
  readonly maxProb: ComponentRates;
  /** Share of probes whose largest probability the component raises. */
  readonly raised: ComponentRates;
  /** ‖predicted − measured‖ / ‖measured‖ of Δ log π at the rate the step was tried with. */
  readonly relativeError: number;
}
export interface Dynamics {
  /** ‖W‖_F, and ‖W − W₀‖_F / ‖W₀‖_F from the base model. */
  readonly classifierNorm: number;
  readonly classifierMoved: number;
  /** ‖Φ − Φ₀‖ / ‖Φ₀‖ and mean cosine with the base model's features at the same states. */
  readonly featureDrift: number;
  readonly featureCosine: number;
  /**
   * ⟨φ, φ′⟩ of different samples: mean cosine and share > 0; at all states, prompts against prompts, equal
   * positions.
   */
  readonly cosine: {
    readonly all: number;
    readonly allPositive: number;
    readonly prompts: number;
    readonly promptsPositive: number;
    readonly samePosition: number;
    readonly samePositionPositive: number;
  };
  /** ‖∂J/∂W‖² and ‖∂J/∂θ_φ‖²: how fast plain ascent raises the objective through each component. */
  readonly growth: ComponentRates;
  readonly ascent: StepRates;
  /** A first Adam step: the gradient's sign. */
  readonly adam: StepRates;
}

interface Setting {
  readonly fixed: readonly Sample[];
  readonly prompts: readonly (readonly number[])[];
  readonly reward: (promptIndex: number, text: string) => number;
  readonly seed: number;
}

const GROUP = 8;
const PROBES = 64;
const ASCENT_RATE = 1e-3;
const ADAM_RATE = 1e-5;

/** GRPO's advantages of a fresh rollout. */
async function rollout(model: Model, { prompts, reward, seed }: Setting): Promise<AdvantageSample[]> {
  const completions = await model.generate(prompts, {
    maxNewTokens: MAX_RESPONSE_TOKENS,
    numReturnSequences: GROUP,
    seed: seed + 7000,
    stop: [EOS],
  });
  const rewards = completions.map(({ completionIds }, i) =>
    reward(Math.floor(i / GROUP), decode(completionIds)),
  );
  return completions.map(({ inputIds, completionIds }, i) => {
    const first = i - (i % GROUP);
    const group = rewards.slice(first, first + GROUP);
    return {
      inputIds,
      scoreFrom: inputIds.length - completionIds.length,
      advantage: (rewards[i]! - mean(group)) / (standardDeviation(group) + 1e-4),
    };
  });
}

async function growthOf(model: Model, batch: readonly AdvantageSample[]): Promise<ComponentRates> {
  await model.zeroGradients();
  const coefficients = batch.flatMap(({ inputIds, scoreFrom, advantage }) =>
    new Array<number>(inputIds.length - scoreFrom).fill(advantage / batch.length),
  );
  await model.accumulateGradients(batch, {
    loss: 'coefficients',
    coefficients: Float32Array.from(coefficients),
  });
  let representation = 0;
  let gradient = 0;
  for (const { name, role } of model.parameters()) {
    const squares = ((await model.getGradient(name)) as Float32Array).reduce((sum, g) => sum + g * g, 0);
    if (role === 'classifier') representation += squares;
    else gradient += squares;
  }
  return { representation, gradient };
}

async function ratesOf(
  model: Model,
  batch: readonly AdvantageSample[],
  probes: readonly (readonly number[])[],
  update: 'gradient' | 'adam',
  learningRate: number,
): Promise<StepRates> {
  const explained = await explainStep(model, batch, probes, { learningRate, update });
  const rates = ({ representation, gradient }: ChangeOf): ComponentRates => ({
    representation: representation / learningRate,
    gradient: gradient / learningRate,
  });
  const share = (component: keyof ComponentRates) =>
    mean(explained.probes.map(({ maxProb }) => (maxProb[component] > 0 ? 1 : 0)));
  return {
    entropy: rates(explained.entropy),
    maxProb: rates(explained.maxProb),
    raised: { representation: share('representation'), gradient: share('gradient') },
    relativeError: explained.relativeError,
  };
}

/** Measures a model beside the base model it came from. */
export async function measureDynamics(base: Model, model: Model, setting: Setting): Promise<Dynamics> {
  const every = Math.max(1, Math.floor(setting.fixed.length / PROBES));
  const samples = setting.fixed.filter((_, i) => i % every === 0).slice(0, PROBES);
  const probes = samples.map(({ inputIds, scoreFrom }, i) =>
    inputIds.slice(0, scoreFrom + (i % (inputIds.length - scoreFrom))),
  );
  // A stage may train the classifier only; what a step would do is asked of all parameters. A copy has them
  // all trainable.
  using whole = await model.clone();
  const batch = await rollout(model, setting);
  const norm = await classifierNorm(model, base);
  const drift = await featureDrift(base, model, samples);
  const { across, prompts, byPosition } = await featureSimilarity(model, samples);
  const pairs = byPosition.reduce((sum, p) => sum + p.pairs, 0);
  const same = (key: 'meanCosine' | 'positive') =>
    byPosition.reduce((sum, p) => sum + (p.pairs > 0 ? p[key] * p.pairs : 0), 0) / pairs;
  return {
    classifierNorm: norm.frobenius,
    classifierMoved: norm.relativeMoved!,
    featureDrift: drift.relative,
    featureCosine: drift.meanCosine,
    cosine: {
      all: across.meanCosine,
      allPositive: across.positive,
      prompts: prompts.meanCosine,
      promptsPositive: prompts.positive,
      samePosition: same('meanCosine'),
      samePositionPositive: same('positive'),
    },
    growth: await growthOf(whole, batch),
    ascent: await ratesOf(whole, batch, probes, 'gradient', ASCENT_RATE),
    adam: await ratesOf(whole, batch, probes, 'adam', ADAM_RATE),
  };
}
