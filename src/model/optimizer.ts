/**
 * AdamW with decoupled weight decay, fused in one native pass, as in torch.optim.AdamW; gradients are clipped
 * by global L2 norm.
 */
import { addon } from '../core/addon/addon.js';
import type { NativeAdamStep, NativeOptimizer, RealArray } from '../core/addon/contract.js';
import {
  check,
  checkOptions,
  JOB,
  listOf,
  natural,
  nonNegative,
  object,
  positive,
  required,
  rule,
  type Rules,
} from '../core/check.js';
import { type JobOptions, runJob } from '../core/job.js';
import { fail } from '../errors.js';
import { parameterIndex } from './parameters.js';
import { type ModelParts, modelRule } from './parts.js';

/** Settings of AdamW, by torch's names; the learning rate is given at each step. */
export interface AdamWOptions {
  /** Decay of the running averages of gradients and of their squares. Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Added to the root of the second moment. Default 1e-8. */
  readonly eps?: number;
  /** Decoupled: p ← p (1 − lr · weightDecay), for every trainable parameter. Default 0 (torch: 0.01). */
  readonly weightDecay?: number;
  /**
   * Learning-rate multipliers by parameter name, first match wins: e.g. [{ match: /lm_head/,
   * learningRateMultiplier: 10 }].
   */
  readonly groups?: readonly { readonly match: RegExp; readonly learningRateMultiplier: number }[];
}

/** Running averages of gradients and of their squares. */
export type Moment = 'exp_avg' | 'exp_avg_sq';
/** Numbers in a file, at a byte offset. */
export interface StoredNumbers {
  readonly path: string;
  readonly offset: number;
  readonly dtype: string;
}

/**
 * A copy of an optimizer's state, Float32Arrays or in a fp64 context Float64Arrays; zeros for what has never
 * been trained.
 */
export interface OptimizerState {
  /** Updates made. */
  readonly step: number;
  /** By parameter name. */
  readonly expAvg: Readonly<Record<string, RealArray>>;
  readonly expAvgSq: Readonly<Record<string, RealArray>>;
}

const isDecay = (value: unknown) => typeof value === 'number' && value >= 0 && value < 1;

function isGroup(value: unknown): boolean {
  const { match, learningRateMultiplier } = (value ?? {}) as Readonly<Record<string, unknown>>;
  return match instanceof RegExp && nonNegative.accepts(learningRateMultiplier);
}

const OPTIONS: Rules = {
  betas: rule(
    'two numbers in [0, 1)',
    (value) => Array.isArray(value) && value.length === 2 && value.every(isDecay),
  ),
  eps: positive,
  weightDecay: nonNegative,
  groups: listOf('an array of { match: RegExp, learningRateMultiplier: a number ≥ 0 }', isGroup),
};
const STATE: Rules = { step: required(natural), expAvg: required(object), expAvgSq: required(object) };
const STEP: Rules = { ...JOB, learningRate: required(nonNegative), maxGradNorm: nonNegative };

/**
 * torch.optim.AdamW over a model's trainable parameters (Loshchilov & Hutter 2019): accumulateGradients()
 * adds gradients, step() uses them up. Holds two numbers a parameter in the context's memory; dispose() frees
 * them.
 */
export class AdamW {
  readonly #model: ModelParts;
  readonly #native: NativeOptimizer;
  readonly #betas: readonly [number, number];
  readonly #eps: number;
  readonly #weightDecay: number;
  readonly #lrScale: Float64Array;
  readonly #options: AdamWOptions;

