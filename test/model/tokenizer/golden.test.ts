/**
 * Small tokenizers of every kind, against what transformers 5.24 wrote down of them (test/golden/tokenizers).
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { golden, readJson } from '../../helpers/files.js';
import { compareWithPython, type TokenizerCases, tokenizerOfFiles } from '../../helpers/tokenizerCases.js';

const folder = golden('tokenizers');

describe('tokenizers as Python has them', () => {
  it.each(readdirSync(folder))('%s', (name) => {
    const { files, ...cases } = readJson(join(folder, name));
    const tokenizer = tokenizerOfFiles(name, files);
    const { equal, refused, different } = compareWithPython(tokenizer, cases as TokenizerCases);
    expect(different).toEqual([]);
    expect(refused).toBe(0);
    const pairs: number = cases['pairs'].length;
    expect(equal).toBe(2 * (cases['encode'].length + cases['decode'].length) + pairs + 3);
  });
});
