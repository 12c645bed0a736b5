/** Characters and patterns as Python's tokenizers 0.23.3 has them; every expected value is its own. */
import { describe, expect, it } from 'vitest';

import { createNormalizer } from '../../../src/model/tokenizer/pipeline/normalizers.js';
import { createPreTokenizer } from '../../../src/model/tokenizer/pipeline/preTokenizers.js';
import { golden, readJson } from '../../helpers/files.js';
import { tokenizerOfFiles } from '../../helpers/tokenizerCases.js';

const pieces = (config: object, text: string) => createPreTokenizer(config).split(text, true).texts;

describe('older tables of Unicode', () => {
  it('a letter of Unicode 17 is none, a punctuation mark of Unicode 14 neither', () => {
    const level = { type: 'ByteLevel', add_prefix_space: false, use_regex: true };
    expect(pieces(level, 'a\ua7ceb')).toEqual(['a', '\ua7ce', 'b']);
    const punctuation = { type: 'Punctuation', behavior: 'Isolated' };
    expect(pieces(punctuation, 'a\u061db\u166dc')).toEqual(['a\u061db', '\u166d', 'c']);
  });
  it.each([
    ['NFC', '\u{105d2}\u0307', '\u{105d2}\u0307'],
    ['NFC', 'a\u0897\u0334', 'a\u0897\u0334'],
    ['NFC', 'e\u0301', '\u00e9'],
    ['NFKC', '\u32ff\ufb01', '\u32fffi'],
    ['NFKC', '\u{105d2}\u0307e\u0301', '\u{105d2}\u0307\u00e9'],
    ['Lowercase', 'ΑΣ İ', 'ασ i\u0307'],
    ['StripAccents', 'e\u0301\u0897', 'e\u0897'],
  ])('%s of %j', (type, text, expected) => {
    expect(createNormalizer({ type })(text)).toBe(expected);
  });
});

describe('patterns of Oniguruma', () => {
  const text = 'aab\nKKk é漢²1 ,.x\na';
  it.each([
    ['(?i:k)+', ['aab\n', 'KKk', ' é漢²1 ,.x\na']],
    ['\\h', ['a', 'a', 'b', '\nKKk é漢²', '1', ' ,.x\n', 'a']],
    ['[^\\s\\p{L}]+', ['aab\nKKk é漢', '²1', ' ', ',.', 'x\na']],
    ['\\bé', ['aab\nKKk ', 'é', '漢²1 ,.x\na']],
    ['^a', ['a', 'ab\nKKk é漢²1 ,.x\n', 'a']],
    ['a$', ['aab\nKKk é漢²1 ,.x\n', 'a']],
    ['(?>a+)b', ['aab', '\nKKk é漢²1 ,.x\na']],
    ['a?+a', ['aa', 'b\nKKk é漢²1 ,.x\na']],
    ['[a-z&&[^aeiou]]+', ['aa', 'b', '\nKK', 'k', ' é漢²1 ,.', 'x', '\na']],
    ['\\p{Han}', ['aab\nKKk é', '漢', '²1 ,.x\na']],
    ['[[:punct:]]', ['aab\nKKk é漢²1 ', ',', '.', 'x\na']],
    ['\\w+', ['aab', '\n', 'KKk', ' ', 'é漢²1', ' ,.', 'x', '\n', 'a']],
    ['(?m:.)', [...text]],
    ['x*', [...text]],
  ])('%s', (pattern, expected) => {
    const config = { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false };
    expect(pieces(config, text)).toEqual(expected);
  });
});

describe('byte fallback', () => {
  const llama = tokenizerOfFiles(
    'llama',
    readJson(`${golden('tokenizers')}/llama-legacy.json`)['files'] as Record<string, any>,
  );
  const bytes = (...values: number[]) => values.map((value) => value + 3);

  it('U+FEFF is a character; one replacement character for each byte of a run that spells no text', () => {
    expect(llama.encode('\ufeffa', { addSpecialTokens: false }).slice(-4, -1)).toEqual(
      bytes(0xef, 0xbb, 0xbf),
    );
    expect(llama.decode(bytes(0xef, 0xbb, 0xbf))).toBe('\ufeff');
    expect(llama.decode(bytes(0xef, 0xbb))).toBe('\ufffd\ufffd');
    expect(llama.decode(bytes(0x41, 0xff, 0x42))).toBe('\ufffd\ufffd\ufffd');
  });
});
