/** ntk.estimate against counted work, .npy, and `headfirst ntk` from its rows to its files. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';

import { ntk as command } from '../../src/cli/commands/ntk.js';
import { npyBytes } from '../../src/core/npy.js';
import { createContext, Model, ntk } from '../../src/index.js';
import { golden, readJson, temporaryDirectory } from '../helpers/files.js';
import { Random } from '../helpers/random.js';

const context = await createContext();
const sample = (seed: number, length: number, V: number) => ({
  inputIds: [...new Random(seed).integers([length], 0, V).data],
  scoreFrom: 1,
});

describe('ntk.estimate', async () => {
  const [V, C, F, layers] = [20, 32, 128, 2];
  const model = await Model.fromConfig(
    {
      model_type: 'gpt',
      vocab_size: V,
      hidden_size: C,
      num_hidden_layers: layers,
      num_attention_heads: 2,
      max_position_embeddings: 256,
    },
    { context },
  );

  it('counts matrix products of passes and contractions, and names the cheaper form of each matrix', async () => {
    const T = 200;
    for (const [count, length, form] of [
      [40, 3, 'ghost'],
      [3, T, 'blocked'],
    ] as const) {
      const x = Array.from({ length: count }, (_, i) => sample(i, length, V));
      const { choices, flops, passFlops, shape, blocks, bytes, resultBytes, seconds, flopsPerSecond } =
        await ntk.estimate(model, x);
      expect(shape).toEqual([count, count]);
      expect([blocks, resultBytes]).toEqual([1, 8 * count * count]);
      expect(bytes).toBe((await ntk.gram(model, x)).cost.bytes);
      expect(choices.map((c) => c.name)).toEqual([
        'lm_head.weight',
        ...[0, 1].flatMap((l) =>
          ['attention.qkv', 'attention.out', 'mlp.up', 'mlp.down'].map(
            (name) => `layers.${l}.${name}.weight`,
          ),
        ),
      ]);
      expect(
        choices.filter((c) => c.name.includes('mlp')).every((c) => c.form === form),
        form,
      ).toBe(true);
      const N = count * (length - 1);
      // The last token is a target, but an input of nothing.
      const weights = layers * (3 * C * C + C * C + 2 * C * F);
      const products = 2 * weights * (N + N) + 6 * N * V * C;
      const pairs = (t: number) => (t * (t + 1)) / 2;
      const attention = layers * C * count * 14 * pairs(length - 1);
      expect(passFlops).toBe(products + attention);
      const rowPairs = (N * N + count * (length - 1) ** 2) / 2;
      const up =
        form === 'ghost' ? rowPairs * (2 * (C + F) + 2) : 2 * C * F * (N + (count * (count + 1)) / 2);
      expect(choices.find((c) => c.name === 'layers.1.mlp.up.weight')!.flops).toBe(up);
      expect(flops).toBeCloseTo(passFlops + choices.reduce((sum, c) => sum + c.flops, 0), 3);
      expect(seconds).toBe(flops / flopsPerSecond);
    }
  });

  it('sees parts, other implementations, budgets and bad input', async () => {
    const x = Array.from({ length: 6 }, (_, i) => sample(i, 30, V));
    const one = await ntk.estimate(model, x);
    const blocked = await ntk.estimate(model, x, null, { maxBytes: one.bytes - 1 });
    expect(blocked.blocks).toBeGreaterThan(1);
    expect(blocked.passFlops).toBeGreaterThan(one.passFlops);
    const columns = await ntk.estimate(model, x, x.slice(0, 2), { implementation: 'ntk-vector-products' });
    expect(columns).toMatchObject({ shape: [6, 2], choices: [] });
    expect(
      (await ntk.estimate(model, x, null, { params: /mlp/ })).choices.every((c) => c.name.includes('mlp')),
    ).toBe(true);
    expect((await ntk.estimate(model, x, null, { outputs: 'trace' })).flops).toBeGreaterThan(10 * one.flops);
    await expect(ntk.estimate(model, [{ inputIds: [1, 2], scoreFrom: 2 }])).rejects.toThrow('scoreFrom');
    await expect(ntk.estimate(model, x, null, { maxBytes: 20_000 })).rejects.toMatchObject({
      code: 'ERR_OUT_OF_MEMORY',
    });
  });
});

/** The format by hand: magic, version, header length, header to a multiple of 64, numbers. */
function readNpy(bytes: Buffer): { header: string; data: Float64Array } {
  expect([...bytes.subarray(0, 8)]).toEqual([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0]);
  const end = 10 + bytes.readUInt16LE(8);
  expect(end % 64).toBe(0);
  expect(bytes[end - 1]).toBe(10);
  return {
    header: bytes.subarray(10, end).toString('latin1').trim(),
    data: new Float64Array(Uint8Array.from(bytes.subarray(end)).buffer),
  };
}

