/**
 * Modules as peft sees them: by the names that they have in transformers' memory. Files may have other names:
 * a headless checkpoint lacks the base model's prefix, and GPT-NeoX's classifier is `embed_out` in files and
 * `lm_head` in memory.
 */
import type { ModelSpec, ParameterSpec } from '../../core/addon/contract.js';
import { fail } from '../../errors.js';
import type { Family } from '../families/family.js';
import { pythonFullMatch, pythonMatch } from './pythonPattern.js';

/** Whose modules are named: a family, and the parameters of one of its models. */
export interface Named {
  readonly family: Family;
  readonly spec: ModelSpec;
}

const withoutKind = (name: string): string => name.replace(/\.(weight|bias)$/, '');
/** transformers' name for what is `lm_head` in the families here, and the name in files where it differs. */
export const CLASSIFIER = 'lm_head';

/** The module of a parameter, in memory. */
export function moduleNames({ family, spec }: Named): (parameter: ParameterSpec) => string {
  const { basePrefix = '' } = family;
  const isBare = basePrefix !== '' && !spec.parameters.some((p) => p.name.startsWith(basePrefix));
  return ({ name, role }) => {
    if (role === 'classifier') return CLASSIFIER;
    return (isBare ? basePrefix : '') + withoutKind(name);
  };
}

/** A module and all that it lies in: 'a.b.c', 'a.b', 'a'. */
function lineage(module: string): string[] {
  const parts = module.split('.');
  return parts.map((_, index) => parts.slice(0, parts.length - index).join('.'));
}

/**
 * What modules_to_save takes from a module's lineage: peft matches every module's name by plain endswith(),
 * so that 'norm' is also 'input_layernorm', and 'mlp' all that lies in it.
 */
export const savedBy = (module: string, ends: readonly string[]): string[] =>
  lineage(module).filter((name) => ends.some((end) => name.endsWith(end)));

/** What chooses the modules that are adapted. Names and meanings are peft's. */
export interface Targets {
  readonly targetModules: readonly string[] | string;
  readonly excludeModules: readonly string[] | string | null;
  readonly layersToTransform: readonly number[] | number | null;
  readonly layersPattern: readonly string[] | string | null;
  readonly modulesToSave: readonly string[] | null;
}

const isListed = (module: string, names: readonly string[]): boolean =>
  names.some((name) => module === name || module.endsWith(`.${name}`));

/** A list of names, or a pattern of whole names. */
function selector(what: string, selection: readonly string[] | string): (module: string) => boolean {
  if (typeof selection === 'string') return pythonFullMatch(what, selection);
  return (module) => isListed(module, selection);
}

/** Which modules are adapted; `linear`: what 'all-linear' means. @throws ERR_INVALID_ARG for a pattern. */
export function targetFilter(
  caller: string,
  targets: Targets,
  linear: ReadonlySet<string>,
): (module: string) => boolean {
  const { targetModules, excludeModules, modulesToSave } = targets;
  const isShorthand = typeof targetModules === 'string' && targetModules.toLowerCase() === 'all-linear';
  const isTarget = isShorthand
    ? (module: string) => linear.has(module)
    : selector(`${caller}: peftConfig.targetModules`, targetModules);
  const excluded = excludeModules?.length
    ? selector(`${caller}: peftConfig.excludeModules`, excludeModules)
    : () => false;
  const saved = (modulesToSave ?? []).map((name) =>
    pythonFullMatch(`${caller}: peftConfig.modulesToSave`, `(^|.*\\.)${name}($|\\..*)`),
  );
  const isInLayer = layerFilter(caller, targets);
  return (module) => {
    if (excluded(module) || saved.some((matches) => matches(module))) return false;
    return isTarget(module) && isInLayer(module);
  };
}

/** peft's layers_to_transform and layers_pattern. */
function layerFilter(
  caller: string,
  { targetModules, layersToTransform, layersPattern }: Targets,
): (module: string) => boolean {
  const layers = [layersToTransform ?? []].flat();
  const patterns = [layersPattern ?? []].flat().filter((pattern) => pattern !== '');
  if (patterns.length > 0 && layersToTransform === null)
    fail('ERR_INVALID_ARG', `${caller}: peftConfig.layersPattern needs layersToTransform; give both`);
  if (typeof targetModules === 'string' && (layersToTransform !== null || patterns.length > 0))
    fail(
      'ERR_INVALID_ARG',
      `${caller}: peftConfig.layersToTransform and layersPattern need targetModules to be an array of names, ` +
        `got '${targetModules}'; say in the pattern which layers are meant`,
    );
  if (layers.length === 0) return () => true;
  const what = `${caller}: peftConfig.layersPattern`;
  const indices =
    patterns.length === 0
      ? [pythonMatch(what, '.*?\\.[^.]*\\.(?P<idx>\\d+)\\.')]
      : patterns.map((pattern) => pythonMatch(what, `(?:^|.*?\\.)${pattern}\\.(?P<idx>\\d+)\\.`));
  return (module) => {
    const found = indices.map((match) => match(module)).find((groups) => groups !== undefined);
    return found?.['idx'] !== undefined && layers.includes(Number(found['idx']));
  };
}
