/**
 * What families have in common: reading configs key by key, refusing what changes the maths, rotary
 * frequencies, the gated decoder.
 */
import { fail } from '../../errors.js';
import type { ModelSpec, ParameterRole, ParameterSpec } from '../../core/addon/contract.js';
import type { HfConfig } from './index.js';

// ---- config values ----------------------------------------------------------------------------------------

const show = (value: unknown) => JSON.stringify(value) ?? 'nothing';

export function size(config: HfConfig, key: string): number {
  const value = config[key];
  if (!(Number.isSafeInteger(value) && (value as number) >= 1))
    fail('ERR_INVALID_ARG', `config: ${key} must be a positive integer, got ${show(value)}`);
  return value as number;
}

export function positive(config: HfConfig, key: string, of = key): number {
  const value = config[key];
  if (!(typeof value === 'number' && Number.isFinite(value) && value > 0))
    fail('ERR_INVALID_ARG', `config: ${of} must be a positive number, got ${show(value)}`);
  return value;
}

export function flag(config: HfConfig, key: string): boolean {
  const value = config[key];
  if (typeof value !== 'boolean')
    fail('ERR_INVALID_ARG', `config: ${key} must be true or false, got ${show(value)}`);
  return value;
}

export function choice<T>(config: HfConfig, key: string, known: Readonly<Record<string, T>>): T {
  const value = config[key];
  if (typeof value !== 'string' || !Object.hasOwn(known, value))
    fail(
      'ERR_UNSUPPORTED',
      `config: ${key} ${show(value)} is not supported for model_type ${show(config['model_type'])}; supported: ${Object.keys(known).join(', ')}`,
    );
  return known[value]!;
}

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

// ---- refusals ---------------------------------------------------------------------------------------------

export function refuse(config: HfConfig, key: string, why: string): never {
  return fail('ERR_UNSUPPORTED', `config: ${key} ${show(config[key])} is not supported: ${why}`);
}

/**
 * Keys that change the maths whatever the family, with the one value (besides null, false, [] and {}) that
 * does not.
 */
const CHANGES_THE_MATHS: Readonly<Record<string, readonly [neutral: unknown, why: string]>> = {
  quantization_config: [undefined, 'quantised weights; use the unquantised checkpoint'],
  compression_config: [undefined, 'compressed weights; use the uncompressed checkpoint'],
  num_experts: [0, 'mixtures of experts'],
  num_local_experts: [0, 'mixtures of experts'],
  n_routed_experts: [0, 'mixtures of experts'],
  attn_logit_softcapping: [undefined, 'soft-capped logits'],
  final_logit_softcapping: [undefined, 'soft-capped logits'],
  embedding_multiplier: [1, 'scaled embeddings'],
  residual_multiplier: [1, 'scaled residuals'],
  attention_multiplier: [undefined, 'another attention scale'],
  logits_scaling: [1, 'scaled logits'],
  attention_chunk_size: [undefined, 'chunked attention'],
  add_cross_attention: [undefined, 'cross attention'],
  is_encoder_decoder: [undefined, 'encoder-decoder models'],
  pruned_heads: [undefined, 'pruned heads'],
  alibi: [undefined, 'ALiBi positions'],
  qk_layernorm: [undefined, 'a norm on queries and keys'],
  use_qk_norm: [undefined, 'a norm on queries and keys'],
  use_mrope: [undefined, 'multimodal rotary positions'],
};

/**
 * @throws ERR_UNSUPPORTED naming the key, when the config asks for something that no family here computes.
 */
export function refuseUnsupported(config: HfConfig): void {
  for (const [key, [neutral, why]] of Object.entries(CHANGES_THE_MATHS)) {
    const value = config[key];
    const empty = typeof value === 'object' && value !== null && Object.keys(value).length === 0;
    if (value !== undefined && value !== null && value !== false && value !== neutral && !empty)
      refuse(config, key, why);
  }
}

/** A window at least as long as the context changes nothing. */
export function refuseSlidingWindow(config: HfConfig, maxPositions: number): void {
  const {
    sliding_window: window,
    layer_types: types,
    use_sliding_window: used,
    max_window_layers: fullLayers,
    num_hidden_layers: layers,
  } = config;
  const long = typeof window === 'number' && window >= maxPositions;
  if (Array.isArray(types)) {
    if (types.some((type) => type !== 'full_attention' && !(type === 'sliding_attention' && long)))
      refuse(config, 'layer_types', 'every layer attends to all earlier positions here');
    return;
  }
  const some = typeof fullLayers !== 'number' || fullLayers < (layers as number);
  if (typeof window === 'number' && !long && used !== false && some)
    refuse(
      config,
      'sliding_window',
      'every layer attends to all earlier positions here; set max_position_embeddings to at most the window to use the model within it',
    );
}

