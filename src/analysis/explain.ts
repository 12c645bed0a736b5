/**
 * What one update does to the policy, before and after it is taken (A. Tomihari, arXiv 2601.04670).
 *   Δ log π(·|s) ≈ T_s Δz(s),  T_s = I − 1 π(·|s)ᵀ,  Δz = ΔW φ(s)  +  W ∂φ(s)/∂θ_φ Δθ_φ
 *                                                     representation   gradient
 * The plain update is ascent on J = (1/N) Σ_i advantage_i f_i, f_i = Σ log π of sample i's scored tokens:
 * Δθ = η ∇J. A tied matrix moves by the gradients of both its uses; what each use's gradient does through the
 * other use is the cross component. All of it is computed in one native call, whose equations are in
 * native/analysis/explain.h; this file says what the call is made of and names what comes back.
 */
import type {
  NativeExplainOptions,
  NativeExplanation,
  NativePrefixes,
  NativeProbeExplanation,
} from '../core/addon/contract.js';
import { runJob } from '../core/job.js';
import { packPrefixes, packSamples } from '../model/batch.js';
import { flatten } from '../model/derivatives.js';
import type { Model } from '../model/model.js';
import { targetFunctions } from '../ntk/functions.js';
import { byteBudget } from '../ntk/gradientCall.js';
import { type AdvantageSample, caller, checkCall, type ExplainOptions } from './explainOptions.js';
import type { Explanation, Influence, ProbeExplanation } from './explanation.js';

/**
 * Predicts what a step does to the next-token distribution of every probe (a prefix), takes the step on a
 * scratch copy, and compares. Only trainable parameters move in 'gradient' and 'adam'. Logits at temperature
 * 1.
 * @throws ERR_INVALID_ARG (no probes, a probe longer than the context, a bad sample, advantage, option or Δθ
 * name, weights that are not finite),
 *   ERR_SHAPE, ERR_UNSUPPORTED.
 */
export async function explainStep(
  model: Model,
  batch: readonly AdvantageSample[],
  probes: readonly (readonly number[])[],
  options: ExplainOptions = {},
): Promise<Explanation> {
  checkCall(model, batch, probes, options);
  const prefixes = prefixesOf(model, probes);
  const native = {
    ...batchOf(model, batch),
    ...updateOf(model, options),
    ...detailsOf(model, batch, options),
  };
  const found = await runJob(options, (onProgress) => model.native.explainStep(prefixes, native, onProgress));
  const { probes: explained, influences: _, ...whole } = found;
  return {
    ...whole,
    probes: explained.map((probe, p) => probeOf(model, probe, options, influencesOf(found, p, options))),
    applied: options.apply === true,
  };
}

function prefixesOf(model: Model, probes: readonly (readonly number[])[]): NativePrefixes {
  const { packed, row } = packPrefixes(caller, model, probes, 'probes');
  return { ...packed, rows: Int32Array.from(row) };
}

function batchOf(
  model: Model,
  batch: readonly AdvantageSample[],
): Pick<NativeExplainOptions, 'batch' | 'advantages'> {
  return {
    batch: packSamples(caller, model, batch),
    advantages: Float64Array.from(batch, ({ advantage }) => advantage),
  };
}

type Update = Pick<NativeExplainOptions, 'update' | 'learningRate' | 'optimizer' | 'adam' | 'step'>;

/** Where the step comes from. */
function updateOf(model: Model, options: ExplainOptions): Update {
  const { update = 'gradient', learningRate = 0, maxGradNorm = 0, optimizer } = options;
  if (typeof update !== 'string') return { update: 'given', step: flatten(caller, model, update) };
  if (update === 'gradient') return { update, learningRate };
  if (!optimizer) return { update, adam: { lr: learningRate, maxGradNorm } };
  return {
    update,
    optimizer: optimizer.native,
    adam: optimizer.nativeStep({ learningRate, maxGradNorm }),
  };
}

type Details = Pick<NativeExplainOptions, 'layers' | 'apply' | 'targets' | 'influences'>;

/** In how much detail it is explained. */
function detailsOf(model: Model, batch: readonly AdvantageSample[], options: ExplainOptions): Details {
  const { layers = false, apply = false, targets, influences, maxBytes } = options;
  return {
    layers,
    apply,
    ...(targets ? { targets: Int32Array.from(targets) } : {}),
    ...(influences
      ? {
          influences: {
            samples: targetFunctions(caller, model, batch, 'sequence'),
            maxBytes: byteBudget(caller, maxBytes),
          },
        }
      : {}),
  };
}

function probeOf(
  model: Model,
  { layers, ...probe }: NativeProbeExplanation,
  options: ExplainOptions,
  influences: readonly Influence[] | undefined,
): ProbeExplanation {
  const names = layerNames(model);
  return {
    ...probe,
    ...(options.layers ? { layers: layers.map((change, l) => ({ name: names[l]!, change })) } : {}),
    ...(influences ? { influences } : {}),
  };
}

/** The groups of parameters that the gradient component is reported by, from the input up. */
const layerNames = (model: Model): string[] => [
  'embedding',
  ...Array.from({ length: model.spec.layers }, (_, l) => `layer ${l}`),
  'final norm',
];

/** The samples that move probe p's target most, largest first. */
function influencesOf(
  { influences }: NativeExplanation,
  p: number,
  options: ExplainOptions,
): Influence[] | undefined {
  if (!influences) return undefined;
  const [representations, gradients, crosses] = [
    influences.representation[p]!,
    influences.gradient[p]!,
    influences.cross[p]!,
  ];
  const all = Array.from(representations, (representation, sample): Influence => {
    const gradient = gradients[sample]!;
    const cross = crosses[sample]!;
    return { sample, representation, gradient, cross, total: representation + gradient + cross };
  });
  all.sort((a, b) => Math.abs(b.total) - Math.abs(a.total) || a.sample - b.sample);
  return all.slice(0, options.influences?.top ?? all.length);
}
