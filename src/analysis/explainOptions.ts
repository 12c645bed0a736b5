/** What explainStep() takes, and the checks of it. */
import {
  check,
  checkOptions,
  count,
  finite,
  flag,
  instance,
  JOB,
  list,
  nonNegative,
  object,
  rule,
  type Rules,
} from '../core/check.js';
import type { JobOptions } from '../core/job.js';
import { fail } from '../errors.js';
import { checkSamples, type Sample } from '../model/batch.js';
import type { ParameterVectors } from '../model/derivatives.js';
import { type Model, modelRule } from '../model/model.js';
import { AdamW } from '../model/optimizer.js';

/** A sampled response and its advantage r̂, which weighs every scored token of it. */
export type AdvantageSample = Sample & { readonly advantage: number };

/** Which step explainStep() explains, and in how much detail. */
export interface ExplainOptions extends JobOptions {
  /** η. Needed for 'gradient' and 'adam'; a given Δθ is the step itself. */
  readonly learningRate?: number;
  /**
   * 'gradient' (default): plain ascent. 'adam': what `optimizer` would do, or a new AdamW without one. Or the
   * step Δθ, by parameter name.
   */
  readonly update?: 'gradient' | 'adam' | ParameterVectors;
  /** For 'adam': its state and settings are copied, not changed. */
  readonly optimizer?: AdamW;
  /** For 'adam': gradients are clipped to this norm first (0 = not). */
  readonly maxGradNorm?: number;
  /**
   * Leave the model as it is after the step. Default false: not a bit of it changes. The optimizer is never
   * stepped.
   */
  readonly apply?: boolean;
  /** Also the gradient component by layer: one forward-mode pass each. */
  readonly layers?: boolean;
  /**
   * Also how much each sample of the batch moves a probe's chosen token: the kernel's pairs, the largest
   * `top` per probe. 'gradient' only.
   */
  readonly influences?: { readonly top?: number };
  /** Tokens to follow, one per probe; default each probe's most likely one. */
  readonly targets?: readonly number[];
  /** For influences: the kernel's working memory. Default half of the free memory. */
  readonly maxBytes?: number;
}

export const caller = 'analysis.explainStep';

const OPTIONS: Rules = {
  ...JOB,
  learningRate: nonNegative,
  optimizer: instance('an AdamW', AdamW),
  maxGradNorm: nonNegative,
  apply: flag,
  layers: flag,
  influences: object,
  targets: list,
  maxBytes: count,
  update: rule(
    "'gradient', 'adam' or named arrays",
    (value) => value === 'gradient' || value === 'adam' || object.accepts(value),
  ),
};
const INFLUENCES: Rules = { top: count };

/** @throws ERR_INVALID_ARG, ERR_SHAPE, ERR_UNSUPPORTED as explainStep() says. */
export function checkCall(
  model: Model,
  batch: readonly AdvantageSample[],
  probes: readonly (readonly number[])[],
  options: ExplainOptions,
): void {
  check(caller, 'model', model, modelRule);
  checkOptions(caller, options, OPTIONS);
  checkSamples(caller, batch, 'batch');
  check(caller, 'probes', probes, list);
  if (options.influences !== undefined) checkOptions(`${caller}: influences`, options.influences, INFLUENCES);
  if (probes.length === 0)
    fail(
      'ERR_INVALID_ARG',
      `${caller}: probes must not be empty; a probe is a prefix whose next-token distribution is followed`,
    );
  checkUpdate(batch, options);
  if (options.targets) checkTargets(model, options.targets, probes.length);
}

function checkUpdate(batch: readonly AdvantageSample[], options: ExplainOptions): void {
  const { update = 'gradient', learningRate, influences, optimizer } = options;
  const isMadeFromBatch = typeof update === 'string';
  if (isMadeFromBatch) {
    if (batch.length === 0) fail('ERR_INVALID_ARG', `${caller}: batch must not be empty`);
    check(caller, 'learningRate', learningRate, nonNegative);
  }
  batch.forEach(({ advantage }, i) => {
    check(caller, `batch[${i}].advantage`, advantage, finite);
  });
  if (influences && update !== 'gradient')
    fail(
      'ERR_UNSUPPORTED',
      `${caller}: influences of single samples need update 'gradient'; no other update is a sum over samples`,
    );
  if (optimizer && update !== 'adam')
    fail('ERR_INVALID_ARG', `${caller}: optimizer is only used with update 'adam'`);
}

function checkTargets(model: Model, targets: readonly number[], probes: number): void {
  if (targets.length !== probes)
    fail('ERR_SHAPE', `${caller}: targets must have one token per probe (${probes}), got ${targets.length}`);
  const { vocabSize } = model.spec;
  for (const [i, target] of targets.entries())
    if (!(Number.isInteger(target) && target >= 0 && target < vocabSize))
      fail(
        'ERR_INVALID_ARG',
        `${caller}: targets[${i}] must be a token id in 0 … ${vocabSize - 1}, got ${target}`,
      );
}