// ---- rotary positions -------------------------------------------------------------------------------------

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

/**
 * Inverse frequencies θ^(−2i/D) of the first D = headDim · fraction dimensions, from `rope_parameters`
 * (transformers 5) or `rope_theta` and `rope_scaling` (before). Types: default; linear (Chen et al. 2023):
 * all divided by factor; llama3 (Llama 3.1): wavelengths above original/low divided by factor, below
 * original/high kept, between them interpolated in 1/wavelength.
 */
export function rotary(
  config: HfConfig,
  headDim: number,
  { theta, fraction }: { readonly theta?: unknown; readonly fraction?: unknown } = {},
): NonNullable<ModelSpec['rotary']> {
  const source = config['rope_parameters'] ? 'rope_parameters' : 'rope_scaling';
  const given = config[source] ?? {};
  if (typeof given !== 'object')
    fail('ERR_INVALID_ARG', `config: ${source} must be an object or null, got ${show(given)}`);
  const options: HfConfig = {
    ...given,
    rope_theta: (given as HfConfig)['rope_theta'] ?? theta ?? config['rope_theta'] ?? 10000,
    partial_rotary_factor:
      (given as HfConfig)['partial_rotary_factor'] ?? fraction ?? config['partial_rotary_factor'] ?? 1,
    original_max_position_embeddings:
      (given as HfConfig)['original_max_position_embeddings'] ?? config['original_max_position_embeddings'],
  };
  const unknown = Object.keys(options).find((key) => !ROPE_KEYS.includes(key));
  const type = options['rope_type'] ?? options['type'] ?? 'default';
  if (typeof type !== 'string' || !['default', 'linear', 'llama3'].includes(type))
    fail(
      'ERR_UNSUPPORTED',
      `config: ${source}.rope_type ${show(type)} is not supported; supported: default, linear, llama3`,
    );
  if (unknown !== undefined)
    fail(
      'ERR_UNSUPPORTED',
      `config: ${source}.${unknown} is not supported; known keys: ${ROPE_KEYS.join(', ')}`,
    );
  const value = (key: string) => positive(options, key, `${source}.${key}`);

  const base = positive(options, 'rope_theta');
  const rotated = Math.trunc(headDim * positive(options, 'partial_rotary_factor'));
  if (!(rotated >= 2 && rotated % 2 === 0 && rotated <= headDim))
    fail(
      'ERR_INVALID_ARG',
      `config: the rotated part of a head must be an even number of dimensions from 2 to ${headDim}, got ${rotated}`,
    );
  const invFreq = Float64Array.from({ length: rotated / 2 }, (_, i) => base ** ((-2 * i) / rotated));
  if (type === 'linear') {
    const factor = value('factor');
    return { invFreq: invFreq.map((f) => f / factor), scale: 1 };
  }
  if (type === 'llama3') {
    const [factor, low, high, original] = [
      value('factor'),
      value('low_freq_factor'),
      value('high_freq_factor'),
      value('original_max_position_embeddings'),
    ];
    if (!(low < high))
      fail(
        'ERR_INVALID_ARG',
        `config: ${source}.low_freq_factor must be less than high_freq_factor, got ${low} and ${high}`,
      );
    const scaled = (f: number) => {
      const turns = (original * f) / (2 * Math.PI);
      if (turns < low) return f / factor;
      if (turns > high) return f;
      const smooth = (turns - low) / (high - low);
      return ((1 - smooth) * f) / factor + smooth * f;
    };
    return { invFreq: invFreq.map(scaled), scale: 1 };
  }
  return { invFreq, scale: 1 };
}

// ---- parameters -------------------------------------------------------------------------------------------

/** Collects a model's parameters; names begin with the prefix set by at(). */
export class ParameterList {
  readonly list: ParameterSpec[] = [];
  #layer = -1;
  #prefix = '';

