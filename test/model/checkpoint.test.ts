/**
 * Checkpoint files without the engine: safetensors, configs, what every family expects in a file, and
 * refusals of bad input.
 */
import { mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import type { HfConfig } from '../../src/model/families/family.js';
import { familyOf } from '../../src/model/families/index.js';
import { loadCheckpoint } from '../../src/model/pretrained.js';
import {
  readCheckpointTensors,
  readSafetensorsHeader,
  writeCheckpointTensors,
  writeSafetensors,
} from '../../src/model/safetensors/safetensors.js';
import {
  editJson,
  editRaw,
  float32,
  golden,
  goldenCopy,
  goldenFamilies,
  readJson,
  readRaw,
  temporaryDirectory,
  writeRaw,
} from '../helpers/files.js';
import { Random } from '../helpers/random.js';

/** Rejects with this code, and the message holds every one of these parts. */
async function refused(work: Promise<unknown>, code: string, ...parts: string[]): Promise<void> {
  const error = (await work.then(
    () => undefined,
    (e: unknown) => e,
  )) as (Error & { code?: string }) | undefined;
  expect(error, 'should have been refused').toBeInstanceOf(Error);
  expect(error!.code, error!.message).toBe(code);
  for (const part of parts) expect(error!.message).toContain(part);
}

const tensor = (name: string, data: Float32Array, shape: number[] = [data.length]) => ({
  name,
  shape,
  read: async () => data,
});

describe('safetensors', () => {
  it('float32 keeps its bits, at an aligned offset', async () => {
    const directory = temporaryDirectory();
    const path = join(directory, 'a.safetensors');
    const values = new Random(1).normal([35]).data;
    await writeSafetensors(
      path,
      [tensor('x', Float32Array.of(1, NaN, -0)), tensor('é "quoted"', Float32Array.from(values), [5, 7])],
      'F32',
    );
    const entries = await readSafetensorsHeader(path);
    expect([...entries.keys()]).toEqual(['x', 'é "quoted"']);
    const entry = entries.get('é "quoted"')!;
    expect(entry.shape).toEqual([5, 7]);
    expect(entry.offset % 4).toBe(0);
    expect(readRaw(path)['é "quoted"']!.data).toEqual(new Uint8Array(Float32Array.from(values).buffer));
    expect(Number(readFileSync(path).readBigUInt64LE()) % 8).toBe(0);
  });

  /** The number that 16 bits stand for. */
  const half = (bits: number) => {
    const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
    const magnitude =
      exponent === 0
        ? fraction * 2 ** -24
        : exponent === 31
          ? fraction
            ? NaN
            : Infinity
          : (1 + fraction / 1024) * 2 ** (exponent - 15);
    return bits & 0x8000 ? -magnitude : magnitude;
  };
  const brain = (bits: number) => new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!;

  it.each([
    ['F16', half],
    ['BF16', brain],
  ] as const)(
    '%s: every value keeps its bits; between two it goes to the nearest, ties to even',
    async (dtype, decode) => {
      const path = join(temporaryDirectory(), 'a.safetensors');
      const stored = async (values: number[]) => {
        await writeSafetensors(path, [tensor('x', Float32Array.from(values))], dtype);
        return new Uint16Array(readRaw(path)['x']!.data.buffer);
      };
      const all = Array.from({ length: 65536 }, (_, i) => i);
      const finite = all.filter((bits) => Number.isFinite(decode(bits)));
      expect([...(await stored(finite.map(decode)))]).toEqual(finite);
      const special = await stored([NaN, Infinity, -Infinity]);
      expect([...special].map(decode)).toEqual([NaN, Infinity, -Infinity]);

      // Between neighbours a < b of the same sign: the middle goes to the even one, a little off the middle
      // to the nearer one.
      const lower = all.filter(
        (bits) => bits < 0x7fff && Number.isFinite(decode(bits + 1)) && bits % 7 === 0,
      );
      const middle = lower.map((bits) => (decode(bits) + decode(bits + 1)) / 2);
      const exact = middle.map((m) => Math.fround(m) === m);
      const near = (m: number, factor: number) => Math.fround(m * factor);
      const [ties, up, down] = [
        await stored(middle),
        await stored(middle.map((m) => near(m, 1 + 1e-6))),
        await stored(middle.map((m) => near(m, 1 - 1e-6))),
      ];
      lower.forEach((bits, i) => {
        if (!exact[i] || middle[i]! < 1e-37) return;
        expect(ties[i], `tie above ${bits}`).toBe(bits + (bits & 1));
        expect(up[i], `above the tie over ${bits}`).toBe(bits + 1);
        expect(down[i], `below the tie over ${bits}`).toBe(bits);
      });
    },
  );

  it('refuses numbers beyond float16 and leaves nothing behind', async () => {
    const path = join(temporaryDirectory(), 'a.safetensors');
    await refused(
      writeSafetensors(
        path,
        [tensor('fine', Float32Array.of(1)), tensor('big', Float32Array.of(65519, 65520))],
        'F16',
      ),
      'ERR_DTYPE',
      "'big'",
      'BF16',
    );
    await refused(readSafetensorsHeader(path), 'ERR_IO', path, 'no such file');
  });

  it('splits into shards with an index, and reads them back', async () => {
    const directory = temporaryDirectory();
    const tensors = ['a', 'b', 'c', 'd'].map((name, i) => tensor(name, new Float32Array(10).fill(i)));
    await writeCheckpointTensors(directory, tensors, 'F32', 80);
    const entries = await readCheckpointTensors(directory);
    expect([...entries.values()].map((e) => [e.name, e.path.slice(directory.length + 1)])).toEqual([
      ['a', 'model-00001-of-00002.safetensors'],
      ['b', 'model-00001-of-00002.safetensors'],
      ['c', 'model-00002-of-00002.safetensors'],
      ['d', 'model-00002-of-00002.safetensors'],
    ]);
    const index = join(directory, 'model.safetensors.index.json');
    expect(readJson(index)['metadata']).toEqual({ total_size: 160 });

    editJson(index, (value) => (value['weight_map'].a = 'model-00002-of-00002.safetensors'));
    await refused(readCheckpointTensors(directory), 'ERR_IO', index, "'a'");
    editJson(index, (value) => (value['weight_map'].a = '../model-00001-of-00002.safetensors'));
    await refused(readCheckpointTensors(directory), 'ERR_IO', index, '../model');
    editJson(index, (value) => (value['weight_map'].a = 'model-00001-of-00002.safetensors'));
    editRaw(join(directory, 'model-00002-of-00002.safetensors'), (t) => ({ ...t, a: t['c']! }));
    await refused(readCheckpointTensors(directory), 'ERR_IO', "'a'", 'both');
    rmSync(join(directory, 'model-00002-of-00002.safetensors'));
    await refused(
      readCheckpointTensors(directory),
      'ERR_IO',
      'model-00002-of-00002.safetensors',
      'no such file',
    );
  });

  const two = {
    a: { dtype: 'F32', shape: [2], data: float32(1, 2) },
    b: { dtype: 'F32', shape: [3], data: float32(3, 4, 5) },
  };
  const offsets = (name: string, range: unknown) => (header: Record<string, any>) => ({
    ...header,
    [name]: { ...header[name], data_offsets: range },
  });
  it.each<[string, Parameters<typeof writeRaw>[2], string, string[]]>([
    ['overlapping ranges', offsets('b', [4, 16]), 'ERR_IO', ['overlap', "'a'", "'b'"]],
    ['a range past the end', offsets('b', [16, 28]), 'ERR_IO', ["'b'", 'truncated']],
    ['a gap', offsets('a', [4, 8]), 'ERR_SHAPE', ["'a'", '[2]']],
    ['bytes of no tensor', (h) => ({ b: h['b'] }), 'ERR_IO', ["'b'", '8 bytes']],
    ['a backward range', offsets('b', [20, 8]), 'ERR_IO', ["'b'", 'data_offsets']],
    ['a fractional range', offsets('b', [8, 20.5]), 'ERR_IO', ["'b'"]],
    ['no range', offsets('b', undefined), 'ERR_IO', ["'b'"]],
    [
      'an unknown dtype',
      (h) => ({ ...h, b: { ...h['b'], dtype: 'F12' } }),
      'ERR_DTYPE',
      ["'b'", 'F12', 'BF16'],
    ],
    [
      'an inherited property as dtype',
      (h) => ({ ...h, b: { ...h['b'], dtype: 'constructor' } }),
      'ERR_DTYPE',
      ["'b'"],
    ],
    [
      'a shape of another size',
      (h) => ({ ...h, b: { ...h['b'], shape: [4] } }),
      'ERR_SHAPE',
      ["'b'", '[4]', '16 bytes', '12'],
    ],
    ['a negative size', (h) => ({ ...h, b: { ...h['b'], shape: [-3] } }), 'ERR_SHAPE', ["'b'"]],
    [
      'a size that overflows',
      (h) => ({ ...h, b: { ...h['b'], shape: [2 ** 40, 2 ** 40] } }),
      'ERR_SHAPE',
      ["'b'"],
    ],
    ['null for a tensor', (h) => ({ ...h, b: null }), 'ERR_DTYPE', ["'b'"]],
    [
      'a tensor twice',
      (h) =>
        `{"a":${JSON.stringify(h['a'])},"b":${JSON.stringify(h['b'])},"\\u0061":${JSON.stringify(h['a'])}}`,
      'ERR_IO',
      ["'a'", 'twice'],
    ],
    ['a header that is not JSON', () => '{"a":', 'ERR_IO', ['JSON']],
    ['a header that is a list', () => '[1]', 'ERR_IO', ['object']],
  ])('refuses %s', async (_, header, code, parts) => {
    const path = join(temporaryDirectory(), 'a.safetensors');
    writeRaw(path, two, header);
    await refused(readSafetensorsHeader(path), code, path, ...parts);
  });

  it('refuses truncated files at every length', async () => {
    const path = join(temporaryDirectory(), 'a.safetensors');
    writeRaw(path, two);
    for (let length = readFileSync(path).length - 1; length >= 0; length -= 3) {
      truncateSync(path, length);
      await refused(readSafetensorsHeader(path), 'ERR_IO', path);
    }
    writeFileSync(path, Buffer.alloc(64, 0xff));
    await refused(readSafetensorsHeader(path), 'ERR_IO', path, 'header');
  });

  it('takes keys of metadata and strings with braces for what they are', async () => {
    const path = join(temporaryDirectory(), 'a.safetensors');
    writeRaw(path, { 'a{"': two.a, b: two.b }, (h) => ({ __metadata__: { a: '{"a":', b: '}' }, ...h }));
    expect([...(await readSafetensorsHeader(path)).keys()]).toEqual(['a{"', 'b']);
  });
});

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
    expect(roles('qwen2').roles).toContain('q_bias');
    expect(roles('qwen2').roles).not.toContain('attention_out_bias');
    expect(roles('qwen3').roles).toContain('q_norm');
    expect(roles('qwen3').spec.headDim).toBe(128);
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
      { rope_parameters: { full_attention: { rope_theta: 1e4 } } },
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

describe('directories', () => {
  const weights = (directory: string) => join(directory, 'model.safetensors');

  it('GPT-2 without its transformer. prefix, as published', async () => {
    const directory = goldenCopy('gpt2');
    editRaw(weights(directory), (t) =>
      Object.fromEntries(Object.entries(t).map(([n, v]) => [n.replace('transformer.', ''), v])),
    );
    const bare = await loadCheckpoint(directory, {});
    expect(bare.spec.parameters[0]!.name).toBe('wte.weight');
    const full = await loadCheckpoint(golden('gpt2'), {});
    expect(bare.spec.parameters.map((p) => `transformer.${p.name}`)).toEqual(
      full.spec.parameters.map((p) => p.name),
    );
    const untied = await loadCheckpoint(directory, { untieClassifier: true });
    expect(untied.spec.parameters.at(-1)).toMatchObject({
      name: 'lm_head.weight',
      role: 'classifier',
      shape: [61, 15],
    });
    expect(untied.tensors.at(-1)).toEqual(untied.tensors[0]);
    expect(untied.config['tie_word_embeddings']).toBe(false);
  });

  it('untieClassifier changes nothing on an untied model', async () => {
    expect((await loadCheckpoint(golden('llama'), { untieClassifier: true })).spec).toEqual(
      (await loadCheckpoint(golden('llama'), {})).spec,
    );
  });

  it('a tied model may store its classifier too, if it is the embedding', async () => {
    const directory = goldenCopy('qwen2');
    editRaw(weights(directory), (t) => ({ ...t, 'lm_head.weight': t['model.embed_tokens.weight']! }));
    expect((await loadCheckpoint(directory, {})).spec.parameters.some((p) => p.role === 'classifier')).toBe(
      false,
    );
    editRaw(weights(directory), (t) => void (t['lm_head.weight']!.data[3900]! ^= 1));
    await refused(
      loadCheckpoint(directory, {}),
      'ERR_UNSUPPORTED',
      weights(directory),
      "'lm_head.weight'",
      'tie_word_embeddings',
    );
  });

  it.each<[string, (directory: string) => void, string, string[]]>([
    ['no config.json', (d) => rmSync(join(d, 'config.json')), 'ERR_IO', ['config.json', 'no such file']],
    [
      'a config.json that is not JSON',
      (d) => writeFileSync(join(d, 'config.json'), '{'),
      'ERR_IO',
      ['config.json', 'JSON'],
    ],
    [
      'a config.json that is a list',
      (d) => writeFileSync(join(d, 'config.json'), '[]'),
      'ERR_IO',
      ['config.json', 'object'],
    ],
    ['no weights', (d) => rmSync(weights(d)), 'ERR_IO', ['model.safetensors']],
    [
      'pickled weights',
      (d) => {
        rmSync(weights(d));
        writeFileSync(join(d, 'pytorch_model.bin'), '');
      },
      'ERR_IO',
      ['pytorch_model.bin', 'safe_serialization'],
    ],
    [
      'truncated weights',
      (d) => truncateSync(weights(d), 9000),
      'ERR_IO',
      ['model.safetensors', 'truncated', "'"],
    ],
    [
      'a directory for weights',
      (d) => {
        rmSync(weights(d));
        mkdirSync(weights(d));
      },
      'ERR_IO',
      ['model.safetensors'],
    ],
    [
      'a missing tensor',
      (d) => editRaw(weights(d), (t) => void delete t['model.layers.1.mlp.up_proj.weight']),
      'ERR_IO',
      ["'model.layers.1.mlp.up_proj.weight'", 'missing'],
    ],
    [
      'a missing classifier',
      (d) => editRaw(weights(d), (t) => void delete t['lm_head.weight']),
      'ERR_IO',
      ["'lm_head.weight'", 'tie_word_embeddings'],
    ],
    [
      'an unexpected tensor',
      (d) =>
        editRaw(weights(d), (t) => ({
          ...t,
          'model.layers.0.self_attn.sinks': { dtype: 'F32', shape: [1], data: float32(1) },
        })),
      'ERR_UNSUPPORTED',
      ["'model.layers.0.self_attn.sinks'"],
    ],
    [
      'a third layer',
      (d) =>
        editRaw(weights(d), (t) => ({
          ...t,
          'model.layers.2.input_layernorm.weight': t['model.norm.weight']!,
        })),
      'ERR_UNSUPPORTED',
      ["'model.layers.2.input_layernorm.weight'"],
    ],
    [
      'a transposed tensor',
      (d) => editRaw(weights(d), (t) => void t['lm_head.weight']!.shape.reverse()),
      'ERR_SHAPE',
      ["'lm_head.weight'", '[61, 16]', '[16, 61]'],
    ],
    [
      'another rank',
      (d) => editRaw(weights(d), (t) => void t['model.norm.weight']!.shape.push(1)),
      'ERR_SHAPE',
      ["'model.norm.weight'", '[16]', '[16, 1]'],
    ],
    [
      'integers',
      (d) => editRaw(weights(d), (t) => void (t['lm_head.weight']!.dtype = 'I32')),
      'ERR_DTYPE',
      ["'lm_head.weight'", 'I32'],
    ],
    [
      'float8',
      (d) =>
        editRaw(weights(d), (t) => {
          t['model.norm.weight'] = { dtype: 'F8_E4M3', shape: [16], data: new Uint8Array(16) };
        }),
      'ERR_UNSUPPORTED',
      ["'model.norm.weight'", 'F8_E4M3', 'quantised'],
    ],
    [
      'packed int4 beside the weights',
      (d) =>
        editRaw(weights(d), (t) => ({
          ...t,
          'model.layers.0.mlp.up_proj.qzeros': { dtype: 'U8', shape: [4], data: new Uint8Array(4) },
        })),
      'ERR_UNSUPPORTED',
      ['qzeros', 'quantised'],
    ],
    [
      'a broken tokenizer.json',
      (d) => writeFileSync(join(d, 'tokenizer.json'), 'x'),
      'ERR_IO',
      ['tokenizer.json', 'JSON'],
    ],
    [
      'an unknown tokenizer',
      (d) => writeFileSync(join(d, 'tokenizer.json'), '{"model":{"type":"Markov"},"added_tokens":[]}'),
      'ERR_UNSUPPORTED',
      ['tokenizer.json'],
    ],
  ])('refuses %s', async (_, damage, code, parts) => {
    const directory = goldenCopy('llama');
    damage(directory);
    await refused(loadCheckpoint(directory, {}), code, directory, ...parts);
  });

  it('refuses unknown options, with the nearest name', async () => {
    await refused(
      loadCheckpoint(golden('llama'), { untieClasifier: true } as object),
      'ERR_INVALID_ARG',
      "'untieClasifier'",
      "'untieClassifier'",
    );
  });
});
