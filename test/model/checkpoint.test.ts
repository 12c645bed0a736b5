/** Model directories without the engine: which tensors a file must have, and refusals of bad ones. */
import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { loadCheckpoint } from '../../src/model/pretrained.js';
import { editRaw, float32, golden, goldenCopy } from '../helpers/files.js';
import { refused } from '../helpers/refused.js';

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
    editRaw(weights(directory), (t) => {
      t['lm_head.weight']!.data[3900]! ^= 1;
    });
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
      (d) =>
        editRaw(weights(d), (t) => {
          t['lm_head.weight']!.dtype = 'I32';
        }),
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
