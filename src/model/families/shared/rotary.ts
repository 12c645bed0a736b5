/** Rotary position embeddings: the frequencies that a config asks for. */
import type { ModelSpec } from '../../../core/addon/contract.js';
import { fail } from '../../../errors.js';
import type { HfConfig } from '../family.js';
import { positive, show } from './configValues.js';

const ROPE_TYPES = ['default', 'linear', 'llama3'];
/** Keys that transformers knows. Those that a rope type does not read, it ignores, and so do we. */
const ROPE_KEYS = [
  'rope_type',
  'type',
  'rope_theta',
  'partial_rotary_factor',
  'factor',
  'low_freq_factor',
  'high_freq_factor',
  'original_max_position_embeddings',
  'attention_factor',
  'beta_fast',
  'beta_slow',
  'mscale',
  'mscale_all_dim',
  'short_factor',
  'long_factor',
  'truncate',
];

/** What a family reads where the object of rotary options does not have it. */
export interface RotaryFallbacks {
  /** The base θ. */
  readonly theta: unknown;
  /** The part of a head that turns. */
  readonly fraction: unknown;
  /** Whether frequencies of type 'default' are made for a part of a head. Llama's are for all of it. */
  readonly partialByDefault: boolean;
}

/**
 * Inverse frequencies θ^(−2i/D) of the first D = headDim · fraction dimensions of a head. transformers 5
 * reads them from `rope_scaling` where a config has one, and from `rope_parameters` otherwise. There are
 * three types:
 * - default: the frequencies as they are;
 * - linear (Chen et al. 2023): all of them divided by a factor;
 * - llama3 (Llama 3.1): see stretchLongWaves().
 */
export function rotary(
  config: HfConfig,
  headDim: number,
  fallbacks: RotaryFallbacks,
): NonNullable<ModelSpec['rotary']> {
  const source = isFilled(config['rope_scaling']) ? 'rope_scaling' : 'rope_parameters';
  const options = optionsOf(config, source, fallbacks);
  const type = checkedType(options, source);

  const theta = positive(options, 'rope_theta');
  const isPartial = fallbacks.partialByDefault || type !== 'default';
  const fraction = isPartial ? positive(options, 'partial_rotary_factor') : 1;
  if (!fallbacks.partialByDefault && Math.trunc(headDim * fraction) < headDim)
    fail(
      'ERR_UNSUPPORTED',
      `config: ${source}.partial_rotary_factor ${fraction} is not supported with rope_type ${show(type)}: ` +
        `a ${show(config['model_type'])} model turns whole heads; remove the key`,
    );
  const rotated = rotatedDimensions(headDim, fraction);
  const invFreq = Float64Array.from({ length: rotated / 2 }, (_, i) => theta ** ((-2 * i) / rotated));

  const value = (key: string) => positive(options, key, `${source}.${key}`);
  if (type === 'linear') {
    const factor = value('factor');
    return { invFreq: invFreq.map((f) => f / factor), scale: 1 };
  }
  if (type === 'llama3') return { invFreq: stretchLongWaves(invFreq, source, value), scale: 1 };
  return { invFreq, scale: 1 };
}

/** Python's truth of an object of options. */
const isFilled = (value: unknown): boolean =>
  value !== undefined && value !== null && (typeof value !== 'object' || Object.keys(value).length > 0);

/** The rotary options in one object, each from the place where transformers looks first. */
function optionsOf(config: HfConfig, source: string, { theta, fraction }: RotaryFallbacks): HfConfig {
  const given = config[source] ?? {};
  if (typeof given !== 'object' || Array.isArray(given))
    fail('ERR_INVALID_ARG', `config: ${source} must be an object or null, got ${show(given)}`);
  const own = given as HfConfig;
  return {
    ...own,
    rope_theta: own['rope_theta'] ?? theta ?? 10000,
    partial_rotary_factor: own['partial_rotary_factor'] ?? fraction ?? 1,
    original_max_position_embeddings:
      config['original_max_position_embeddings'] ??
      own['original_max_position_embeddings'] ??
      config['max_position_embeddings'],
  };
}

/** The rope type. @throws ERR_UNSUPPORTED for another type, and for a key that no type has. */
function checkedType(options: HfConfig, source: string): string {
  const type = options['rope_type'] ?? options['type'] ?? 'default';
  if (typeof type !== 'string' || !ROPE_TYPES.includes(type))
    fail(
      'ERR_UNSUPPORTED',
      `config: ${source}.rope_type ${show(type)} is not supported; supported: ${ROPE_TYPES.join(', ')}`,
    );
  const unknown = Object.keys(options).find((key) => !ROPE_KEYS.includes(key));
  if (unknown !== undefined)
    fail(
      'ERR_UNSUPPORTED',
      `config: ${source}.${unknown} is not supported; known keys: ${ROPE_KEYS.join(', ')}`,
    );
  return type;
}

function rotatedDimensions(headDim: number, fraction: number): number {
  const rotated = Math.trunc(headDim * fraction);
  if (!(rotated >= 2 && rotated % 2 === 0 && rotated <= headDim))
    fail(
      'ERR_INVALID_ARG',
      'config: the rotated part of a head must be an even number of dimensions ' +
        `from 2 to ${headDim}, got ${rotated}`,
    );
  return rotated;
}

/**
 * Llama 3.1's scaling. Let `original` be the context that the model was trained with first. Wavelengths above
 * original / low_freq_factor are divided by `factor`, those below original / high_freq_factor are kept, and
 * between the two the change is interpolated in 1 / wavelength.
 */
function stretchLongWaves(
  invFreq: Float64Array,
  source: string,
  value: (key: string) => number,
): Float64Array {
  const factor = value('factor');
  const low = value('low_freq_factor');
  const high = value('high_freq_factor');
  const original = value('original_max_position_embeddings');
  if (!(low < high))
    fail(
      'ERR_INVALID_ARG',
      `config: ${source}.low_freq_factor must be less than high_freq_factor, got ${low} and ${high}`,
    );
  return invFreq.map((f) => {
    const turns = (original * f) / (2 * Math.PI);
    if (turns < low) return f / factor;
    if (turns > high) return f;
    const smooth = (turns - low) / (high - low);
    return ((1 - smooth) * f) / factor + smooth * f;
  });
}
