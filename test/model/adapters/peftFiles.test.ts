/**
 * What adapter_config.json and the names in adapter_model.safetensors mean to peft 0.21, or why they are
 * refused.
 */
import { join } from 'node:path';
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

import { createContext, Model, type PeftConfig } from '../../../src/index.js';
import {
  editJson,
  editRaw,
  golden,
  goldenCopy,
  readJson,
  readRaw,
  sharedData,
  temporaryDirectory,
} from '../../helpers/files.js';
import { Random } from '../../helpers/random.js';
import { refused } from '../../helpers/refused.js';

const context = await createContext({ threads: 1 });
const ids = [3, 14, 15, 9, 26, 5, 35];
const cases = sharedData('../cases');
const withoutCases = !existsSync(cases);
const needsCases = withoutCases ? ' (skipped: ../shared/cases is not on this machine)' : '';

const load = (name: string, peftConfig: PeftConfig) =>
  Model.fromPretrained(golden(name), { context, peftConfig });
/** Every trainable number moved, as by training. */
async function moved(model: Model): Promise<Model> {
  const random = new Random(7);
  for (const { name, size } of model.parameters((p) => p.trainable)) {
    const before = await model.getParameter(name);
    const moves = random.normal([size]).data;
    await model.setParameter(
      name,
      before.map((value, index) => value + 0.1 * moves[index]!),
    );
  }
  return model;
}
async function saved(model: Model): Promise<string> {
  const directory = join(temporaryDirectory(), 'adapter');
  await model.saveAdapter(directory);
  return directory;
}
const configOf = (directory: string) => join(directory, 'adapter_config.json');
const weightsOf = (directory: string) => join(directory, 'adapter_model.safetensors');
async function logitsOf(model: Model): Promise<number[]> {
  const { logits } = await model.forward({ inputIds: [ids] });
  return [...(await logits![0]!.data())];
}
const adapted = (model: Model) => [
  ...new Set(model.parameters(/lora_/).map((p) => p.name.replace(/\.lora_[AB]\.weight$/, ''))),
];
const inFull = (model: Model) =>
  model.parameters((p) => p.trainable && !/lora_/.test(p.name)).map((p) => p.name);

describe('which modules', () => {
  it('patterns in Python’s syntax, layers and exclusions choose what peft chooses', async () => {
    const chosen = async (options: PeftConfig) => adapted(await load('llama', options));
    const layer = (n: number, ...names: string[]) =>
      names.map((name) => `model.layers.${n}.self_attn.${name}`);
    const both = [...layer(0, 'q_proj', 'v_proj'), ...layer(1, 'q_proj', 'v_proj')];
    expect(await chosen({ targetModules: '.*\\.(?P<p>q|v)_proj' })).toEqual(both);
    expect(await chosen({ targetModules: '(?i).*\\.(Q|V)_PROJ' })).toEqual(both);
    expect(await chosen({ targetModules: ['q_proj', 'v_proj'], layersToTransform: [1] })).toEqual(
      layer(1, 'q_proj', 'v_proj'),
    );
    expect(
      await chosen({
        targetModules: ['q_proj', 'v_proj'],
        layersToTransform: 0,
        layersPattern: ['h', 'layers'],
      }),
    ).toEqual(layer(0, 'q_proj', 'v_proj'));
    expect(await chosen({ targetModules: 'ALL-linear', excludeModules: '.*(mlp|[kvo]_proj).*' })).toEqual([
      ...layer(0, 'q_proj'),
      ...layer(1, 'q_proj'),
    ]);
    expect(
      await chosen({ targetModules: ['q_proj'], excludeModules: ['layers.0.self_attn.q_proj'] }),
    ).toEqual(layer(1, 'q_proj'));
    await refused(
      chosen({ targetModules: '(q)\\1' }),
      'ERR_INVALID_ARG',
      'targetModules',
      'a reference back by number',
    );
    await refused(
      chosen({ targetModules: ['q_proj'], layersPattern: 'h' }),
      'ERR_INVALID_ARG',
      'layersToTransform',
    );
    await refused(
      chosen({ targetModules: 'q', layersToTransform: 1 }),
      'ERR_INVALID_ARG',
      'layersToTransform',
    );
  });

  it('modulesToSave matches by plain ends, whole branches too, and takes them from the targets', async () => {
    const chosen = async (modulesToSave: string[], targetModules: PeftConfig['targetModules'] = ['q_proj']) =>
      load('llama', { targetModules, modulesToSave });
    expect(inFull(await chosen(['norm']))).toEqual([
      'model.layers.0.input_layernorm.weight',
      'model.layers.0.post_attention_layernorm.weight',
      'model.layers.1.input_layernorm.weight',
      'model.layers.1.post_attention_layernorm.weight',
      'model.norm.weight',
    ]);
    const branch = await chosen(['layers.1.mlp'], ['up_proj']);
    expect(inFull(branch).every((name) => name.startsWith('model.layers.1.mlp.'))).toBe(true);
    expect(adapted(branch)).toEqual(['model.layers.0.mlp.up_proj']);
    await refused(chosen(['proj']), 'ERR_UNSUPPORTED', 'q_proj is a LoRA target and also in');
    await refused(chosen(['mlp', 'up_proj']), 'ERR_UNSUPPORTED', 'lies in the other');
  });

  it('the own family gpt has default targets', async () => {
    const sizes = { vocab_size: 17, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2 };
    const config = { model_type: 'gpt', ...sizes, max_position_embeddings: 12 };
    const model = await Model.fromConfig(config, { context, peftConfig: {} });
    expect(adapted(model)).toEqual(['layers.0.attention.qkv']);
  });
});

