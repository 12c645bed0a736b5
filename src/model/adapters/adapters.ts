/**
 * LoRA (Hu et al. 2021, 2106.09685) on linear layers, by peft's names and in peft's files: y = W x + s · B A
 * x with A [r, in], B [out, r] and s = loraAlpha / r. Adapters are parameters like any other; the weights
 * beside them are frozen.
 */
import {
  anything,
  checkOptions,
  count,
  flag,
  listOf,
  orNull,
  positive,
  rule,
  type Rules,
} from '../../core/check.js';
import { camelCaseKeys } from '../../core/names.js';
import { fail } from '../../errors.js';
import type { ModelSpec, ParameterRole, ParameterSpec } from '../../core/addon/contract.js';
import type { Family } from '../families/family.js';

/**
 * LoRA adapters (Hu et al. 2021, 2106.09685) by peft's names, in camelCase or snake_case: y = W x + s · B A
 * x, A [r, in], B [out, r], s = loraAlpha / r. The weights beside them are frozen.
 */
export interface PeftConfig {
  /** Rank of the adapters. Default 8. */
  readonly r?: number;
  /** Default 8. */
  readonly loraAlpha?: number;
  /**
   * Ends of module names ('q_proj'), a pattern of whole names, or 'all-linear'. Default: peft's for the
   * family.
   */
  readonly targetModules?: readonly string[] | string;
  /** s = loraAlpha / √r. */
  readonly useRslora?: boolean;
  /** Ends of names of modules that train in full and are saved with the adapter, e.g. the classifier. */
  readonly modulesToSave?: readonly string[] | null;
  /** 0: dropout is not implemented. */
  readonly loraDropout?: number;
}

/** With defaults filled in and targets found. */
export interface ResolvedPeftConfig {
  readonly r: number;
  readonly loraAlpha: number;
  readonly useRslora: boolean;
  readonly targetModules: readonly string[] | string;
  readonly modulesToSave: readonly string[] | null;
}

const isName = (value: unknown) => typeof value === 'string' && value !== '';
const NAMES = listOf('an array of module names', isName);
const OPTIONS: Rules = {
  r: count,
  loraAlpha: positive,
  useRslora: flag,
  loraDropout: anything,
  modulesToSave: orNull(NAMES),
  targetModules: rule(
    "'all-linear', a pattern or an array of module names",
    (value) => isName(value) || NAMES.accepts(value),
  ),
};
const LINEAR: readonly ParameterRole[] = [
  'q',
  'k',
  'v',
  'qkv',
  'attention_out',
  'mlp_gate',
  'mlp_up',
  'mlp_down',
];

export const isAdapter = (p: { readonly role: ParameterRole }): boolean =>
  p.role === 'lora_A' || p.role === 'lora_B';
const moduleOf = (p: ParameterSpec): string => p.name.replace(/\.(weight|bias)$/, '');
const endsWith = (module: string, ends: readonly string[]): boolean =>
  ends.some((end) => module === end || module.endsWith(`.${end}`));

/**
 * snake_case names are accepted too. @throws ERR_INVALID_ARG naming the option, ERR_UNSUPPORTED for dropout.
 */
export function resolvePeftConfig(caller: string, family: Family, given: PeftConfig): ResolvedPeftConfig {
  const config = camelCaseKeys(given) as PeftConfig;
  checkOptions(`${caller}: peftConfig`, config, OPTIONS);
  const {
    r = 8,
    loraAlpha = 8,
    useRslora = false,
    loraDropout = 0,
    modulesToSave = null,
    targetModules = family.loraTargets,
  } = config;
  if (loraDropout !== 0)
    fail(
      'ERR_UNSUPPORTED',
      `${caller}: peftConfig.loraDropout ${loraDropout} is not implemented: the log-probs that are sampled and ` +
        'those that are trained must be the same; use 0',
    );
  return { r, loraAlpha, useRslora, targetModules, modulesToSave };
}

/**
 * The description with adapters at its end. @throws ERR_INVALID_ARG when a target matches nothing or is not a
 * linear layer.
 */
export function withAdapters(caller: string, spec: ModelSpec, config: ResolvedPeftConfig): ModelSpec {
  const { r, loraAlpha, useRslora } = config;
  const adapters = targetsOf(caller, spec, config).flatMap((p) => adapterOf(spec, p, r));
  checkModulesToSave(caller, spec, config.modulesToSave ?? []);
  return {
    ...spec,
    loraScale: loraAlpha / (useRslora ? Math.sqrt(r) : r),
    parameters: [...spec.parameters, ...adapters],
  };
}

/** The weights that targetModules names. */
function targetsOf(caller: string, spec: ModelSpec, { targetModules }: ResolvedPeftConfig): ParameterSpec[] {
  const linear = spec.parameters.filter((p) => LINEAR.includes(p.role));
  const wanted = moduleFilter(targetModules, new Set(linear.map(moduleOf)));
  const matched = spec.parameters.filter((p) => p.name.endsWith('.weight') && wanted(moduleOf(p)));
  const linearNames = [...new Set(linear.map((p) => moduleOf(p).split('.').at(-1)!))].join(', ');
  const other = matched.find((p) => !linear.includes(p));
  if (other)
    fail(
      'ERR_UNSUPPORTED',
      `${caller}: peftConfig.targetModules names ${moduleOf(other)}, which is no linear layer of the body; ` +
        `linear are ${linearNames}; name it in modulesToSave to train it in full`,
    );
  if (matched.length === 0)
    fail(
      'ERR_INVALID_ARG',
      `${caller}: peftConfig.targetModules ${JSON.stringify(targetModules)} matches no module; ` +
        `linear layers are ${linearNames}`,
    );
  return matched;
}

/** Which modules are meant; `linear`: what 'all-linear' means. */
function moduleFilter(
  targets: ResolvedPeftConfig['targetModules'],
  linear: ReadonlySet<string>,
): (module: string) => boolean {
  if (targets === 'all-linear') return (module) => linear.has(module);
  if (typeof targets !== 'string') return (module) => endsWith(module, targets);
  const pattern = new RegExp(`^(?:${targets})$`);
  return (module) => pattern.test(module);
}

/** A [r, in] and B [out, r] beside a linear weight. */
function adapterOf(spec: ModelSpec, weight: ParameterSpec, r: number): ParameterSpec[] {
  const [rows, columns] = weight.shape as [number, number];
  const [out, input] = spec.transposedLinears ? [columns, rows] : [rows, columns];
  const common = { layer: weight.layer, target: spec.parameters.indexOf(weight) };
  const module = moduleOf(weight);
  return [
    { ...common, name: `${module}.lora_A.weight`, role: 'lora_A', shape: [r, input] },
    { ...common, name: `${module}.lora_B.weight`, role: 'lora_B', shape: [out, r] },
  ];
}

function checkModulesToSave(caller: string, { parameters }: ModelSpec, ends: readonly string[]): void {
  const matches = (end: string) => parameters.some((p) => endsWith(moduleOf(p), [end]));
  const unknown = ends.find((end) => !matches(end));
  if (unknown !== undefined)
    fail(
      'ERR_INVALID_ARG',
      `${caller}: peftConfig.modulesToSave '${unknown}' matches no module; ` +
        `names look like '${moduleOf(parameters[0]!)}'`,
    );
}

/** What trains beside an adapted model's frozen weights, and is saved with the adapter. */
export const trainsWithAdapter = (p: ParameterSpec, { modulesToSave }: ResolvedPeftConfig): boolean =>
  isAdapter(p) || endsWith(moduleOf(p), modulesToSave ?? []);
