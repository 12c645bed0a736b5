/** The fifth sentence of a step: the loss and its gradients, and what they say of the tokens. */
import type { RealArray } from '../../core/addon/contract.js';
import type { Sample } from '../../model/batch.js';
import type { GradientOptions, Model, ScoreOptions, Scores } from '../../model/model.js';
import type { ResolvedGRPOConfig } from '../config/config.js';
import type { Stage } from '../config/stages.js';
import { afterUpdate, type TrainingBatch } from '../credit/batch.js';
import type { BatchFeatures } from '../credit/features.js';
import { ValueHead, type ValueHeadState, valueLoss } from '../credit/valueHead.js';
import { activeCoefficient, type EntropyControl, nextControl } from '../loss/entropyControl.js';
import { planLoss } from '../loss/loss.js';
import { plain } from '../spaces.js';
import type { Measured } from '../run/describe.js';
import { lossMetrics } from '../run/metrics.js';
import type { TrainingState } from '../run/state.js';
import { growthMetrics, isGrowthDue } from './growth.js';
import { maskTokens } from './maskTokens.js';

export interface AccumulateContext {
  readonly model: Model;
  readonly reference: Model | undefined;
  readonly config: ResolvedGRPOConfig;
  readonly features: BatchFeatures;
  readonly stage: Stage;
  readonly signal: AbortSignal | undefined;
}

export interface Accumulated extends Measured {
  /** The batch, when it has updates left. */
  readonly batch: TrainingBatch | null;
  readonly entropy: EntropyControl;
  readonly valueGradient: RealArray | undefined;
}

/** When every completion is masked: no rows. */
const NO_SCORES: Scores = {
  logps: new Float32Array(),
  entropy: new Float32Array(),
  maxProb: new Float32Array(),
};

/** Adds one update's gradients to the model's; the state stays as it is. */
export async function accumulate(
  batch: TrainingBatch,
  state: TrainingState,
  context: AccumulateContext,
): Promise<Accumulated> {
  const { config, model, reference, signal } = context;
  const samples = [...batch.samples];
  const control = state.entropy!;
  const shared: ScoreOptions = { signal, ...(await context.features.shared(samples, signal)) };
  const masks = await maskTokens(batch, shared, context);
  const plan = planLoss(
    {
      lengths: [...batch.lengths],
      reference,
      entropyCoef: activeCoefficient(control, config),
      ...masks,
      oldLogps: batch.oldLogps ? Float32Array.from(batch.oldLogps) : undefined,
      refLogps: batch.refLogps ? Float32Array.from(batch.refLogps) : undefined,
    },
    config,
  );
  const value = await valueUpdate(batch, state.valueHead, context);
  const scores =
    samples.length > 0
      ? await model.accumulateGradients(samples, { ...plan.options, ...shared, ...value?.head })
      : NO_SCORES;
  const losses = lossMetrics(scores, batch.lengths, config, plan.entropyCoefficients);
  const entropy = nextControl(control, losses['entropy']!, config);
  const grown = await growth(samples, plan.options, state, context);
  const metrics = {
    ...grown,
    ...losses,
    ...(value ? withValueLoss(losses['loss']!, value, config) : {}),
    ...(hasEntropyBonus(config) ? { entropy_coef: entropy.coef } : {}),
  };
  return {
    logps: scores.logps,
    metrics,
    batch: afterUpdate(batch, scores.logps, config.numIterations),
    entropy,
    valueGradient: value?.gradient,
  };
}

const hasEntropyBonus = ({ entropyCoef, useAdaptiveEntropy }: ResolvedGRPOConfig): boolean =>
  entropyCoef !== 0 || useAdaptiveEntropy;

interface ValueUpdate {
  /** Without its coefficient. */
  readonly loss: number;
  readonly clipFraction: number;
  /** The head's own. */
  readonly gradient: RealArray;
  /** What the value loss sends into the trunk. */
  readonly head: Required<Pick<GradientOptions, 'headGradients' | 'headWeight'>>;
}

/** Of a value head, when the method has one. */
async function valueUpdate(
  { samples, values }: TrainingBatch,
  valueHead: ValueHeadState | null,
  { model, config, features, signal }: AccumulateContext,
): Promise<ValueUpdate | undefined> {
  if (!valueHead || !values || samples.length === 0) return undefined;
  const head = new ValueHead(model, valueHead);
  return features.with(samples, signal, async (phi) => {
    const now = await head.values(phi);
    const { loss, clipFraction, gradient } = valueLoss(now, plain(values.old), plain(values.returns), config);
    const headGradients = model.context.math === 'fp64' ? gradient : Float32Array.from(gradient);
    return {
      loss,
      clipFraction,
      gradient: await head.gradient(phi, headGradients),
      head: { headGradients, headWeight: head.weight },
    };
  });
}

const withValueLoss = (
  policyLoss: number,
  { loss, clipFraction }: ValueUpdate,
  { vfCoef }: ResolvedGRPOConfig,
): Record<string, number> => ({
  loss: policyLoss + vfCoef * loss,
  'loss/value_avg': loss,
  'val/clipfrac_avg': clipFraction,
});

/** Where the stage ends by what the body has to gain. */
async function growth(
  samples: readonly Sample[],
  loss: GradientOptions,
  { stageStep }: TrainingState,
  { model, stage, signal }: AccumulateContext,
): Promise<Record<string, number>> {
  if (!stage.endsWhen || !isGrowthDue(stageStep) || samples.length === 0) return {};
  return growthMetrics(model, samples, loss, signal);
}
