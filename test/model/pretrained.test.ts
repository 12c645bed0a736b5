/**
 * savePretrained and what it promises: the same bits again, names and keys of the family, an old directory
 * that survives every failure.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';

import { createContext } from '../../src/core/context.js';
import { Model } from '../../src/model/model.js';
import {
  golden,
  goldenCopy,
  goldenFamilies,
  editJson,
  editRaw,
  needsSharedData,
  readJson,
  readRaw,
  sharedData,
  temporaryDirectory,
  withoutSharedData,
} from '../helpers/files.js';

const context = await createContext({ device: 'cpu', threads: 1 });
afterAll(() => context.dispose());

const ids = [
  [3, 1, 4, 1, 5, 9],
  [2, 6],
];

/** A digest of the logits' bits. */
async function bits(model: Model): Promise<string> {
  const { logits } = await model.forward({ inputIds: ids });
  const digest = createHash('sha256');
  for (const tensor of logits!) digest.update(new Uint8Array((await tensor.data()).buffer));
  return digest.digest('hex');
}
/** All files below a directory, with what they hold. */
function contents(directory: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => [
        join(entry.parentPath, entry.name).slice(directory.length + 1),
        readFileSync(join(entry.parentPath, entry.name), 'latin1'),
      ]),
  );
}
const weights = (directory: string) => readRaw(join(directory, 'model.safetensors'));
const isBuffer = (name: string) => /attention\.(bias|masked_bias|rotary_emb)/.test(name);