  constructor(model: ModelParts, options: AdamWOptions = {}) {
    check('AdamW', 'model', model, modelRule);
    checkOptions('AdamW', options, OPTIONS);
    const { betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0, groups = [] } = options;
    this.#options = options;
    this.#model = model;
    this.#native = new addon.Optimizer(model.native);
    this.#betas = betas;
    this.#eps = eps;
    this.#weightDecay = weightDecay;
    this.#lrScale = Float64Array.from(
      model.spec.parameters,
      (p) => groups.find((g) => g.match.test(p.name))?.learningRateMultiplier ?? 1,
    );
  }

  /**
   * An optimizer for a copy of the model (same parameters in the same order), with the same settings and
   * state.
   */
  async cloneFor(model: ModelParts): Promise<AdamW> {
    const copy = new AdamW(model, this.#options);
    await copy.loadState(await this.state());
    return copy;
  }

  /** Updates made so far, the t of the bias corrections. */
  get stepCount(): number {
    return this.#native.stepCount;
  }
  set stepCount(count: number) {
    check('AdamW', 'stepCount', count, natural);
    this.#native.stepCount = count;
  }

  /**
   * Clips the trainable parameters' gradients, all together, to the L2 norm `maxGradNorm` (default 0 = no
   * clipping), makes one update and zeroes the gradients. `gradNorm` is the norm before clipping. When it is
   * not finite, `applied` is false, and weights and moments are as they were.
   * @throws ERR_INVALID_ARG for a learning rate that is not a number ≥ 0.
   */
  step(
    options: { readonly learningRate: number; readonly maxGradNorm?: number } & JobOptions,
  ): Promise<{ gradNorm: number; applied: boolean }> {
    checkOptions('AdamW.step', options, STEP);
    return runJob(options, () => this.#native.step(this.nativeStep(options)));
  }

  /** @internal */
  get native(): NativeOptimizer {
    return this.#native;
  }
  /** @internal The settings of step(options). */
  nativeStep(options: { readonly learningRate: number; readonly maxGradNorm?: number }): NativeAdamStep {
    return {
      lr: options.learningRate,
      beta1: this.#betas[0],
      beta2: this.#betas[1],
      eps: this.#eps,
      weightDecay: this.#weightDecay,
      maxGradNorm: options.maxGradNorm ?? 0,
      lrScale: this.#lrScale,
    };
  }

  /**
   * One parameter's moment, and from where a file stores it: checkpoints hold one tensor at a time in memory.
   */
  async readMoment(name: string, which: Moment): Promise<RealArray> {
    return this.#native.readState(this.#index(name), which).promise;
  }
  /** Sets one parameter's moment from the numbers of a file. @throws ERR_IO. */
  async loadMoment(name: string, which: Moment, { path, offset, dtype }: StoredNumbers): Promise<void> {
    await this.#native.loadState(this.#index(name), which, path, offset, dtype).promise;
  }
  #index(name: string): number {
    return parameterIndex('AdamW', this.#model.spec, name);
  }

  /** A copy of the state, with loadState() on the same model as good as the original. */
  async state(): Promise<OptimizerState> {
    const expAvg: Record<string, RealArray> = {};
    const expAvgSq: Record<string, RealArray> = {};
    for (const [index, { name }] of this.#model.spec.parameters.entries()) {
      expAvg[name] = await this.#native.readState(index, 'exp_avg').promise;
      expAvgSq[name] = await this.#native.readState(index, 'exp_avg_sq').promise;
    }
    return { step: this.#native.stepCount, expAvg, expAvgSq };
  }

  /** Replaces the state. @throws ERR_CHECKPOINT when it lacks a parameter of the model. */
  async loadState(state: OptimizerState): Promise<void> {
    checkOptions('AdamW.loadState', state, STATE, { argument: 'state', noun: 'entry' });
    for (const [index, { name }] of this.#model.spec.parameters.entries()) {
      const m = state.expAvg[name];
      const v = state.expAvgSq[name];
      if (!m || !v) fail('ERR_CHECKPOINT', `AdamW.loadState: the state has no entry for parameter '${name}'`);
      await this.#native.writeState(index, 'exp_avg', m).promise;
      await this.#native.writeState(index, 'exp_avg_sq', v).promise;
    }
    this.stepCount = state.step;
  }

  /** Frees the moments; the model stays. */
  dispose(): void {
    this.#native.dispose();
  }
}
