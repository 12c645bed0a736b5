/** Per-sample gradients and logit Jacobians as matrices, and gradient norms without them. */
import { check, checkOptions, rule, type Rules } from '../core/check.js';
import { runJob } from '../core/job.js';
import { Tensor } from '../core/tensor.js';
import { fail } from '../errors.js';
import { checkSamples, type Sample } from '../model/batch.js';
import { type Model, modelRule } from '../model/model.js';
import { wantedMask } from '../model/parameters.js';
import type { NativeFunctions } from '../core/addon/contract.js';
import { lastLogitFunctions, type Level, targetFunctions } from './functions.js';
import { gram } from './gram.js';
import {
  byteBudget,
  GRADIENT_CALL,
  type GradientCallOptions,
  LEVEL,
  realBytes,
  reserve,
} from './gradientCall.js';

const GRADIENTS: Rules = { ...GRADIENT_CALL, ...LEVEL };
const JACOBIAN: Rules = {
  ...GRADIENT_CALL,
  outputs: rule("'all' or an array of token ids", (value) => value === 'all' || Array.isArray(value)),
};

/** Where a parameter's numbers lie in a row. */
export interface LayoutEntry {
  readonly name: string;
  /** In elements. */
  readonly offset: number;
  readonly shape: readonly number[];
}

function layoutOf(model: Model, wanted: Uint8Array): { layout: LayoutEntry[]; width: number } {
  let width = 0;
  const layout: LayoutEntry[] = [];
  model.parameters().forEach(({ name, shape, size }, i) => {
    if (wanted[i] !== 1) return;
    layout.push({ name, offset: width, shape });
    width += size;
  });
  return { layout, width };
}

/** The gradients of functions as rows over the chosen parameters, within the budget. */
async function rows(caller: string, model: Model, functions: NativeFunctions, options: GradientCallOptions) {
  const wanted = wantedMask(caller, model, options.params);
  const { layout, width } = layoutOf(model, wanted);
  const result = realBytes(model) * functions.sequence.length * width;
  const maxBytes = reserve(
    caller,
    byteBudget(caller, options.maxBytes),
    result,
    `${functions.sequence.length} × ${width} numbers: choose parameters with params, use fewer samples, or ask ` +
      'ntk.gram for their products instead',
  );
  const native = await runJob(options, (onProgress) =>
    model.native.perSampleGradients(functions, { wanted, maxBytes }, onProgress),
  );
  return { tensor: new Tensor(native), layout, width };
}

/**
 * ∇f of every sample, (n, P) over the chosen parameters. @throws ERR_OUT_OF_MEMORY naming the bytes and the
 * cheaper call.
 */
export async function perSampleGradients(
  model: Model,
  samples: readonly Sample[],
  options: GradientCallOptions & { readonly level?: Level } = {},
): Promise<{ gradients: Tensor; layout: LayoutEntry[] }> {
  const caller = 'perSampleGradients';
  checkOptions(caller, options, GRADIENTS);
  const { tensor, layout } = await rows(
    caller,
    model,
    targetFunctions(caller, model, samples, options.level ?? 'sequence'),
    options,
  );
  return { gradients: tensor, layout };
}

/**
 * ‖∇f‖₂ of every sample; a tied matrix counts once, with both its uses. Memory does not grow with the number
 * of samples.
 */
export async function perSampleGradientNorms(
  model: Model,
  samples: readonly Sample[],
  options: GradientCallOptions = {},
): Promise<Float64Array> {
  const caller = 'perSampleGradientNorms';
  check(caller, 'model', model, modelRule);
  checkOptions(caller, options, GRADIENT_CALL);
  checkSamples(caller, samples);
  const norms = new Float64Array(samples.length);
  for (const [i, sample] of samples.entries()) {
    const { kernel } = await gram(model, [sample], null, { ...options, onProgress: undefined });
    norms[i] = Math.sqrt(kernel[0]!);
    options.onProgress?.(i + 1, samples.length);
  }
  return norms;
}

/** ∂z_v/∂θ at the last position of each prefix, (n, k, P): k = the chosen outputs, in their order. */
export async function jacobian(
  model: Model,
  prefixes: readonly (readonly number[])[],
  options: GradientCallOptions & { readonly outputs?: readonly number[] | 'all' } = {},
): Promise<{ jacobian: Tensor; layout: LayoutEntry[] }> {
  const caller = 'jacobian';
  check(caller, 'model', model, modelRule);
  checkOptions(caller, options, JACOBIAN);
  const V = model.spec.vocabSize;
  const outputs =
    options.outputs === undefined || options.outputs === 'all'
      ? Array.from({ length: V }, (_, v) => v)
      : options.outputs;
  for (const v of outputs)
    if (!(Number.isInteger(v) && v >= 0 && v < V))
      fail('ERR_INVALID_ARG', `${caller}: outputs must be ids in 0 … ${V - 1}, got ${v}`);
  const { tensor, layout, width } = await rows(
    caller,
    model,
    lastLogitFunctions(caller, model, prefixes, outputs),
    options,
  );
  const shaped = Tensor.from(model.context, await tensor.data(), [prefixes.length, outputs.length, width]);
  tensor.dispose();
  return { jacobian: shaped, layout };
}
