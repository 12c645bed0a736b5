/** Products with Jacobians and kernels that never form them. */
import { check, checkOptions, count, JOB, rule, type Rules } from '../core/check.js';
import { type JobOptions, runJob } from '../core/job.js';
import type { Sample } from '../model/batch.js';
import { flatten, type ParameterVectors } from '../model/derivatives.js';
import { type Model, modelRule } from '../model/model.js';
import { wantedMask } from '../model/parameters.js';
import { type Level, targetFunctions } from './functions.js';
import { checkKernelCall } from './gram.js';
import { byteBudget, GRADIENT_CALL, type GradientCallOptions, LEVEL } from './gradientCall.js';

const PRODUCT: Rules = { ...GRADIENT_CALL, ...LEVEL };
const LINEARIZE: Rules = { ...LEVEL, maxBytes: count };
const VECTOR = rule('a Float64Array', (value) => value instanceof Float64Array);

/**
 * K(x1, x2) v = J₁ (J₂ᵀ v) without K: one backward pass over x2, one forward-mode pass over x1. v has one
 * number per function of x2.
 */
export async function vectorProduct(
  model: Model,
  x1: readonly Sample[],
  x2: readonly Sample[] | null,
  v: Float64Array,
  options: GradientCallOptions & { readonly level?: Level } = {},
): Promise<Float64Array> {
  const caller = 'ntk.vectorProduct';
  checkKernelCall(caller, model, x2, options, PRODUCT);
  check(caller, 'v', v, VECTOR);
  const first = targetFunctions(caller, model, x1, options.level ?? 'sequence');
  const second = x2 ? targetFunctions(caller, model, x2, options.level ?? 'sequence') : first;
  return runJob(options, (onProgress) =>
    model.native.vectorProduct(
      first,
      second,
      v,
      { wanted: wantedMask(caller, model, options.params), maxBytes: byteBudget(caller, options.maxBytes) },
      onProgress,
    ),
  );
}

async function allParameters(model: Model): Promise<Float64Array> {
  const flat = new Float64Array(model.native.size);
  for (const { name, offset } of model.parameters()) flat.set(await model.getParameter(name), offset);
  return flat;
}

/**
 * The model linearised at its present weights: (θ, samples) → f(θ₀) + J (θ − θ₀), f as in `Sample`. θ names
 * what moved; the rest stays. The weights must not change while the result is in use.
 */
export async function linearize(
  model: Model,
  options: { readonly level?: Level; readonly maxBytes?: number } = {},
): Promise<(theta: ParameterVectors, samples: readonly Sample[], job?: JobOptions) => Promise<Float64Array>> {
  const caller = 'ntk.linearize';
  check(caller, 'model', model, modelRule);
  checkOptions(caller, options, LINEARIZE);
  const origin = await allParameters(model);
  return async (theta, samples, job) => {
    checkOptions(caller, job, JOB);
    const tangent = flatten(caller, model, theta, origin).map((value, i) => value - origin[i]!);
    const functions = targetFunctions(caller, model, samples, options.level ?? 'sequence');
    const { values, derivatives } = await runJob(job, (onProgress) =>
      model.native.linearModel(
        functions,
        tangent,
        { maxBytes: byteBudget(caller, options.maxBytes) },
        onProgress,
      ),
    );
    return values.map((value, i) => value + derivatives[i]!);
  };
}
