/** What every family expects in a config and in a file, and the configs that are refused. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import type { HfConfig } from '../../../src/model/families/family.js';
import { familyOf } from '../../../src/model/families/index.js';
import { loadCheckpoint } from '../../../src/model/pretrained.js';
import { editJson, golden, goldenCopy, goldenFamilies, readJson, readRaw } from '../../helpers/files.js';
import { refused } from '../../helpers/refused.js';

describe('families', () => {
  it.each(goldenFamilies)(
    '%s: every tensor of the checkpoint finds its parameter, in an order that keeps q, k, v together',
    async (name) => {
      const { spec, tensors, config } = await loadCheckpoint(golden(name), {});
      const file = readRaw(join(golden(name), 'model.safetensors'));
      expect(spec.parameters.map((p) => p.name).sort()).toEqual(
        Object.keys(file)
          .filter((n) => !/attention\.(bias|masked_bias|rotary_emb)/.test(n))
          .sort(),
      );
      const bytes = readFileSync(join(golden(name), 'model.safetensors'));
      spec.parameters.forEach((parameter, i) => {
        const stored = file[parameter.name]!;
        expect(stored.shape).toEqual(parameter.shape);
        expect(
          Uint8Array.from(bytes.subarray(tensors[i]!.offset, tensors[i]!.offset + stored.data.length)),
        ).toEqual(stored.data);
      });
      expect(
        spec.parameters
          .map((p) => p.role)
          .join(' ')
          .replaceAll(/q k v( q_bias k_bias v_bias)?|qkv/g, ''),
      ).not.toMatch(/\b[qkv]( |_bias)/);
      for (const [key, value] of Object.entries(readJson(join(golden(name), 'config.json'))))
        if (value !== null) expect(config[key], key).toEqual(value);
    },
  );

  it('every family has random weights from a config of sizes alone, as transformers would', () => {
    const sizes = {
      vocab_size: 61,
      hidden_size: 24,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      intermediate_size: 40,
      max_position_embeddings: 32,
    };
    const roles = (model_type: string, more = {}) => {
      const family = familyOf({ model_type });
      const config = family.complete({ model_type, ...sizes, ...more });
      const spec = family.spec(config);
      for (const parameter of spec.parameters)
        expect(family.initialStd(parameter, config)).toBeGreaterThan(0);
      return { spec, config, roles: new Set(spec.parameters.map((p) => p.role)) };
    };
    expect(roles('llama').roles).not.toContain('q_bias');
    expect(roles('llama', { attention_bias: true }).roles).toContain('attention_out_bias');
    expect(roles('llama').spec.normEps).toBe(1e-6);
    expect(roles('llama').roles).toContain('classifier');
    // Without the key the Qwen families have 32 key heads, however few heads there are.
    expect(() => roles('qwen2')).toThrow('num_attention_heads must be a multiple of num_key_value_heads');
    const shared = { num_key_value_heads: null };
    expect(roles('qwen2', shared).roles).toContain('q_bias');
    expect(roles('qwen2', shared).roles).not.toContain('attention_out_bias');
    expect(roles('qwen2', { num_attention_heads: 64, hidden_size: 128 }).spec.kvHeads).toBe(32);
    expect(roles('qwen3', shared).roles).toContain('q_norm');
    expect(roles('qwen3', shared).spec.headDim).toBe(128);
    expect(roles('gpt_neox', { num_attention_heads: 3 }).spec).toMatchObject({
      parallelResidual: true,
      activation: 'gelu',
      fusedQkv: 'heads',
    });
    expect(roles('gpt_neox', { num_attention_heads: 3 }).spec.rotary!.invFreq).toHaveLength(1);
    expect(roles('gpt2').roles).not.toContain('classifier');
    expect(roles('gpt2').spec).toMatchObject({
      activation: 'gelu_new',
      transposedLinears: true,
      fusedQkv: 'blocks',
      mlpSize: 96,
    });
    expect(roles('gpt2').config).toMatchObject({ n_embd: 24, n_layer: 2, n_head: 4, n_positions: 32 });
    expect(roles('gpt2', { scale_attn_weights: false }).spec.attentionScale).toBe(1);
    expect(roles('gpt').roles).toContain('qkv');
  });

  it('rotary frequencies: default, linear, llama3, and both forms of the config', () => {
    const base = { ...readJson(join(golden('qwen3'), 'config.json')), model_type: 'llama', head_dim: 8 };
    const invFreq = (more: HfConfig) => {
      const family = familyOf({ model_type: 'llama' });
      return [...family.spec(family.complete({ ...base, rope_theta: 10000, ...more })).rotary!.invFreq];
    };
    const plain = [1, 0.1, 0.01, 0.001];
    const near = (a: number[], b: number[]) =>
      a.forEach((value, i) => expect(value / b[i]!).toBeCloseTo(1, 12));
    near(invFreq({}), plain);
    near(
      invFreq({ rope_scaling: { type: 'linear', factor: 4 } }),
      plain.map((f) => f / 4),
    );
    near(
      invFreq({ rope_parameters: { rope_type: 'linear', factor: 4, rope_theta: 1 } }),
      [0.25, 0.25, 0.25, 0.25],
    );
    // Turns within 2000 positions: 318, 31.8, 3.18, 0.318. Above 4 kept, below 1 divided, 3.18 in between.
    const llama3 = {
      rope_type: 'llama3',
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 2000,
    };
    const smooth = ((2000 * 0.01) / (2 * Math.PI) - 1) / 3;
    near(invFreq({ rope_scaling: llama3 }), [1, 0.1, ((1 - smooth) * 0.01) / 8 + smooth * 0.01, 0.001 / 8]);
    near(
      invFreq({ rope_parameters: { ...llama3, rope_theta: 10000 }, rope_theta: undefined }),
      invFreq({ rope_scaling: llama3 }),
    );
  });

  it('rotary keys are read where transformers 5.24 looks first, and ignored where it looks at none', () => {
    const base = { ...readJson(join(golden('qwen3'), 'config.json')), head_dim: 8, rope_theta: 10000 };
    const neox = readJson(join(golden('gpt_neox'), 'config.json'));
    const invFreq = (model_type: string, more: HfConfig) => {
      const family = familyOf({ model_type });
      const config = model_type === 'gpt_neox' ? { ...neox, rope_parameters: null } : base;
      return [...family.spec(family.complete({ ...config, model_type, ...more })).rotary!.invFreq];
    };
    for (const model_type of ['llama', 'qwen2', 'qwen3']) {
      const whole = invFreq(model_type, {});
      expect(whole).toHaveLength(4);
      // Only GPT-NeoX turns a part of a head.
      expect(invFreq(model_type, { partial_rotary_factor: 0.5 })).toEqual(whole);
      expect(invFreq(model_type, { rope_parameters: { partial_rotary_factor: 0.5, factor: 3 } })).toEqual(
        whole,
      );
    }
    const halved = invFreq('llama', { rope_scaling: { type: 'linear', factor: 2 } });
    const linear = { rope_type: 'linear', factor: 8 };
    expect(
      invFreq('llama', { rope_scaling: { type: 'linear', factor: 2 }, rope_parameters: linear }),
    ).toEqual(halved);
    expect(invFreq('llama', { rope_scaling: {}, rope_parameters: { ...linear, factor: 2 } })).toEqual(halved);
    const llama3 = { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
    const stretched = (own: number | undefined, top: number | undefined) =>
      invFreq('llama', {
        max_position_embeddings: 700,
        rope_scaling: { ...llama3, original_max_position_embeddings: own },
        original_max_position_embeddings: top,
      });
    expect(stretched(300, 500)).toEqual(stretched(500, undefined));
    expect(stretched(undefined, undefined)).toEqual(stretched(700, undefined));
    const width = neox['hidden_size'] / neox['num_attention_heads'];
    expect(invFreq('gpt_neox', { rotary_pct: 1, rope_theta: 500, partial_rotary_factor: 0.5 })).toEqual(
      Array.from({ length: width / 2 }, (_, i) => 10000 ** ((-2 * i) / width)),
    );
    expect(invFreq('gpt_neox', { rotary_pct: 1, rotary_emb_base: 500 })[1]).toBe(500 ** (-2 / width));
    expect(invFreq('gpt_neox', { rotary_pct: 1, head_dim: width / 2 })).toHaveLength(width / 4);
  });

  it('activations under all of transformers’ names for them', () => {
    const activation = (model_type: string, key: string, name: string) => {
      const family = familyOf({ model_type });
      const config = readJson(join(golden(model_type), 'config.json'));
      return family.spec(family.complete({ ...config, [key]: name })).activation;
    };
    for (const name of ['silu', 'swish']) expect(activation('llama', 'hidden_act', name)).toBe('silu_gate');
    for (const name of ['gelu', 'gelu_python'])
      expect(activation('gpt2', 'activation_function', name)).toBe('gelu');
    for (const name of ['gelu_new', 'gelu_fast', 'gelu_accurate', 'gelu_pytorch_tanh', 'gelu_python_tanh'])
      expect(activation('gpt_neox', 'hidden_act', name)).toBe('gelu_new');
  });

  it.each<[string, HfConfig, string, string[]]>([
    [
      'llama',
      { quantization_config: { quant_method: 'gptq' } },
      'ERR_UNSUPPORTED',
      ['quantization_config', 'quantised'],
    ],
    [
      'llama',
      { rope_scaling: { rope_type: 'yarn', factor: 4 } },
      'ERR_UNSUPPORTED',
      ['rope_scaling.rope_type', 'yarn', 'llama3'],
    ],
    [
      'llama',
      { rope_parameters: { full_attention: { rope_theta: 1e4 } }, rope_scaling: null },
      'ERR_UNSUPPORTED',
      ['rope_parameters.full_attention'],
    ],
    [
      'llama',
      { rope_scaling: { rope_type: 'llama3', factor: 8 } },
      'ERR_INVALID_ARG',
      ['rope_scaling.low_freq_factor'],
    ],
    [
      'llama',
      { rope_scaling: { type: 'linear', factor: '4' } },
      'ERR_INVALID_ARG',
      ['rope_scaling.factor', '"4"'],
    ],
    ['llama', { hidden_act: 'gelu' }, 'ERR_UNSUPPORTED', ['hidden_act', 'gelu', 'silu']],
    ['llama', { hidden_act: 'toString' }, 'ERR_UNSUPPORTED', ['hidden_act']],
    ['llama', { num_local_experts: 8 }, 'ERR_UNSUPPORTED', ['num_local_experts', 'experts']],
    ['llama', { sliding_window: 16 }, 'ERR_UNSUPPORTED', ['sliding_window']],
    ['llama', { sliding_window: 16, use_sliding_window: false }, 'ERR_UNSUPPORTED', ['sliding_window']],
    ['llama', { is_causal: false }, 'ERR_UNSUPPORTED', ['is_causal']],
    ['gpt2', { is_causal: null }, 'ERR_UNSUPPORTED', ['is_causal', 'remove the key']],
    ['gpt_neox', { hidden_act: 'quick_gelu' }, 'ERR_UNSUPPORTED', ['hidden_act', 'quick_gelu']],
    ['llama', { per_layer_config: { 0: { head_dim: 8 } } }, 'ERR_UNSUPPORTED', ['per_layer_config']],
    [
      'llama',
      { rope_scaling: { rope_type: 'linear', factor: 2, partial_rotary_factor: 0.5 } },
      'ERR_UNSUPPORTED',
      ['rope_scaling.partial_rotary_factor', 'whole heads'],
    ],
    [
      'qwen2',
      {
        use_sliding_window: true,
        max_position_embeddings: 5000,
        sliding_window: undefined,
        max_window_layers: 0,
      },
      'ERR_UNSUPPORTED',
      ['sliding_window 4096'],
    ],
    ['llama', { num_key_value_heads: 3 }, 'ERR_INVALID_ARG', ['num_key_value_heads', 'multiple']],
    ['llama', { vocab_size: null }, 'ERR_INVALID_ARG', ['vocab_size', 'null']],
    ['llama', { hidden_size: -4 }, 'ERR_INVALID_ARG', ['hidden_size', '-4']],
    ['llama', { rms_norm_eps: 'small' }, 'ERR_INVALID_ARG', ['rms_norm_eps']],
    ['llama', { tie_word_embeddings: 'no' }, 'ERR_INVALID_ARG', ['tie_word_embeddings']],
    [
      'qwen2',
      { use_sliding_window: true, sliding_window: 8, max_window_layers: 1 },
      'ERR_UNSUPPORTED',
      ['sliding_window'],
    ],
    [
      'qwen3',
      { layer_types: ['full_attention', 'sliding_attention'], sliding_window: 8 },
      'ERR_UNSUPPORTED',
      ['layer_types'],
    ],
    [
      'gpt2',
      { scale_attn_by_inverse_layer_idx: true },
      'ERR_UNSUPPORTED',
      ['scale_attn_by_inverse_layer_idx'],
    ],
    ['gpt2', { activation_function: 'swish' }, 'ERR_UNSUPPORTED', ['activation_function', 'swish']],
    ['gpt2', { add_cross_attention: true }, 'ERR_UNSUPPORTED', ['add_cross_attention']],
    ['gpt_neox', { rotary_pct: 0.4 }, 'ERR_INVALID_ARG', ['even number']],
    ['mixtral', {}, 'ERR_UNSUPPORTED', ['mixtral', 'llama', 'gpt_neox']],
  ])('%s with %j is refused by name', async (model_type, change, code, parts) => {
    const name = model_type === 'mixtral' ? 'llama' : model_type;
    const directory = goldenCopy(name);
    const path = join(directory, 'config.json');
    editJson(path, (config) => Object.assign(config, change, { model_type }));
    await refused(loadCheckpoint(directory, {}), code, path, ...parts);
  });

  it('takes windows that are off or longer than the context', async () => {
    for (const change of [
      { use_sliding_window: true, sliding_window: 32 },
      { use_sliding_window: true, sliding_window: 8, max_window_layers: 2 },
      { layer_types: ['full_attention', 'full_attention'] },
    ]) {
      const directory = goldenCopy('qwen2');
      editJson(join(directory, 'config.json'), (config) => Object.assign(config, change));
      await loadCheckpoint(directory, {});
    }
  });
});
