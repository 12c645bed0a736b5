/** Choosing parameters. */
import { rule, type Rule } from '../core/check.js';
import { fail } from '../errors.js';
import type { Model, ParameterInfo } from './model.js';

export type ParameterFilter = RegExp | ((parameter: ParameterInfo) => boolean);

export const filterRule: Rule = rule(
  'a RegExp or a function of a parameter',
  (value) => value instanceof RegExp || typeof value === 'function',
);

/** One entry per parameter, 1 = chosen. @throws ERR_INVALID_ARG when nothing matches. */
export function wantedMask(caller: string, model: Model, params?: ParameterFilter): Uint8Array {
  const chosen = new Set(model.parameters(params).map((p) => p.name));
  if (chosen.size === 0)
    fail(
      'ERR_INVALID_ARG',
      `${caller}: no parameter matches ${String(params)}; names look like '${model.spec.parameters[0]!.name}'`,
    );
  return Uint8Array.from(model.spec.parameters, (p) => (chosen.has(p.name) ? 1 : 0));
}
