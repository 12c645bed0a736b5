/** Rotary position embeddings: the frequencies that a config asks for. */
import type { ModelSpec } from '../../../core/addon/contract.js';
import { fail } from '../../../errors.js';
import type { HfConfig } from '../family.js';
import { positive, show } from './configValues.js';

const ROPE_TYPES = ['default', 'linear', 'llama3'];
const ROPE_KEYS = [
  'rope_type',
  'type',
  'rope_theta',
  'partial_rotary_factor',
  'factor',
  'low_freq_factor',
  'high_freq_factor',
  'original_max_position_embeddings',
];

/** Where older families keep two of the values. */
interface FamilyKeys {
  readonly theta?: unknown;
  readonly fraction?: unknown;
}

/**
 * Inverse frequencies θ^(−2i/D) of the first D = headDim · fraction dimensions of a head. They are read from
 * `rope_parameters` (transformers 5), or from `rope_theta` and `rope_scaling` (before). There are three
 * types:
 * - default: the frequencies as they are;
 * - linear (Chen et al. 2023): all of them divided by a factor;
 * - llama3 (Llama 3.1): see stretchLongWaves().
 */
export function rotary(
  config: HfConfig,
  headDim: number,
  familyKeys: FamilyKeys = {},
): NonNullable<ModelSpec['rotary']> {
  const source = config['rope_parameters'] ? 'rope_parameters' : 'rope_scaling';
  const options = optionsOf(config, source, familyKeys);
  const type = checkedType(options, source);

  const theta = positive(options, 'rope_theta');
  const rotated = rotatedDimensions(headDim, positive(options, 'partial_rotary_factor'));
  const invFreq = Float64Array.from({ length: rotated / 2 }, (_, i) => theta ** ((-2 * i) / rotated));

  const value = (key: string) => positive(options, key, `${source}.${key}`);
  if (type === 'linear') {
    const factor = value('factor');
    return { invFreq: invFreq.map((f) => f / factor), scale: 1 };
  }
  if (type === 'llama3') return { invFreq: stretchLongWaves(invFreq, source, value), scale: 1 };
  return { invFreq, scale: 1 };
}

/** The rotary options in one object, whichever of the places a config has them in. */
function optionsOf(config: HfConfig, source: string, { theta, fraction }: FamilyKeys): HfConfig {
  const given = config[source] ?? {};
  if (typeof given !== 'object')
    fail('ERR_INVALID_ARG', `config: ${source} must be an object or null, got ${show(given)}`);
  const own = given as HfConfig;
  return {
    ...own,
    rope_theta: own['rope_theta'] ?? theta ?? config['rope_theta'] ?? 10000,
    partial_rotary_factor: own['partial_rotary_factor'] ?? fraction ?? config['partial_rotary_factor'] ?? 1,
    original_max_position_embeddings:
      own['original_max_position_embeddings'] ?? config['original_max_position_embeddings'],
  };
}

/** The rope type. @throws ERR_UNSUPPORTED for another type, and for a key that no type here has. */
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
