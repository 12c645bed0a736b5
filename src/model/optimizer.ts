/** AdamW with decoupled weight decay, fused in one native pass, as in torch.optim.AdamW; gradients are clipped by global L2 norm. */
import { type JobOptions, runJob } from '../core/job.js';
import { fail } from '../errors.js';
import { addon } from '../native/addon.js';
import type { NativeOptimizer, RealArray } from '../native/types.js';
import type { Model } from './model.js';

/** Settings of AdamW, by torch's names; the learning rate is given at each step. */
export interface AdamWOptions {
  /** Decay of the running averages of gradients and of their squares. Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Added to the root of the second moment. Default 1e-8. */
  readonly eps?: number;
  /** Decoupled: p ← p (1 − lr · weightDecay), for every trainable parameter. Default 0 (torch: 0.01). */
  readonly weightDecay?: number;
  /** Learning-rate multipliers by parameter name, first match wins: e.g. [{ match: /lm_head/, learningRateMultiplier: 10 }]. */
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

/** A copy of an optimizer's state, Float32Arrays or in a fp64 context Float64Arrays; zeros for what has never been trained. */
export interface OptimizerState {
  /** Updates made. */
  readonly step: number;
  /** By parameter name. */
  readonly expAvg: Readonly<Record<string, RealArray>>;
  readonly expAvgSq: Readonly<Record<string, RealArray>>;
}

/**
 * torch.optim.AdamW over a model's trainable parameters (Loshchilov & Hutter 2019): accumulateGradients() adds gradients, step() uses them up. Holds
 * two numbers a parameter in the context's memory; dispose() frees them.
 */
export class AdamW {
  readonly #model: Model;
  readonly #native: NativeOptimizer;
  readonly #betas: readonly [number, number];
  readonly #eps: number;
  readonly #weightDecay: number;
  readonly #lrScale: Float64Array;
  readonly #options: AdamWOptions;

  constructor(model: Model, options: AdamWOptions = {}) {
    const { betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0, groups = [] } = options;
    this.#options = options;
    this.#model = model;
    this.#native = new addon.Optimizer(model.native);
    this.#betas = betas;
    this.#eps = eps;
    this.#weightDecay = weightDecay;
    this.#lrScale = Float64Array.from(model.spec.parameters, (p) => groups.find((g) => g.match.test(p.name))?.learningRateMultiplier ?? 1);
  }

  /** An optimizer for a copy of the model (same parameters in the same order), with the same settings and state. */
  async cloneFor(model: Model): Promise<AdamW> {
    const copy = new AdamW(model, this.#options);
    await copy.loadState(await this.state());
    return copy;
  }

  /** Updates made so far, the t of the bias corrections. */
  get stepCount(): number {
    return this.#native.stepCount;
  }
  set stepCount(count: number) {
    this.#native.stepCount = count;
  }

  /**
   * Clips the trainable parameters' gradients, all together, to the L2 norm `maxGradNorm` (default 0 = no clipping), makes one update and zeroes the
   * gradients. `gradNorm` is the norm before clipping. When it is not finite, `applied` is false, and weights and moments are as they were.
   * @throws ERR_INVALID_ARG for a learning rate that is not a number ≥ 0.
   */
  step(options: { readonly learningRate: number; readonly maxGradNorm?: number } & JobOptions): Promise<{ gradNorm: number; applied: boolean }> {
    if (!(options.learningRate >= 0)) fail('ERR_INVALID_ARG', `AdamW.step: learningRate must be a number ≥ 0, got ${options.learningRate}`);
    return runJob(options, () => this.#native.step({
      lr: options.learningRate,
      beta1: this.#betas[0],
      beta2: this.#betas[1],
      eps: this.#eps,
      weightDecay: this.#weightDecay,
      maxGradNorm: options.maxGradNorm ?? 0,
      lrScale: this.#lrScale,
    }));
  }

  /** One parameter's moment, and from where a file stores it: checkpoints hold one tensor at a time in memory. */
  readMoment(name: string, which: Moment): Promise<RealArray> {
    return this.#native.readState(this.#index(name), which).promise;
  }
  /** Sets one parameter's moment from the numbers of a file. @throws ERR_IO. */
  loadMoment(name: string, which: Moment, { path, offset, dtype }: StoredNumbers): Promise<void> {
    return this.#native.loadState(this.#index(name), which, path, offset, dtype).promise;
  }
  #index(name: string): number {
    return this.#model.spec.parameters.findIndex((p) => p.name === name);
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
    for (const [index, { name }] of this.#model.spec.parameters.entries()) {
      const [m, v] = [state.expAvg[name], state.expAvgSq[name]];
      if (!m || !v) fail('ERR_CHECKPOINT', `AdamW.loadState: the state has no entry for parameter '${name}'`);
      await this.#native.writeState(index, 'exp_avg', m).promise;
      await this.#native.writeState(index, 'exp_avg_sq', v).promise;
    }
    this.#native.stepCount = state.step;
  }

  /** Frees the moments; the model stays. */
  dispose(): void {
    this.#native.dispose();
  }
}
