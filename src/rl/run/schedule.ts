/**
 * Learning rates over a stage, as transformers.get_scheduler gives them: `step` counts updates made before
 * this one.
 */
import type { Schedule } from '../config/stages.js';

export function learningRateAt(
  { learningRate, lrSchedulerType, lrSchedulerKwargs, warmupSteps, steps }: Schedule,
  step: number,
): number {
  if (lrSchedulerType === 'constant') return learningRate;
  const warmup = warmupSteps < 1 ? Math.ceil(warmupSteps * steps) : warmupSteps;
  if (step < warmup) return (learningRate * step) / Math.max(1, warmup);
  if (lrSchedulerType === 'constant_with_warmup') return learningRate;
  const progress = (step - warmup) / Math.max(1, steps - warmup);
  if (lrSchedulerType === 'linear') return learningRate * Math.max(0, 1 - progress);
  const {
    numCycles = 0.5,
    minLr = 0,
    minLrRate = learningRate > 0 ? minLr / learningRate : 0,
  } = lrSchedulerKwargs;
  const cosine = 0.5 * (1 + Math.cos(2 * Math.PI * numCycles * progress));
  const floor = lrSchedulerType === 'cosine_with_min_lr' ? minLrRate : 0;
  return learningRate * Math.max(0, cosine * (1 - floor) + floor);
}