describe('names and ties', () => {
  it.each([
    ['qwen2', 'model.embed_tokens', 'embed_tokens'],
    ['gpt2', 'transformer.wte', 'wte'],
  ])(
    '%s, tied: the embedding alone moves, and the classifier stays, as in peft',
    async (name, module, end) => {
      expect((await Model.fromPretrained(golden(name), { context })).tied).toBe(true);
      const fresh = await load(name, { modulesToSave: [end] });
      expect(await logitsOf(fresh)).toEqual(
        await logitsOf(await Model.fromPretrained(golden(name), { context })),
      );
      expect(inFull(fresh)).toEqual([fresh.parameters((p) => p.role === 'embedding')[0]!.name]);
      const model = await moved(fresh);
      const classifier = await model.getParameter('lm_head.weight');
      const directory = await saved(model);
      expect(Object.keys(readRaw(weightsOf(directory)))).toContain(`base_model.model.${module}.weight`);
      const again = await Model.fromPretrained(golden(name), { context, adapter: directory });
      expect(await logitsOf(again)).toEqual(await logitsOf(model));
      const plain = await Model.fromPretrained(golden(name), { context, untieClassifier: true });
      expect(classifier).toEqual(await plain.getParameter('lm_head.weight'));
    },
  );

  it('tied: the classifier alone moves, and the embedding stays', async () => {
    const model = await moved(await load('qwen2', { modulesToSave: ['lm_head'] }));
    expect(inFull(model)).toEqual(['lm_head.weight']);
    const directory = await saved(model);
    const again = await Model.fromPretrained(golden('qwen2'), { context, adapter: directory });
    expect(await logitsOf(again)).toEqual(await logitsOf(model));
    const sizes = { vocab_size: 17, n_embd: 8, n_layer: 1, n_head: 2, n_positions: 12 };
    const fromConfig = (peftConfig?: PeftConfig) =>
      Model.fromConfig({ model_type: 'gpt2', ...sizes }, { context, seed: 3, peftConfig });
    const made = await fromConfig({ modulesToSave: ['lm_head'] });
    expect(made.tied).toBe(false);
    expect(await made.getParameter('lm_head.weight')).toEqual(
      await made.getParameter('transformer.wte.weight'),
    );
  });

  it('GPT-NeoX: saved under the name in memory, which alone peft knows; the other one is refused', async () => {
    const directory = await saved(await moved(await load('gpt_neox', { modulesToSave: ['embed_out'] })));
    expect(readJson(configOf(directory))['modules_to_save']).toEqual(['lm_head']);
    expect(Object.keys(readRaw(weightsOf(directory)))).toContain('base_model.model.lm_head.weight');
    editJson(configOf(directory), (config) => {
      config['modules_to_save'] = ['embed_out'];
    });
    await refused(
      Model.fromPretrained(golden('gpt_neox'), { context, adapter: directory }),
      'ERR_UNSUPPORTED',
      'modules_to_save',
      "'lm_head'",
    );
  });
});

