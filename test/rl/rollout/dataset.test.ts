import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';

import { placeOf, readJsonLines, Sampler, trainTestSplit } from '../../../src/rl/rollout/dataset.js';

describe('Sampler', () => {
  const rows = [...'abcdefg'];
  const order = (seed: number, shuffle: boolean, begin = 0, count = 21) =>
    new Sampler(rows, { seed, shuffle }).rows(begin, count).join('');
  it('gives every row once per epoch, in an order of its own', () => {
    const epochs = [0, 7, 14].map((begin) => order(3, true, begin, 7));
    for (const epoch of epochs) expect([...epoch].sort().join('')).toBe('abcdefg');
    expect(new Set(epochs).size).toBe(3);
    expect(order(4, true)).not.toBe(order(3, true));
    expect(order(3, false)).toBe('abcdefg'.repeat(3));
  });
  it('depends on the position only, not on how it was reached', () => {
    expect(order(3, true, 5, 9)).toBe(order(3, true).slice(5, 14));
  });
  it('rows made on demand get a stream of their own', () => {
    const make = () =>
      new Sampler((index, random) => [index, random.uniform(), random.integer(10)] as const, {
        seed: 1,
        shuffle: true,
      });
    const all = make().rows(0, 10);
    expect(make().rows(6, 2)).toEqual(all.slice(6, 8));
    expect(new Set(all.map((row) => row[1])).size).toBe(10);
  });
  it('refuses nothing to train on', () => {
    expect(() => new Sampler([], { seed: 0, shuffle: true })).toThrow('empty');
    expect(() => new Sampler('rows' as never, { seed: 0, shuffle: true })).toThrow('array of rows');
  });
});

