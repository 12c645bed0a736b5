/** A config as a trainer will use it: names, ranges and rules of schemas.ts and together.ts applied. */
import type { z } from 'zod';

import { check, checkNames, choice, shown } from '../../core/check.js';
import { camelCaseKeys } from '../../core/names.js';
import { fail, suggestion } from '../../errors.js';
import { instead } from './instead.js';
import { allSchemas, type CommonConfig, type ResolvedConfig, type Schemas } from './schemas.js';
import { mistakeTogether } from './together.js';

export type {
  CommonConfig,
  PolicyConfigName,
  ResolvedCFRLConfig,
  ResolvedConfig,
  ResolvedGRPOConfig,
  ResolvedSFTConfig,
} from './schemas.js';

const NAME = choice('GRPOConfig', 'CFRLConfig', 'RLOOConfig', 'PPOConfig', 'SFTConfig');

/** Option names of a trainer, for help texts and command lines. */
export function configOptions(name: keyof Schemas): string[] {
  check('configOptions', 'name', name, NAME);
  return Object.keys(allSchemas().schemas[name].shape);
}

/** Names within options that are objects. */
const nestedOptions = (): string[] => [
  ...Object.keys(allSchemas().stage.shape),
  ...Object.keys(allSchemas().schedulerKwargs.shape),
];

/** A loggers' name that TRL has and this has not deserves a remedy of its own. */
function checkReportTo(name: string, reportTo: unknown): void {
  const known = ['none', 'tensorboard', undefined];
  const other = [reportTo].flat().find((one) => !known.includes(one as string));
  if (other === undefined) return;
  const remedy =
    other === 'wandb'
      ? "; Weights & Biases has no kept npm package: use 'tensorboard' and `wandb sync <outputDir>/tensorboard`"
      : '';
  fail(
    'ERR_INVALID_ARG',
    `${name}: reportTo must be 'none', 'tensorboard' or an array of these, got ${shown(reportTo)}${remedy}`,
  );
}

/** The first of zod's issues in our words. */
function failWith(name: string, { issues }: z.ZodError, input: object): never {
  const unknown = issues.find((issue) => issue.code === 'unrecognized_keys');
  if (unknown) {
    const option = unknown.keys[0]!;
    fail(
      'ERR_INVALID_ARG',
      `${name}: there is no option '${option}' in ${unknown.path.join('.')}.${suggestion(option, nestedOptions())}`,
    );
  }
  const { path, message } = issues[0]!;
  const entry = (value: unknown, key: PropertyKey) =>
    (value as Record<PropertyKey, unknown> | undefined)?.[key];
  const value = path.reduce<unknown>(entry, input);
  const got = typeof value === 'string' ? `'${value}'` : String(value);
  const ending = message.includes('received') ? '' : `, got ${got}`;
  return fail('ERR_INVALID_ARG', `${name}: ${path.join('.')}: ${message}${ending}`);
}

/**
 * A config as a trainer will use it: snake_case names in camelCase, defaults filled in, values checked alone
 * and together.
 * @throws ERR_INVALID_ARG naming the option, what it must be, and for an unknown one the nearest known name.
 */
export function resolveConfig<Name extends keyof Schemas>(name: Name, config: unknown): ResolvedConfig<Name> {
  check('resolveConfig', 'name', name, NAME);
  const input = camelCaseKeys(config ?? {});
  if (input === null || typeof input !== 'object' || Array.isArray(input))
    fail('ERR_INVALID_ARG', `${name}: expected an object of options, got ${JSON.stringify(config)}`);
  checkNames(name, Object.keys(input), configOptions(name), 'option', instead);
  checkReportTo(name, (input as { reportTo?: unknown }).reportTo);
  const result = allSchemas().schemas[name].safeParse(input);
  if (!result.success) return failWith(name, result.error, input);
  const mistake = mistakeTogether(input as Record<string, unknown>, result.data as CommonConfig);
  if (mistake !== undefined) fail('ERR_INVALID_ARG', `${name}: ${mistake}`);
  return result.data as ResolvedConfig<Name>;
}
