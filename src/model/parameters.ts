/** A model's parameters: listing them, choosing some by name, and which of them train. */
import type { ModelSpec, ParameterRole, ParameterSpec } from '../core/addon/contract.js';
import { check, rule, type Rule, text } from '../core/check.js';
import { fail, suggestion } from '../errors.js';
import { type ResolvedPeftConfig, trainsWithAdapter } from './adapters/adapters.js';

/** A parameter of a model, as Model.parameters() lists it. */
export interface ParameterInfo {
  /** The checkpoint's own name and shape. */
  readonly name: string;
  readonly shape: readonly number[];
  /** What it is to the engine, e.g. 'embedding', 'q', 'mlp_up', 'final_norm', 'classifier'. */
  readonly role: ParameterRole;
  /** The layer it belongs to, from 0; −1 outside the layers. */
  readonly layer: number;
  /** Numbers in it. */
  readonly size: number;
  /** Where it begins in the flat parameter vector, in elements. */
  readonly offset: number;
  /** Whether accumulateGradients() and optimizers concern it (setTrainable). */
  readonly trainable: boolean;
}

/** Chooses parameters: a RegExp is matched against names. */
export type ParameterFilter = RegExp | ((parameter: ParameterInfo) => boolean);

/** Whatever has parameters: a Model. */
export interface HasParameters {
  /** The architecture as the engine sees it. */
  readonly spec: ModelSpec;
  parameters(filter?: ParameterFilter): ParameterInfo[];
}

export const filterRule: Rule = rule(
  'a RegExp or a function of a parameter',
  (value) => value instanceof RegExp || typeof value === 'function',
);

/**
 * 'classifier' = the unembedding matrix (lm_head) alone; 'body' = all but it; a RegExp is matched against
 * parameter names.
 */
export type Trainable = 'all' | 'classifier' | 'body' | RegExp;

const TRAINABLE = rule(
  "'all', 'classifier', 'body' or a RegExp of parameter names",
  (value) => value instanceof RegExp || ['all', 'classifier', 'body'].includes(value as string),
);

const sizeOf = ({ shape }: Pick<ParameterSpec, 'shape'>): number => shape.reduce((a, b) => a * b, 1);

/** True when the classifier is the embedding matrix itself. */
export const isTied = (spec: ModelSpec): boolean => !spec.parameters.some((p) => p.role === 'classifier');

/** All parameters in the order of the flat vector. `trainable`: one entry per parameter, 1 = it trains. */
export function listParameters(spec: ModelSpec, trainable: Uint8Array): ParameterInfo[] {
  let offset = 0;
  return spec.parameters.map((parameter, i): ParameterInfo => {
    const size = sizeOf(parameter);
    const info = {
      name: parameter.name,
      shape: parameter.shape,
      role: parameter.role,
      layer: parameter.layer,
      size,
      offset,
      trainable: trainable[i] === 1,
    };
    offset += size;
    return info;
  });
}

/** The parameters that a filter chooses, all without one. */
export function choose(all: readonly ParameterInfo[], filter: ParameterFilter | undefined): ParameterInfo[] {
  if (filter === undefined) return [...all];
  check('model.parameters', 'filter', filter, filterRule);
  return all.filter(filter instanceof RegExp ? ({ name }) => filter.test(name) : filter);
}

/** One entry per parameter, 1 = chosen. @throws ERR_INVALID_ARG when nothing matches. */
export function wantedMask(caller: string, model: HasParameters, params?: ParameterFilter): Uint8Array {
  const chosen = new Set(model.parameters(params).map((p) => p.name));
  if (chosen.size === 0)
    fail('ERR_INVALID_ARG', `${caller}: no parameter matches ${String(params)}; ${exampleOf(model.spec)}`);
  return Uint8Array.from(model.spec.parameters, (p) => (chosen.has(p.name) ? 1 : 0));
}

const exampleOf = (spec: ModelSpec) => `names look like '${spec.parameters[0]!.name}'`;

/**
 * The place of a parameter in the list. @throws ERR_INVALID_ARG, with the nearest name, when there is none.
 */
export function parameterIndex(caller: string, spec: ModelSpec, name: string): number {
  check(caller, 'name', name, text);
  const index = spec.parameters.findIndex((p) => p.name === name);
  if (index >= 0) return index;
  const names = spec.parameters.map((p) => p.name);
  return fail('ERR_INVALID_ARG', `${caller}: there is no parameter '${name}'.${suggestion(name, names)}`);
}

/** What setTrainable() sets: one entry per parameter, 1 = it trains. @throws as Model.setTrainable. */
export function trainableMask(
  spec: ModelSpec,
  which: Trainable,
  peftConfig: ResolvedPeftConfig | undefined,
): Uint8Array {
  const caller = 'model.setTrainable';
  check(caller, 'which', which, TRAINABLE);
  if (isTied(spec) && (which === 'classifier' || which === 'body'))
    fail(
      'ERR_UNSUPPORTED',
      `${caller}: '${which}' has no meaning on this tied model, whose classifier is also the input embedding; ` +
        'load it with untieClassifier: true (--untie on the command line), or pass a RegExp to move both uses',
    );
  const matches = matcherOf(which);
  const trains = (p: ParameterSpec) => matches(p) && (!peftConfig || trainsWithAdapter(p));
  const mask = Uint8Array.from(spec.parameters, (p) => (trains(p) ? 1 : 0));
  if (mask.includes(1)) return mask;
  if (peftConfig)
    fail(
      'ERR_INVALID_ARG',
      `${caller}: '${String(which)}' leaves nothing to train: beside adapters only modulesToSave ` +
        `(${peftConfig.modulesToSave?.join(', ') ?? 'none'}) train; name the module there when loading the model`,
    );
  return fail('ERR_INVALID_ARG', `${caller}: no parameter matches ${String(which)}; ${exampleOf(spec)}`);
}

function matcherOf(which: Trainable): (p: ParameterSpec) => boolean {
  switch (which) {
    case 'all':
      return () => true;
    case 'classifier':
      return ({ role }) => role === 'classifier';
    case 'body':
      return ({ role }) => role !== 'classifier';
    default:
      return ({ name }) => which.test(name);
  }
}