it('.npy bytes, also of a view and a vector', () => {
  const data = Float64Array.from([0, 1, 2, 3, 4, 5, 6]).subarray(1);
  expect(readNpy(Buffer.from(npyBytes(data, [2, 3])))).toEqual({
    header: "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }",
    data: Float64Array.from([1, 2, 3, 4, 5, 6]),
  });
  expect(readNpy(Buffer.from(npyBytes(data, [6]))).header).toContain("'shape': (6,)");
});

describe('headfirst ntk', () => {
  afterEach(() => vi.restoreAllMocks());
  async function run(...argv: string[]): Promise<{ out: string; log: string }> {
    const texts = { out: '', log: '' };
    vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
      texts.out += String(text);
      return true;
    });
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
      texts.log += String(text);
      return true;
    });
    try {
      await command()
        .exitOverride()
        .configureOutput({ writeErr: () => {} })
        .parseAsync(argv, { from: 'user' });
    } finally {
      vi.restoreAllMocks();
    }
    return texts;
  }
  const model = golden('gpt2');
  const data = join(temporaryDirectory(), 'samples.jsonl');
  writeFileSync(
    data,
    '{"inputIds": [1, 2, 3, 4], "scoreFrom": 2}\n\n{"prompt": [5, 6], "completion": [7]}\n{"inputIds": [3, 1, ' +
      '2], "scoreFrom": 1}\n',
  );
  const x = [
    { inputIds: [1, 2, 3, 4], scoreFrom: 2 },
    { inputIds: [5, 6, 7], scoreFrom: 2 },
    { inputIds: [3, 1, 2], scoreFrom: 1 },
  ];

  it('decompose and gram --parts write a stack and its names; the estimate comes first', async () => {
    const loaded = await Model.fromPretrained(model, { context });
    const expected = await ntk.decompose(loaded, x);
    const file = join(temporaryDirectory(), 'k.npy');
    const { out, log } = await run('decompose', '--model', model, '--data', data, '--out', file);
    expect(log).toMatch(/^3 functions of 3 samples.*\nestimate · /);
    expect(out).toMatch(/representation +trace .*\n.*gradient.*\n.*cross.*\n.*total/);
    const { header, data: numbers } = readNpy(readFileSync(file));
    expect(header).toContain("'shape': (4, 3, 3)");
    expect([...numbers]).toEqual([
      ...expected.representation,
      ...expected.gradient,
      ...expected.cross,
      ...expected.total,
    ]);
    const sidecar = readJson(file.replace('.npy', '.json'));
    expect(sidecar['parts'].map((p: { name: string }) => p.name)).toEqual([
      'representation',
      'gradient',
      'cross',
      'total',
    ]);
    const whole = await ntk.gram(loaded, x, null, { parts: true });
    const json = JSON.parse((await run('gram', '--model', model, '--data', data, '--parts', '--json')).out);
    expect(json.parts.map((p: { name: string }) => p.name)).toEqual([
      'total',
      ...whole.parts!.map((p) => p.name),
    ]);
    expect(json.parts[0].kernel.flat()).toEqual([...whole.kernel]);
  });

  it('spectrum; bad rows and words are named', async () => {
    const json = JSON.parse((await run('spectrum', '--model', model, '--data', data, '--json')).out);
    expect(json.spectrum.eigenvalues.length).toBe(3);
    expect(json.spectrum.trace).toBeCloseTo(json.parts[0].trace, 6);
    const bad = join(temporaryDirectory(), 'bad.jsonl');
    for (const [row, text] of [
      ['{"promt": "a"}', 'row 1 must have "prompt" and "completion"'],
      ['{"prompt": [1], "completion": []}', 'empty completion'],
      ['{"inputIds": [1], "scoreFrom": 1}', 'scoreFrom'],
      ['{', 'is not JSON'],
      ['', 'holds no rows'],
      ['{"prompt": "text", "completion": [1]}', 'tokenizer.json'],
    ] as const) {
      writeFileSync(bad, row);
      await expect(run('gram', '--model', model, '--data', bad)).rejects.toThrow(text);
    }
    await expect(run('spectum', '--model', model, '--data', data)).rejects.toThrow('spectrum');
  });
});
