/**
 * A value function for PPO: V = w·φ + b on the policy's own features φ (one trunk, as in trlX and early TRL;
 * TRL's PPOTrainer now trains a second network). It starts at 0 and has an AdamW of its own with the stage's
 * learning rate; its gradient is not clipped with the policy's.
 */
import type { RealArray } from '../../core/addon/contract.js';
import type { Tensor } from '../../core/tensor.js';
import { kernels } from '../../kernels/index.js';
import type { Model } from '../../model/model.js';
import type { CommonConfig } from '../config/config.js';

/** Of AdamW too; plain numbers for a checkpoint. */
export interface ValueHeadState {
  /** w (hiddenSize numbers), then b; the moments likewise. */
  readonly weight: readonly number[];
  readonly expAvg: readonly number[];
  readonly expAvgSq: readonly number[];
  readonly step: number;
}

export function freshValueHead(hiddenSize: number): ValueHeadState {
  const zeros = new Array<number>(hiddenSize + 1).fill(0);
  return { weight: zeros, expAvg: zeros, expAvgSq: zeros, step: 0 };
}

/** A head in the model's precision, made from its state for the computations of a step. */
export class ValueHead {
  readonly #model: Model;
  /** Of φ: the model's hiddenSize. */
  readonly #size: number;
  readonly #weight: RealArray;
  readonly #expAvg: RealArray;
  readonly #expAvgSq: RealArray;
  #step: number;

  constructor(model: Model, state: ValueHeadState) {
    const RealArray = model.context.math === 'fp64' ? Float64Array : Float32Array;
    this.#model = model;
    this.#size = model.spec.hiddenSize;
    this.#weight = RealArray.from(state.weight);
    this.#expAvg = RealArray.from(state.expAvg);
    this.#expAvgSq = RealArray.from(state.expAvgSq);
    this.#step = state.step;
  }

  state(): ValueHeadState {
    return {
      weight: [...this.#weight],
      expAvg: [...this.#expAvg],
      expAvgSq: [...this.#expAvgSq],
      step: this.#step,
    };
  }

  /** w, for the gradient that reaches the trunk. */
  get weight(): RealArray {
    return this.#weight.slice(0, this.#size);
  }

  /** One value per row of features (rows, hiddenSize). */
  async values(features: Tensor): Promise<Float64Array> {
    const data = await features.data();
    const [rows] = features.shape as [number];
    const { c: products } = await kernels.gemm(
      { a: { data, shape: [rows, this.#size] }, b: { data: this.weight, shape: [this.#size, 1] } },
      { context: this.#model.context },
    );
    const bias = this.#weight[this.#size]!;
    return Float64Array.from(products.data, (product) => product + bias);
  }

  /** dL/dw and dL/db from dL/dV of every row. */
  async gradient(features: Tensor, dValues: RealArray): Promise<RealArray> {
    const data = await features.data();
    const [rows] = features.shape as [number];
    const { c: dWeight } = await kernels.gemm(
      {
        a: { data, shape: [this.#size, rows], strides: [1, this.#size] },
        b: { data: dValues, shape: [rows, 1] },
      },
      { context: this.#model.context },
    );
    const gradient = this.#weight.map(() => 0) as RealArray;
    gradient.set(dWeight.data);
    for (const dValue of dValues) gradient[this.#size]! += dValue;
    return gradient;
  }

  /** One step of AdamW. */
  update(
    gradient: RealArray,
    learningRate: number,
    { adamBeta1, adamBeta2, adamEpsilon, weightDecay }: CommonConfig,
  ): void {
    const view = (data: RealArray) => ({ data, shape: [data.length] });
    this.#step += 1;
    kernels.adamwSync(
      {
        param: view(this.#weight),
        grad: gradient,
        exp_avg: view(this.#expAvg),
        exp_avg_sq: view(this.#expAvgSq),
        lr: learningRate,
        beta1: adamBeta1,
        beta2: adamBeta2,
        eps: adamEpsilon,
        weight_decay: weightDecay,
        step: this.#step,
      },
      { context: this.#model.context },
    );
  }
}

export interface ValueLoss {
  /** ½ mean of the larger of (V − R)² and (clip(V, V_old ± cliprangeValue) − R)², as TRL's vf_loss. */
  readonly loss: number;
  readonly clipFraction: number;
  /** dL/dV, vfCoef included. */
  readonly gradient: Float64Array;
}

export function valueLoss(
  values: Float64Array,
  oldValues: ArrayLike<number>,
  returns: ArrayLike<number>,
  { vfCoef, cliprangeValue }: { readonly vfCoef: number; readonly cliprangeValue: number },
): ValueLoss {
  const count = Math.max(values.length, 1);
  let loss = 0;
  let clipped = 0;
  const gradient = values.map((value, n) => {
    const least = oldValues[n]! - cliprangeValue;
    const most = oldValues[n]! + cliprangeValue;
    const bounded = Math.min(Math.max(value, least), most);
    const squared = (value - returns[n]!) ** 2;
    const squaredBounded = (bounded - returns[n]!) ** 2;
    const isClipped = squaredBounded > squared;
    loss += Math.max(squared, squaredBounded) / 2 / count;
    if (isClipped) ++clipped;
    return isClipped ? 0 : (vfCoef * (value - returns[n]!)) / count;
  });
  return { loss, clipFraction: clipped / count, gradient };
}
