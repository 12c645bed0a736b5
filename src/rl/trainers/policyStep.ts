/**
 * One optimizer update of a policy, sentence by sentence; each is a file in its room. A rollout serves
 * numIterations updates: the first makes the batch, the others find it in the state.
 */
import { assignCredit } from '../credit/assignCredit.js';
import { makeBatch } from '../credit/batch.js';
import type { CreditContext } from '../credit/creditContext.js';
import { score, type ScoreContext } from '../rewards/score.js';
import { keepForTraining } from '../rollout/keepForTraining.js';
import { promptsPerStep, rollOut, type RollOutContext } from '../rollout/rollOut.js';
import { apply, type ApplyContext, type StepResult, type Update } from '../run/apply.js';
import { describe, type DescribeContext, type Origin } from '../run/describe.js';
import type { TrainingState } from '../run/state.js';
import { accumulate, type AccumulateContext } from './accumulate.js';

export type PolicyContext = RollOutContext &
  ScoreContext &
  CreditContext &
  AccumulateContext &
  DescribeContext &
  ApplyContext;

/** Until `apply` a failure leaves model, optimizer and state as they were, but for the gradients. */
export async function policyStep(state: TrainingState, context: PolicyContext): Promise<StepResult> {
  let { batch } = state;
  let origin: Origin | undefined;
  if (!batch) {
    const rollout = await rollOut(state, context);
    const rewards = await score(rollout, { step: state.step + 1, stage: context.stage.name }, context);
    const kept = keepForTraining(rollout, context.config);
    const credit = await assignCredit(kept, rewards, state.valueHead, context);
    origin = { rollout, rewards, kept, credit };
    batch = makeBatch(kept, credit);
  }
  const gradients = await accumulate(batch, state, context);
  const description = describe(origin, batch, gradients, state, context);
  return apply({ ...gradients, ...description, used: usedFor(origin, context) }, state, context);
}

/** A later update of a batch takes nothing new. */
function usedFor(origin: Origin | undefined, { config }: PolicyContext): Update['used'] {
  if (!origin) return { rows: 0, completions: 0, numTokens: 0 };
  const samples = [...origin.rollout.samples];
  return {
    rows: promptsPerStep(config),
    completions: samples.length,
    numTokens: samples.reduce((sum, { inputIds }) => sum + inputIds.length, 0),
  };
}