describe('savePretrained', () => {
  it.each(goldenFamilies)('%s: the same tensors, names, config and logits again', async (name) => {
    const directory = join(temporaryDirectory(), 'a/b');
    const model = await Model.fromPretrained(golden(name), { context });
    await model.savePretrained(directory);
    expect(readdirSync(directory).sort()).toEqual(['config.json', 'model.safetensors']);
    expect(readdirSync(dirname(directory))).toEqual(['b']);
    const original = weights(golden(name));
    expect(weights(directory)).toEqual(
      Object.fromEntries(Object.entries(original).filter(([key]) => !isBuffer(key))),
    );
    const config = readJson(join(directory, 'config.json'));
    for (const [key, value] of Object.entries(readJson(join(golden(name), 'config.json'))))
      if (value !== null) expect(config[key], key).toEqual(value);
    expect(config['torch_dtype']).toBe('float32');
    if (name !== 'gpt')
      expect(config['architectures']).toEqual([
        {
          llama: 'LlamaForCausalLM',
          gpt_neox: 'GPTNeoXForCausalLM',
          gpt2: 'GPT2LMHeadModel',
          qwen2: 'Qwen2ForCausalLM',
          qwen3: 'Qwen3ForCausalLM',
        }[config['model_type'] as string],
      ]);
    expect(await bits(await Model.fromPretrained(directory, { context }))).toEqual(await bits(model));
  });

  it.each(['BF16', 'F16'] as const)(
    '%s: a file in it comes back bit for bit, in shards too',
    async (dtype) => {
      const [first, second] = [join(temporaryDirectory(), 'x'), join(temporaryDirectory(), 'y')];
      await (await Model.fromPretrained(golden('qwen3'), { context })).savePretrained(first, { dtype });
      const rounded = await Model.fromPretrained(first, { context });
      expect(Object.values(weights(first)).every((tensor) => tensor.dtype === dtype)).toBe(true);
      expect(readJson(join(first, 'config.json'))['torch_dtype']).toBe(
        dtype === 'BF16' ? 'bfloat16' : 'float16',
      );
      await rounded.savePretrained(second, { dtype, maxShardBytes: 3000 });
      const shards = readdirSync(second).filter((file) => file.endsWith('.safetensors'));
      expect(shards.length).toBeGreaterThan(2);
      expect(Object.assign({}, ...shards.map((file) => readRaw(join(second, file))))).toEqual(weights(first));
      expect(await bits(await Model.fromPretrained(second, { context }))).toEqual(await bits(rounded));
    },
  );

  it('float64 arithmetic saves and loads too', async () => {
    const directory = join(temporaryDirectory(), 'x');
    const fp64 = await createContext({ math: 'fp64' });
    await (await Model.fromPretrained(golden('gpt2'), { context: fp64 })).savePretrained(directory);
    expect(weights(directory)).toEqual(weights(golden('gpt2')));
    fp64.dispose();
  });

  it('stores what was stored, as transformers does, unless told', async () => {
    const stored = async (path: string, dtype?: 'F32') => {
      const directory = join(temporaryDirectory(), 'again');
      const model = await Model.fromPretrained(path, { context });
      await model.savePretrained(directory, dtype ? { dtype } : {});
      const types = new Set(Object.values(weights(directory)).map((tensor) => tensor.dtype));
      const config = readJson(join(directory, 'config.json'));
      return [...types, config['dtype'] ?? config['torch_dtype']];
    };
    for (const [dtype, name, saved] of [
      ['BF16', 'bfloat16', 'BF16'],
      ['F16', 'float16', 'F16'],
      ['F64', 'float32', 'F32'],
    ] as const) {
      const directory = join(temporaryDirectory(), dtype);
      await (await Model.fromPretrained(golden('llama'), { context })).savePretrained(directory, { dtype });
      expect(await stored(directory)).toEqual([saved, name]);
      expect(await stored(directory, 'F32')).toEqual(['F32', 'float32']);
    }
    expect(await stored(golden('llama'))).toEqual(['F32', 'float32']);
  });

  it('keeps the folder of further chat templates, and replaces an older one', async () => {
    const source = goldenCopy('llama');
    mkdirSync(join(source, 'additional_chat_templates'));
    writeFileSync(join(source, 'additional_chat_templates/tool_use.jinja'), 'é {{ tools }}');
    writeFileSync(join(source, 'chat_template.jinja'), '{{ messages }}');
    const directory = join(temporaryDirectory(), 'model');
    mkdirSync(join(directory, 'additional_chat_templates'), { recursive: true });
    writeFileSync(join(directory, 'additional_chat_templates/old.jinja'), 'old');
    writeFileSync(join(directory, 'config.json'), '{}');
    const model = await Model.fromPretrained(source, { context });
    await model.savePretrained(directory);
    expect(contents(join(directory, 'additional_chat_templates'))).toEqual({
      'tool_use.jinja': contents(source)['additional_chat_templates/tool_use.jinja'],
    });
    const plain = await Model.fromPretrained(golden('llama'), { context });
    await plain.savePretrained(directory);
    expect(existsSync(join(directory, 'additional_chat_templates'))).toBe(false);
  });

  it('a model from fromConfig, of every family', async () => {
    const sizes = {
      vocab_size: 61,
      hidden_size: 24,
      num_hidden_layers: 2,
      num_attention_heads: 3,
      intermediate_size: 40,
      max_position_embeddings: 32,
    };
    for (const model_type of ['gpt', 'gpt2', 'gpt_neox', 'llama', 'qwen2', 'qwen3']) {
      const directory = join(temporaryDirectory(), model_type);
      const config = { model_type, ...sizes, num_key_value_heads: 3 };
      const model = await Model.fromConfig(config, { context, seed: 3 });
      await model.savePretrained(directory);
      const again = await Model.fromPretrained(directory, { context });
      expect(await bits(again), model_type).toEqual(await bits(model));
      expect(again.parameters().map((p) => [p.name, p.shape])).toEqual(
        model.parameters().map((p) => [p.name, p.shape]),
      );
    }
  });

  it("untied: the classifier is a matrix of its own under the family's name, at first the embedding", async () => {
    for (const [name, embedding] of [
      ['gpt2', 'transformer.wte.weight'],
      ['qwen2', 'model.embed_tokens.weight'],
      ['llama_linear', 'model.embed_tokens.weight'],
    ] as const) {
      const directory = join(temporaryDirectory(), name);
      const model = await Model.fromPretrained(golden(name), { context, untieClassifier: true });
      expect(model.tied).toBe(false);
      expect(await bits(model)).toEqual(await bits(await Model.fromPretrained(golden(name), { context })));
      const moved = (await model.getParameter('lm_head.weight')).map((w) => 2 * w) as Float32Array;
      await model.setParameter('lm_head.weight', moved);
      await model.savePretrained(directory);
      const saved = weights(directory);
      expect(saved[embedding]).toEqual(weights(golden(name))[embedding]);
      expect(saved['lm_head.weight']!.data).toEqual(new Uint8Array(moved.buffer));
      expect(readJson(join(directory, 'config.json'))['tie_word_embeddings']).toBe(false);
      const again = await Model.fromPretrained(directory, { context });
      expect(again.tied).toBe(false);
      expect(await bits(again)).toEqual(await bits(model));
    }
  });

  it('GPT-2 without prefix: kept as it is while tied, prefixed once there is a classifier', async () => {
    const source = goldenCopy('gpt2');
    editRaw(join(source, 'model.safetensors'), (t) =>
      Object.fromEntries(Object.entries(t).map(([n, v]) => [n.replace('transformer.', ''), v])),
    );
    const directory = join(temporaryDirectory(), 'x');
    const model = await Model.fromPretrained(source, { context });
    expect(await bits(model)).toEqual(await bits(await Model.fromPretrained(golden('gpt2'), { context })));
    await model.savePretrained(directory);
    expect(Object.keys(weights(directory))).toContain('wte.weight');
    await (await Model.fromPretrained(source, { context, untieClassifier: true })).savePretrained(directory);
    expect(Object.keys(weights(directory)).sort()).toEqual(
      [...Object.keys(weights(golden('gpt2'))), 'lm_head.weight'].sort(),
    );
  });

  it('stop tokens: generation_config.json, else config.json; one or several', async () => {
    const directory = goldenCopy('llama');
    const greedy = async () => {
      const model = await Model.fromPretrained(directory, { context });
      const [completion] = await model.generate([[3, 1, 4]], { maxNewTokens: 6, temperature: 0 });
      return completion!;
    };
    editJson(join(directory, 'config.json'), (config) => delete config['eos_token_id']);
    const free = await greedy();
    expect(free.finishReason).toBe('length');
    const [first, second] = [...new Set(free.completionIds)];
    editJson(join(directory, 'config.json'), (config) => (config['eos_token_id'] = [second, 60]));
    expect(await greedy()).toMatchObject({
      finishReason: 'stop',
      completionIds: free.completionIds.slice(0, free.completionIds.indexOf(second!) + 1),
    });
    writeFileSync(join(directory, 'generation_config.json'), JSON.stringify({ eos_token_id: first }));
    expect(await greedy()).toMatchObject({ finishReason: 'stop', completionIds: [first] });
  });

  it.skipIf(withoutSharedData)(`tokenizer files are copied byte for byte${needsSharedData}`, async () => {
    const directory = join(temporaryDirectory(), 'x');
    cpSync(sharedData('stories260K'), directory, { recursive: true });
    writeFileSync(join(directory, 'README.md'), 'mine');
    const model = await (await Model.fromPretrained(directory, { context })).clone();
    // Over its own source: the files must not be read again while they are replaced.
    await model.savePretrained(directory);
    const [before, after] = [contents(sharedData('stories260K')), contents(directory)];
    for (const file of [
      'tokenizer.json',
      'tokenizer_config.json',
      'generation_config.json',
      'reference/reference.json',
    ])
      expect(after[file], file).toBe(before[file]);
    expect(after['README.md']).toBe('mine');
    expect(Object.keys(after).sort()).toEqual([...Object.keys(before), 'README.md'].sort());
    expect((await Model.fromPretrained(directory, { context })).tokenizer.encode('Once')).toEqual(
      model.tokenizer.encode('Once'),
    );
  });
});