describe('adapter_config.json', () => {
  it.each<[string, unknown]>([
    ['init_lora_weights', 'pissa'],
    ['init_lora_weights', 'pissa_niter_16'],
    ['init_lora_weights', 'olora'],
    ['init_lora_weights', 'corda'],
    ['init_lora_weights', 'loftq'],
    ['init_lora_weights', 'lora_ga'],
    ['init_lora_weights', 'of tomorrow'],
    ['alpha_pattern', { q_proj: 3 }],
    ['target_parameters', ['a']],
    ['trainable_token_indices', [1]],
    ['lora_bias', true],
    ['ensure_weight_tying', true],
    ['velora_config', { rank: 1 }],
    ['use_bdlora', { nblocks: 2 }],
    ['layer_replication', [[0, 1]]],
    ['megatron_config', { a: 1 }],
    ['a_key_of_tomorrow', 1],
  ])('%s %j is refused by name', async (key, value) => {
    const directory = await saved(await load('llama', { r: 2 }));
    editJson(configOf(directory), (config) => {
      config[key] = value;
    });
    await refused(
      Model.fromPretrained(golden('llama'), { context, adapter: directory }),
      'ERR_UNSUPPORTED',
      directory,
      key,
      JSON.stringify(value),
    );
  });

  it('keys that change nothing are taken', async () => {
    const model = await moved(await load('llama', { r: 2 }));
    const directory = await saved(model);
    editJson(configOf(directory), (config) =>
      Object.assign(config, {
        init_lora_weights: 'eva',
        eva_config: { rho: 2 },
        lora_dropout: 0.1,
        fan_in_fan_out: true,
        trainable_token_indices: null,
        a_key_of_tomorrow: null,
        runtime_config: { ephemeral_gpu_offload: false },
        loftq_config: {},
      }),
    );
    const again = await Model.fromPretrained(golden('llama'), { context, adapter: directory });
    expect(await logitsOf(again)).toEqual(await logitsOf(model));
  });
});

it('a directory of an adapter is no model, and the error says what to load', async () => {
  const directory = await saved(await load('llama', {}));
  await refused(
    Model.fromPretrained(directory, { context }),
    'ERR_UNSUPPORTED',
    'its base model',
    'as adapter',
  );
  editJson(configOf(directory), (config) => {
    config['base_model_name_or_path'] = 'some/base';
  });
  await refused(Model.fromPretrained(directory, { context }), 'ERR_UNSUPPORTED', directory, "'some/base'");
});

/** A tensor's first number replaced by a NaN. */
const spoil = (path: string, wanted: RegExp) =>
  editRaw(path, (tensors) => {
    const name = Object.keys(tensors).find((each) => wanted.test(each))!;
    const data = Uint8Array.from(tensors[name]!.data);
    data.set([0, 0, 0xc0, 0x7f]);
    return { ...tensors, [name]: { ...tensors[name]!, data } };
  });