  at(layer: number, prefix: string): void {
    this.#layer = layer;
    this.#prefix = prefix;
  }
  add(role: ParameterRole, name: string, ...shape: number[]): void {
    this.list.push({ name: this.#prefix + name, role, layer: this.#layer, shape });
  }
  /** Parameters that exist only in some models. */
  addIf(present: boolean, role: ParameterRole, name: string, ...shape: number[]): void {
    if (present) this.add(role, name, ...shape);
  }
}

const GATED_DEFAULTS = {
  hidden_act: 'silu',
  initializer_range: 0.02,
  rms_norm_eps: 1e-6,
  tie_word_embeddings: false,
};

/** Config of the Llama line with its defaults; `defaults` are the family's own. */
export function completeGatedDecoder(config: HfConfig, defaults: HfConfig): HfConfig {
  refuseUnsupported(config);
  const heads = config['num_attention_heads'];
  const complete = withDefaults(config, {
    ...GATED_DEFAULTS,
    num_key_value_heads: heads,
    head_dim: Math.floor(size(config, 'hidden_size') / size(config, 'num_attention_heads')),
    ...defaults,
  });
  multiple(complete, 'num_attention_heads', 'num_key_value_heads');
  refuseSlidingWindow(complete, size(complete, 'max_position_embeddings'));
  return complete;
}

/**
 * The Llama line (Touvron et al. 2023): RMS norms, rotary positions, grouped queries, SiLU-gated MLP. The
 * weights of q, k, v lie next to each other, and so do their biases, and gate and up: the engine multiplies
 * them as one matrix.
 */
export function gatedDecoder(
  config: HfConfig,
  {
    qkvBias = false,
    outBias = false,
    mlpBias = false,
    qkNorm = false,
  }: { qkvBias?: boolean; outBias?: boolean; mlpBias?: boolean; qkNorm?: boolean },
): ModelSpec {
  const [V, C, L, H, K, D, F] = [
    'vocab_size',
    'hidden_size',
    'num_hidden_layers',
    'num_attention_heads',
    'num_key_value_heads',
    'head_dim',
    'intermediate_size',
  ].map((key) => size(config, key)) as [number, number, number, number, number, number, number];
  const parameters = new ParameterList();
  parameters.at(-1, 'model.');
  parameters.add('embedding', 'embed_tokens.weight', V, C);
  for (let layer = 0; layer < L; ++layer) {
    parameters.at(layer, `model.layers.${layer}.`);
    parameters.add('attention_norm', 'input_layernorm.weight', C);
    parameters.add('q', 'self_attn.q_proj.weight', H * D, C);
    parameters.add('k', 'self_attn.k_proj.weight', K * D, C);
    parameters.add('v', 'self_attn.v_proj.weight', K * D, C);
    parameters.addIf(qkvBias, 'q_bias', 'self_attn.q_proj.bias', H * D);
    parameters.addIf(qkvBias, 'k_bias', 'self_attn.k_proj.bias', K * D);
    parameters.addIf(qkvBias, 'v_bias', 'self_attn.v_proj.bias', K * D);
    parameters.addIf(qkNorm, 'q_norm', 'self_attn.q_norm.weight', D);
    parameters.addIf(qkNorm, 'k_norm', 'self_attn.k_norm.weight', D);
    parameters.add('attention_out', 'self_attn.o_proj.weight', C, H * D);
    parameters.addIf(outBias, 'attention_out_bias', 'self_attn.o_proj.bias', C);
    parameters.add('mlp_norm', 'post_attention_layernorm.weight', C);
    parameters.add('mlp_gate', 'mlp.gate_proj.weight', F, C);
    parameters.add('mlp_up', 'mlp.up_proj.weight', F, C);
    parameters.addIf(mlpBias, 'mlp_gate_bias', 'mlp.gate_proj.bias', F);
    parameters.addIf(mlpBias, 'mlp_up_bias', 'mlp.up_proj.bias', F);
    parameters.add('mlp_down', 'mlp.down_proj.weight', C, F);
    parameters.addIf(mlpBias, 'mlp_down_bias', 'mlp.down_proj.bias', C);
  }
  parameters.at(-1, '');
  parameters.add('final_norm', 'model.norm.weight', C);
  parameters.addIf(!flag(config, 'tie_word_embeddings'), 'classifier', 'lm_head.weight', V, C);
  return {
    vocabSize: V,
    hiddenSize: C,
    layers: L,
    heads: H,
    kvHeads: K,
    headDim: D,
    mlpSize: F,
    maxPositions: size(config, 'max_position_embeddings'),
    norm: 'rms',
    normEps: positive(config, 'rms_norm_eps'),
    activation: choice(config, 'hidden_act', { silu: 'silu_gate' } as const),
    rotary: rotary(config, D),
    parallelResidual: false,
    transposedLinears: false,
    attentionScale: 1 / Math.sqrt(D),
    parameters: parameters.list,
  };
}

/** transformers' initialisation: one standard deviation for every matrix. */
export const initializerRange = (_parameter: ParameterSpec, config: HfConfig): number =>
  positive(config, 'initializer_range');

/** Hugging Face's names of the two GELUs: exact, and the tanh approximation under four names. */
export const PLAIN_ACTIVATIONS = {
  gelu: 'gelu',
  gelu_new: 'gelu_new',
  gelu_fast: 'gelu_new',
  gelu_pytorch_tanh: 'gelu_new',
  relu: 'relu',
} as const;