describe('failures leave what was there', () => {
  const existing = async () => {
    const directory = goldenCopy('llama');
    return {
      directory,
      before: contents(directory),
      model: await Model.fromPretrained(golden('qwen3'), { context }),
    };
  };
  const unchanged = (directory: string, before: Record<string, string>) => {
    expect(contents(directory)).toEqual(before);
    expect(readdirSync(dirname(directory))).toEqual([directory.slice(dirname(directory).length + 1)]);
  };

  it('cancelled half-way', async () => {
    const { directory, before, model } = await existing();
    const controller = new AbortController();
    const reason = new Error('enough');
    const saving = model.savePretrained(directory, {
      signal: controller.signal,
      onProgress: (done) => done === 5 && controller.abort(reason),
    });
    await expect(saving).rejects.toBe(reason);
    unchanged(directory, before);
  });

  it('numbers beyond float16', async () => {
    const { directory, before, model } = await existing();
    await model.setParameter('model.norm.weight', new Float32Array(16).fill(1e6));
    await expect(model.savePretrained(directory, { dtype: 'F16' })).rejects.toMatchObject({
      code: 'ERR_DTYPE',
      message: expect.stringContaining("'model.norm.weight'"),
    });
    unchanged(directory, before);
    await model.savePretrained(directory, { dtype: 'BF16' });
    expect(readJson(join(directory, 'config.json'))['model_type']).toBe('qwen3');
  });

  it("a directory of somebody else's files", async () => {
    const { model } = await existing();
    const directory = join(temporaryDirectory(), 'thesis');
    mkdirSync(directory);
    writeFileSync(join(directory, 'chapter1.tex'), 'x');
    await expect(model.savePretrained(directory)).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG',
      message: expect.stringContaining('thesis'),
    });
    unchanged(directory, { 'chapter1.tex': 'x' });
  });

  it('a path below a file, and a file in the way', async () => {
    const { model } = await existing();
    const file = join(temporaryDirectory(), 'file');
    writeFileSync(file, 'x');
    for (const path of [file, join(file, 'below')])
      await expect(model.savePretrained(path)).rejects.toMatchObject({
        code: 'ERR_IO',
        message: expect.stringContaining(`savePretrained: cannot write ${path}`),
      });
    expect(readFileSync(file, 'utf8')).toBe('x');
  });

  it('options that do not exist', async () => {
    const { model, directory } = await existing();
    await expect(model.savePretrained(directory, { dype: 'F16' } as object)).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG',
      message: expect.stringContaining("Did you mean 'dtype'?"),
    });
    await expect(model.savePretrained(directory, { dtype: 'F8' as 'F16' })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG',
    });
  });

  it('through a symbolic link, the link stays', async () => {
    const { directory, model } = await existing();
    const link = join(temporaryDirectory(), 'latest');
    symlinkSync(directory, link);
    await model.savePretrained(link);
    expect(readJson(join(directory, 'config.json'))['model_type']).toBe('qwen3');
    expect(existsSync(join(link, 'model.safetensors'))).toBe(true);
  });

  /** A file system of 64 KiB, where mounting is allowed. */
  function smallDisk(): string | undefined {
    const directory = temporaryDirectory();
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'none', directory], { stdio: 'ignore' });
    } catch {
      return undefined;
    }
    afterAll(() => execFileSync('umount', [directory]));
    return directory;
  }
  const disk = smallDisk();
  it.skipIf(!disk)(
    `a full disk${disk ? '' : ' (skipped: mounting a small file system is not allowed here)'}`,
    async () => {
      const { model } = await existing();
      const directory = join(disk!, 'model');
      await model.savePretrained(directory, { dtype: 'BF16' });
      const before = contents(directory);
      writeFileSync(join(disk!, 'ballast'), Buffer.alloc(24 << 10));
      await expect(model.savePretrained(directory)).rejects.toMatchObject({
        code: 'ERR_IO',
        message: expect.stringMatching(/cannot write .*model.*ENOSPC.*free space/s),
      });
      expect(contents(directory)).toEqual(before);
      expect(readdirSync(disk!).sort()).toEqual(['ballast', 'model']);
    },
  );
});
