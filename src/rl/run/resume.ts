/** What a checkpoint means for the run that goes on from it. */
import { fail } from '../../errors.js';
import type { Model } from '../../model/model.js';
import type { Stage } from '../config/stages.js';
import { checkSameConfig, fingerprint, type OpenedCheckpoint, openCheckpoint } from './checkpoint.js';
import type { TrainingState } from './state.js';

export interface Resumption {
  readonly saved: OpenedCheckpoint;
  readonly state: TrainingState;
  /**
   * The stage under way, if its optimizer is in the checkpoint: then it opens before the weights are read.
   */
  readonly openStage: Stage | undefined;
}

/** The run that wants to go on. */
export interface ResumingRun {
  readonly model: Model;
  readonly reference: Model | undefined;
  readonly outputDir: string | undefined;
  /** As comparableConfig() has them. */
  readonly comparable: Readonly<Record<string, unknown>>;
  readonly stages: readonly Stage[];
}

/** @throws ERR_CHECKPOINT for one that is damaged or belongs to another run. Changes nothing. */
export async function openResumption(directory: string, run: ResumingRun): Promise<Resumption> {
  const { model, reference, outputDir, stages } = run;
  const saved = await openCheckpoint(directory, outputDir, model);
  checkSameConfig(directory, saved.config, run.comparable);
  if (saved.reference !== (reference ? await fingerprint(reference) : null))
    fail(
      'ERR_CHECKPOINT',
      `resume: ${directory} was trained against another reference model; ` +
        "give the trainer the model the run began with (or refModel), not the checkpoint's",
    );
  const state = continued(saved.state, stages);
  const stage = stages[state.stage];
  const goesOn = state.stage !== saved.state.stage;
  if (goesOn && !saved.hasOptimizer)
    fail(
      'ERR_CHECKPOINT',
      `resume: ${directory} is the end of its run and keeps no optimizer; ` +
        'start a new run from its weights to train further, or resume from an earlier checkpoint',
    );
  return { saved, state, openStage: saved.hasOptimizer ? stage : undefined };
}

/** At the end of a run whose last stage is longer now, that stage goes on. */
function continued(state: TrainingState, stages: readonly Stage[]): TrainingState {
  const hasEnded = state.stage === stages.length;
  const isLongerNow = hasEnded && stages.at(-1)!.steps > state.stageStep;
  return isLongerNow ? { ...state, stage: state.stage - 1 } : state;
}
