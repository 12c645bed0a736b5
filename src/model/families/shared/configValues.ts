/** Reading a config key by key, with errors that name the key. */
import { fail } from '../../../errors.js';
import type { HfConfig } from '../family.js';

/** A value as error messages about a config show it. */
export const show = (value: unknown) => JSON.stringify(value) ?? 'nothing';

/** A positive integer of the config. @throws ERR_INVALID_ARG naming the key. */
export function size(config: HfConfig, key: string): number {
  const value = config[key];
  if (!(Number.isSafeInteger(value) && (value as number) >= 1))
    fail('ERR_INVALID_ARG', `config: ${key} must be a positive integer, got ${show(value)}`);
  return value as number;
}

/** A positive number. `of` is the name in the message, where the key lies in an inner object. */
export function positive(config: HfConfig, key: string, of = key): number {
  const value = config[key];
  if (!(typeof value === 'number' && Number.isFinite(value) && value > 0))
    fail('ERR_INVALID_ARG', `config: ${of} must be a positive number, got ${show(value)}`);
  return value;
}

/** A boolean of the config. */
export function flag(config: HfConfig, key: string): boolean {
  const value = config[key];
  if (typeof value !== 'boolean')
    fail('ERR_INVALID_ARG', `config: ${key} must be true or false, got ${show(value)}`);
  return value;
}

/** What `known` holds under the config's value. @throws ERR_UNSUPPORTED listing the known values. */
export function choice<T>(config: HfConfig, key: string, known: Readonly<Record<string, T>>): T {
  const value = config[key];
  if (typeof value !== 'string' || !Object.hasOwn(known, value))
    fail(
      'ERR_UNSUPPORTED',
      `config: ${key} ${show(value)} is not supported for model_type ${show(config['model_type'])}; supported: ` +
        `${Object.keys(known).join(', ')}`,
    );
  return known[value]!;
}

/** config[key] / config[of]. @throws ERR_INVALID_ARG unless it is a whole number. */
export function multiple(config: HfConfig, key: string, of: string): number {
  const quotient = size(config, key) / size(config, of);
  if (!Number.isInteger(quotient))
    fail(
      'ERR_INVALID_ARG',
      `config: ${key} must be a multiple of ${of}, got ${size(config, key)} and ${size(config, of)}`,
    );
  return quotient;
}

/** Keys that are absent or null take the default. */
export function withDefaults(config: HfConfig, defaults: HfConfig): HfConfig {
  const complete: Record<string, unknown> = { ...config };
  for (const [key, value] of Object.entries(defaults)) complete[key] ??= value;
  return complete;
}

/**
 * transformers' names (ACT2FN) for the activations of a plain MLP: GELU exactly, GELU by tanh, and relu. Its
 * other names stand for functions that the engine does not have.
 */
export const PLAIN_ACTIVATIONS = {
  gelu: 'gelu',
  gelu_python: 'gelu',
  gelu_new: 'gelu_new',
  gelu_fast: 'gelu_new',
  gelu_accurate: 'gelu_new',
  gelu_pytorch_tanh: 'gelu_new',
  gelu_python_tanh: 'gelu_new',
  relu: 'relu',
} as const;

/** The same for a gated MLP. */
export const GATED_ACTIVATIONS = { silu: 'silu_gate', swish: 'silu_gate' } as const;