describe('numbers that are not finite', () => {
  it('of a model are refused with the tensor’s name, or loaded where that is asked for', async () => {
    const directory = goldenCopy('llama');
    spoil(join(directory, 'model.safetensors'), /layers\.1\.mlp\.up_proj\.weight/);
    const name = "tensor 'model.layers.1.mlp.up_proj.weight' has 1 numbers that are NaN or infinite";
    await refused(
      Model.fromPretrained(directory, { context }),
      'ERR_UNSUPPORTED',
      directory,
      name,
      'allowNonFinite',
    );
    const model = await Model.fromPretrained(directory, { context, allowNonFinite: true });
    expect((await model.getParameter('model.layers.1.mlp.up_proj.weight'))[0]).toBeNaN();
  });

  // One, infinity, minus infinity, NaN, the largest number.
  const WORDS = {
    F64: [0x3ff0n << 48n, 0x7ff0n << 48n, 0xfff0n << 48n, 0x7ff8n << 48n, (0x7ff0n << 48n) - 1n],
    F32: [0x3f800000n, 0x7f800000n, 0xff800000n, 0x7fc00000n, 0x7f7fffffn],
    BF16: [0x3f80n, 0x7f80n, 0xff80n, 0x7fc0n, 0x7f7fn],
    F16: [0x3c00n, 0x7c00n, 0xfc00n, 0x7e00n, 0x7bffn],
  };
  const BYTES = { F64: 8, F32: 4, BF16: 2, F16: 2 };
  it.each(['F64', 'F32', 'BF16', 'F16'] as const)('are found in %s, wherever they stand', async (dtype) => {
    const [one, ...others] = WORDS[dtype] as [bigint, ...bigint[]];
    for (const word of others)
      for (const place of [0, 13, -1]) {
        const directory = goldenCopy('llama');
        editRaw(join(directory, 'model.safetensors'), (tensors) => {
          const { shape } = tensors['model.norm.weight']!;
          const words = Array<bigint>(shape.reduce((product, length) => product * length, 1)).fill(one);
          words[place < 0 ? words.length - 1 : place] = word;
          const data = Buffer.alloc(words.length * BYTES[dtype]);
          for (const [i, each] of words.entries())
            for (let byte = 0; byte < BYTES[dtype]; ++byte)
              data[i * BYTES[dtype] + byte] = Number((each >> BigInt(8 * byte)) & 0xffn);
          return { ...tensors, 'model.norm.weight': { dtype, shape, data } };
        });
        // The largest double is no float32.
        const fitsFloat32 = word === others[3] && dtype !== 'F64';
        const loading = Model.fromPretrained(directory, { context });
        if (fitsFloat32) await loading;
        else await refused(loading, 'ERR_UNSUPPORTED', "'model.norm.weight' has 1 numbers");
      }
  });

  it('of an adapter leave the model as it was', async () => {
    const model = await moved(await load('llama', {}));
    const before = await logitsOf(model);
    const directory = await saved(await load('llama', {}));
    spoil(weightsOf(directory), /layers\.1\..*lora_A/);
    await refused(model.loadAdapter(directory), 'ERR_UNSUPPORTED', 'lora_A', 'NaN or infinite');
    expect(await logitsOf(model)).toEqual(before);
  });
});

describe.skipIf(withoutCases)(`cases of others${needsCases}`, () => {
  it('an adapter of pissa is refused', async () => {
    const adapter = join(cases, '12-pissa-adapter/adapter');
    await refused(
      Model.fromPretrained(sharedData('stories260K'), { context, adapter }),
      'ERR_UNSUPPORTED',
      'init_lora_weights "pissa"',
    );
  });
  it.each([
    ['36-rotary-key', '36-rotary-key', undefined],
    ['37-tied-adapter', '37-tied-adapter/base', undefined],
    ['37-tied-adapter', '37-tied-adapter/base', '37-tied-adapter/adapter'],
  ])('%s: %s with adapter %s has the right logits', async (name, base, adapter) => {
    const directory = join(cases, base);
    const options = adapter === undefined ? {} : { adapter: join(cases, adapter) };
    const model = await Model.fromPretrained(directory, { context, ...options });
    const idsFile = join(cases, name === '36-rotary-key' ? base : '37-tied-adapter/base', 'ids.json');
    const sequence = [readJson(idsFile) as unknown as number[] | number[][]].flat(2) as number[];
    const bytes = readFileSync(join(cases, adapter ?? base, 'z.npy'));
    const right = new Float64Array(
      bytes.buffer.slice(bytes.byteOffset + bytes.readUInt16LE(8) + 10, bytes.byteOffset + bytes.length),
    );
    const { logits } = await model.forward({ inputIds: [sequence] });
    const got = await logits![0]!.data();
    const range = Math.max(...right) - Math.min(...right);
    expect(got.length).toBe(right.length);
    right.forEach((value, index) => expect(Math.abs(got[index]! - value)).toBeLessThan(2e-6 * range));
  });
});
