/** Safetensors files: what is written is read back bit by bit, and what is damaged is refused. */
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import {
  readCheckpointTensors,
  readSafetensorsHeader,
  writeCheckpointTensors,
  writeSafetensors,
} from '../../../src/model/safetensors/safetensors.js';
import {
  editJson,
  editRaw,
  float32,
  readJson,
  readRaw,
  temporaryDirectory,
  writeRaw,
} from '../../helpers/files.js';
import { Random } from '../../helpers/random.js';
import { refused } from '../../helpers/refused.js';

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
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
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