describe('readJsonLines', () => {
  const file = join(mkdtempSync(join(tmpdir(), 'headfirst-jsonl-')), 'rows.jsonl');
  it('reads rows and skips blank lines', async () => {
    writeFileSync(file, '{"prompt":"a"}\n\n{"prompt":[1,2],"answer":3}\n');
    expect(await readJsonLines(file)).toEqual([{ prompt: 'a' }, { prompt: [1, 2], answer: 3 }]);
  });
  it('decompresses .gz, and names a damaged one', async () => {
    writeFileSync(`${file}.gz`, gzipSync('{"prompt":"ä"}\n{"prompt":[1]}'));
    expect(await readJsonLines(`${file}.gz`)).toEqual([{ prompt: 'ä' }, { prompt: [1] }]);
    writeFileSync(`${file}.gz`, gzipSync('{"prompt":"ä"}').subarray(0, 20));
    await expect(readJsonLines(`${file}.gz`)).rejects.toMatchObject({
      code: 'ERR_IO',
      message: expect.stringContaining('rows.jsonl.gz'),
    });
  });
  it.each(['{"prompt":"a"}\n{"prompt":', '{"prompt":"a"}\n[1]'])(
    'names the line of bad input',
    async (text) => {
      writeFileSync(file, text);
      await expect(readJsonLines(file)).rejects.toMatchObject({
        code: 'ERR_INVALID_ARG',
        message: expect.stringContaining('rows.jsonl:2'),
      });
    },
  );
  it('names a file that is not there', async () => {
    await expect(readJsonLines('/nowhere/rows.jsonl')).rejects.toMatchObject({ code: 'ERR_IO' });
  });

  const written = (content: string | Uint8Array) => {
    writeFileSync(file, content);
    return readJsonLines(file);
  };
  const named = (code: string, ...parts: string[]) => ({
    code,
    message: expect.stringMatching(new RegExp(parts.join('.*'))),
  });
  it('takes a byte order mark, CRLF, and of equal keys the last, as Python does', async () => {
    expect(await written('\ufeff{"a":1}\r\n\r\n{"a":"é","b":1,"b":2}\r\n')).toEqual([
      { a: 1 },
      { a: 'é', b: 2 },
    ]);
  });
  it('refuses UTF-16 and Latin-1, naming the file and the line', async () => {
    for (const text of ['\ufeff{"a":1}\n', '{"a":1}\n'])
      await expect(written(Buffer.from(text, 'utf16le'))).rejects.toMatchObject(
        named('ERR_IO', 'rows\\.jsonl', 'UTF-16', 'iconv'),
      );
    const latin1 = Buffer.concat([Buffer.from('{"a":"é"}\n\n'), Buffer.from('{"a":"é"}', 'latin1')]);
    await expect(written(latin1)).rejects.toMatchObject(named('ERR_IO', 'rows\\.jsonl:3', 'Latin-1'));
    await expect(written('{"a":1}\n\ufeff{"a":2}')).rejects.toMatchObject(
      named('ERR_INVALID_ARG', 'rows\\.jsonl:2', 'byte order mark'),
    );
  });
  it.each([
    ['{"answer":12345678901234567890}', 'answer 12345678901234567890'],
    ['{"a":"[{,9","b":[1,{"c":2},{"d e":-9007199254740993}]}', 'b\\.2\\.d e -9007199254740993'],
    ['{"a":{"b":1},"c":9007199254740992}', 'c 9007199254740992'],
    ['{"a":1e400}', 'a 1e400'],
  ])('refuses a number that would be another: %s', async (line, part) => {
    await expect(written(`{"a":1}\n${line}`)).rejects.toMatchObject(
      named('ERR_INVALID_ARG', 'rows\\.jsonl:2', part, 'as a string'),
    );
  });
  it('takes numbers that JavaScript holds as Python does, and digits in texts', async () => {
    const line = '{"a":9007199254740991,"b":1.25e300,"c":0.1234567890123456789,"d":"12345678901234567890"}';
    expect(await written(line)).toEqual([
      { a: 9007199254740991, b: 1.25e300, c: 0.12345678901234568, d: '12345678901234567890' },
    ]);
  });
  it.each(['NaN', 'Infinity', '-Infinity'])(
    'names %s, which Python writes and JSON lacks',
    async (literal) => {
      await expect(written(`{"a": ${literal}}`)).rejects.toMatchObject(
        named('ERR_INVALID_ARG', 'rows\\.jsonl:1', literal),
      );
    },
  );
  it('reads a file block by block, and knows each row’s place', async () => {
    const lines = Array.from({ length: 60_000 }, (_, i) =>
      i % 3 === 0 ? '' : `{"i":${i},"pad":"${'é'.repeat(40)}"}`,
    );
    writeFileSync(`${file}.gz`, gzipSync(lines.join('\n'), { level: 1 }));
    const rows = await readJsonLines<{ i: number }>(`${file}.gz`);
    expect(rows.map(({ i }) => i)).toEqual([...lines.keys()].filter((i) => i % 3 !== 0));
    const [other] = await written('\n{"i":0}');
    expect(placeOf(rows[1000]!)).toBe(`${file}.gz:${rows[1000]!.i + 1}`);
    expect(placeOf(other!)).toBe(`${file}:2`);
    expect(placeOf({})).toBeUndefined();
  });
});

describe('trainTestSplit', () => {
  const rows = Array.from({ length: 50 }, (_, i) => i);
  it('every row on one side, by the seed alone, in the file’s order', () => {
    const { train, test } = trainTestSplit(rows, { testSize: 0.2, seed: 1 });
    expect([train.length, test.length]).toEqual([40, 10]);
    expect([...train, ...test].sort((a, b) => a - b)).toEqual(rows);
    expect([...test].sort((a, b) => a - b)).toEqual(test);
    expect(trainTestSplit(rows, { testSize: 10, seed: 1 })).toEqual({ train, test });
    expect(trainTestSplit(rows, { testSize: 10, seed: 2 }).test).not.toEqual(test);
  });
  it.each([0, 50, -1, 1.5, NaN])('refuses %s', (testSize) =>
    expect(() => trainTestSplit(rows, { testSize })).toThrow('testSize'),
  );
});
