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
  natural,
  orNull,
  positive,
  rule,
  type Rules,
} from '../../core/check.js';
import { camelCaseKeys } from '../../core/names.js';
import { fail } from '../../errors.js';
import type { ModelSpec, ParameterRole, ParameterSpec } from '../../core/addon/contract.js';
import type { Family } from '../families/family.js';
import { CLASSIFIER, moduleNames, type Named, savedBy, targetFilter } from './moduleNames.js';

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
   * Last parts of module names ('q_proj'), a pattern of whole names in Python's syntax, or 'all-linear'.
   * Default: peft's for the family.
   */
  readonly targetModules?: readonly string[] | string;
  /** Modules that are not adapted though targetModules names them; parts of names or a pattern, as there. */
  readonly excludeModules?: readonly string[] | string | null;
  /** Numbers of the layers that are adapted. Default: all. */
  readonly layersToTransform?: readonly number[] | number | null;
  /** What stands before a layer's number in module names ('layers', 'h'); a pattern. */
  readonly layersPattern?: readonly string[] | string | null;
  /** s = loraAlpha / √r. */
  readonly useRslora?: boolean;
  /**
   * Ends of names of modules that train in full and are saved with the adapter, e.g. the classifier
   * 'lm_head'. In a tied model the embedding and the classifier are two modules, as in peft: one that is not
   * named stays as it was.
   */
  readonly modulesToSave?: readonly string[] | null;
  /** 0: dropout is not implemented. */
  readonly loraDropout?: number;
}

/** With defaults filled in. */
export interface ResolvedPeftConfig {
  readonly r: number;
  readonly loraAlpha: number;
  readonly useRslora: boolean;
  readonly targetModules: readonly string[] | string;
  readonly excludeModules: readonly string[] | string | null;
  readonly layersToTransform: readonly number[] | number | null;
  readonly layersPattern: readonly string[] | string | null;
  readonly modulesToSave: readonly string[] | null;
}

const isName = (value: unknown) => typeof value === 'string' && value !== '';
const NAMES = listOf('an array of module names', isName);
const NAMES_OR_PATTERN = rule(
  'a pattern or an array of module names',
  (value) => typeof value === 'string' || NAMES.accepts(value),
);
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
  excludeModules: orNull(NAMES_OR_PATTERN),
  layersToTransform: orNull(
    rule(
      'a layer number or an array of them',
      (value) => natural.accepts(value) || (Array.isArray(value) && value.every(natural.accepts)),
    ),
  ),
  layersPattern: orNull(NAMES_OR_PATTERN),
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
    excludeModules = null,
    layersToTransform = null,
    layersPattern = null,
  } = config;
  // In files GPT-NeoX's classifier has a name of its own; peft knows the one in memory only.
  const inMemory = (name: string) => (name === family.classifierInFiles ? CLASSIFIER : name);
  if (loraDropout !== 0)
    fail(
      'ERR_UNSUPPORTED',
      `${caller}: peftConfig.loraDropout ${loraDropout} is not implemented: the log-probs that are sampled and ` +
        'those that are trained must be the same; use 0',
    );
  return {
    r,
    loraAlpha,
    useRslora,
    targetModules: typeof targetModules === 'string' ? targetModules : targetModules.map(inMemory),
    excludeModules,
    layersToTransform,
    layersPattern,
    modulesToSave: modulesToSave === null ? null : modulesToSave.map(inMemory),
  };
}

/**
 * Whether an adapter makes two of the matrix of a tied model: it saves the embedding or the classifier in
 * full.
 */
export function separatesClassifier(model: Named, { modulesToSave }: ResolvedPeftConfig): boolean {
  const embedding = model.spec.parameters.find(({ role }) => role === 'embedding')!;
  const modules = [moduleNames(model)(embedding), CLASSIFIER];
  return modules.some((module) => savedBy(module, modulesToSave ?? []).length > 0);
}

/**
 * The description with adapters at its end. @throws ERR_INVALID_ARG when a target matches nothing or is not a
 * linear layer.
 */
export function withAdapters(caller: string, { family, spec }: Named, config: ResolvedPeftConfig): ModelSpec {
  const { r, loraAlpha, useRslora } = config;
  const moduleOf = moduleNames({ family, spec });
  const targets = targetsOf(caller, spec, config, moduleOf);
  const adapters = targets.flatMap((p) => adapterOf(spec, p, r));
  const ends = config.modulesToSave ?? [];
  checkModulesToSave(caller, spec.parameters.map(moduleOf), targets.map(moduleOf), ends);
  const parameters = spec.parameters.map(
    (p): ParameterSpec => (savedBy(moduleOf(p), ends).length > 0 ? { ...p, savedWithAdapter: true } : p),
  );
  return {
    ...spec,
    loraScale: loraAlpha / (useRslora ? Math.sqrt(r) : r),
    parameters: [...parameters, ...adapters],
  };
}

/** The weights that are adapted. */
function targetsOf(
  caller: string,
  spec: ModelSpec,
  config: ResolvedPeftConfig,
  moduleOf: (parameter: ParameterSpec) => string,
): ParameterSpec[] {
  const linear = spec.parameters.filter((p) => LINEAR.includes(p.role));
  const wanted = targetFilter(caller, config, new Set(linear.map(moduleOf)));
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
      `${caller}: peftConfig.targetModules ${JSON.stringify(config.targetModules)} matches no module; ` +
        `linear layers are ${linearNames}`,
    );
  return matched;
}

/** A [r, in] and B [out, r] beside a linear weight. */
function adapterOf(spec: ModelSpec, weight: ParameterSpec, r: number): ParameterSpec[] {
  const [rows, columns] = weight.shape as [number, number];
  const [out, input] = spec.transposedLinears ? [columns, rows] : [rows, columns];
  const common = { layer: weight.layer, target: spec.parameters.indexOf(weight) };
  const module = weight.name.replace(/\.weight$/, '');
  return [
    { ...common, name: `${module}.lora_A.weight`, role: 'lora_A', shape: [r, input] },
    { ...common, name: `${module}.lora_B.weight`, role: 'lora_B', shape: [out, r] },
  ];
}

function checkModulesToSave(
  caller: string,
  modules: readonly string[],
  targets: readonly string[],
  ends: readonly string[],
): void {
  const unknown = ends.find((end) => !modules.some((module) => savedBy(module, [end]).length > 0));
  if (unknown !== undefined)
    fail(
      'ERR_INVALID_ARG',
      `${caller}: peftConfig.modulesToSave '${unknown}' matches no module; ` +
        `names look like '${modules[0]!}' and '${CLASSIFIER}'`,
    );
  const twice = modules.find((module) => savedBy(module, ends).length > 1);
  if (twice !== undefined)
    fail(
      'ERR_UNSUPPORTED',
      `${caller}: peftConfig.modulesToSave names ${savedBy(twice, ends).join(' and ')}, one of which lies in the ` +
        'other (names match by their ends); name one of them',
    );
  const both = targets.find((module) => savedBy(module, ends).length > 0);
  if (both !== undefined)
    fail(
      'ERR_UNSUPPORTED',
      `${caller}: ${both} is a LoRA target and also in peftConfig.modulesToSave (names match by their ends); ` +
        'leave it out of one of them',
    );
}

/** What trains beside an adapted model's frozen weights, and is saved with the adapter. */
export const trainsWithAdapter = (p: ParameterSpec): boolean => isAdapter(p) || p.savedWithAdapter === true;
