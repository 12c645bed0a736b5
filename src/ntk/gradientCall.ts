/** What every gradient call takes: a parameter filter and a byte budget. */
import { freemem } from 'node:os';

import { check, choice, count, JOB, type Rules } from '../core/check.js';
import type { JobOptions } from '../core/job.js';
import { fail } from '../errors.js';
import type { Model } from '../model/model.js';
import { filterRule, type ParameterFilter } from '../model/parameters.js';

export interface GradientCallOptions extends JobOptions {
  /** Which parameters count; default all, trainable or not. */
  readonly params?: ParameterFilter;
  /** Working memory and result together stay within this; default half of the free memory. */
  readonly maxBytes?: number;
}

export const GRADIENT_CALL: Rules = { ...JOB, params: filterRule, maxBytes: count };
export const LEVEL: Rules = { level: choice('sequence', 'token') };

export function byteBudget(caller: string, maxBytes: number | undefined): number {
  if (maxBytes === undefined) return Math.floor(freemem() / 2);
  check(caller, 'maxBytes', maxBytes, count);
  return maxBytes;
}

/** What is left of the budget for working memory beside a result. */
export function reserve(caller: string, budget: number, resultBytes: number, cheaper: string): number {
  if (resultBytes >= budget)
    fail(
      'ERR_OUT_OF_MEMORY',
      `${caller}: the result alone needs ${resultBytes} bytes, but maxBytes is ${budget}; ${cheaper}`,
    );
  return budget - resultBytes;
}

export const realBytes = (model: Model): number => (model.context.math === 'fp64' ? 8 : 4);
