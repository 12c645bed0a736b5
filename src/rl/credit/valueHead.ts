/**
 * A value function for PPO: V = w·φ + b on the policy's own features φ (one trunk, as in trlX and early TRL;
 * TRL's PPOTrainer now trains a second network). It starts at 0 and has an AdamW of its own with the stage's
 * learning rate; its gradient is not clipped with the policy's.
 */
import type { Tensor } from '../../core/tensor.js';
import { kernels } from '../../kernels/index.js';
import type { Model } from '../../model/model.js';
import type { RealArray } from '../../core/addon/contract.js';
import type { CommonConfig } from '../config/config.js';

/** w, then b; plain numbers for a checkpoint. */
export interface ValueHeadState {
  readonly weight: readonly number[];
  readonly expAvg: readonly number[];
  readonly expAvgSq: readonly number[];
  readonly step: number;
}

export class ValueHead {
  readonly #model: Model;
  readonly #size: number;
  #weight: RealArray;
  #expAvg: RealArray;
  #expAvgSq: RealArray;
  #step: number;

  constructor(model: Model, state?: ValueHeadState) {
    const size = model.spec.hiddenSize + 1;
    const array = (values: readonly number[] = []) => {
      const out = model.context.math === 'fp64' ? new Float64Array(size) : new Float32Array(size);
      out.set(values);
      return out;
    };
    this.#model = model;
    this.#size = size - 1;
    this.#weight = array(state?.weight);
    this.#expAvg = array(state?.expAvg);
    this.#expAvgSq = array(state?.expAvgSq);
    this.#step = state?.step ?? 0;
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
    const { c } = await kernels.gemm(
      { a: { data, shape: [rows, this.#size] }, b: { data: this.weight, shape: [this.#size, 1] } },
      { context: this.#model.context },
    );
    return Float64Array.from(c.data, (v) => v + this.#weight[this.#size]!);
  }

  /** dL/dw and dL/db from dL/dV of every row. */
  async gradient(features: Tensor, dValues: RealArray): Promise<RealArray> {
    const data = await features.data();
    const [rows] = features.shape as [number];
    const out = this.#weight.map(() => 0) as RealArray;
    const { c } = await kernels.gemm(
      {
        a: { data, shape: [this.#size, rows], strides: [1, this.#size] },
        b: { data: dValues, shape: [rows, 1] },
      },
      { context: this.#model.context },
    );
    out.set(c.data);
    for (const d of dValues) out[this.#size]! += d;
    return out;
  }

  update(
    gradient: RealArray,
    lr: number,
    { adamBeta1, adamBeta2, adamEpsilon, weightDecay }: CommonConfig,
  ): void {
    const view = (data: RealArray) => ({ data, shape: [data.length] });
    kernels.adamwSync(
      {
        param: view(this.#weight),
        grad: gradient,
        exp_avg: view(this.#expAvg),
        exp_avg_sq: view(this.#expAvgSq),
        lr,
        beta1: adamBeta1,
        beta2: adamBeta2,
        eps: adamEpsilon,
        weight_decay: weightDecay,
        step: ++this.#step,
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
  const n = Math.max(values.length, 1);
  let [loss, clipped] = [0, 0];
  const gradient = values.map((value, i) => {
    const bounded = Math.min(Math.max(value, oldValues[i]! - cliprangeValue), oldValues[i]! + cliprangeValue);
    const [plain, limited] = [(value - returns[i]!) ** 2, (bounded - returns[i]!) ** 2];
    loss += Math.max(plain, limited) / 2 / n;
    if (limited > plain) ++clipped;
    return limited > plain ? 0 : (vfCoef * (value - returns[i]!)) / n;
  });
  return { loss, clipFraction: clipped / n, gradient };
}
