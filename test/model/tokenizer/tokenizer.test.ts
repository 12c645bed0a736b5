/**
 * Real tokenizers: text comes back as it went in, BOS by the files' rules, ids outside the vocabulary.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { createTokenizer, type Tokenizer } from '../../../src/model/tokenizer/tokenizer.js';
import { needsSharedData, readJson, sharedData, withoutSharedData } from '../../helpers/files.js';
import { Random } from '../../helpers/random.js';

function load(name: string, config: Record<string, unknown> = {}): Tokenizer {
  const path = sharedData(join(name, 'tokenizer.json'));
  const configPath = sharedData(join(name, 'tokenizer_config.json'));
  return createTokenizer(path, readJson(path), {
    ...(existsSync(configPath) ? readJson(configPath) : {}),
    ...config,
  });
}

/**
 * 1,000 strings: lines of real text, mixtures of scripts, spaces, controls and emoji, and random characters.
 * NFC, since some tokenizers normalise to it.
 */
function varied(): string[] {
  const random = new Random(7);
  const pieces = [
    ' ',
    '  ',
    '\t',
    '\n',
    '\r\n',
    ' .',
    ' ,',
    " n't",
    "I'm",
    '0',
    '1234567',
    '3.14',
    'é',
    'ß',
    'Ǆ',
    'ﬁ',
    'Ω',
    'ж',
    '漢字',
    '한국어',
    'ไทย',
    'שלום',
    'مرحبا',
    '🐦',
    '👩‍👩‍👧‍👦',
    '🇺🇸',
    '\u0000',
    '\u0007',
    '\u00a0',
    '\u2028',
    '\u200d',
    '�',
    '▁',
    'Ġ',
    '<',
    '</s',
    '##',
    '<|end',
    '_',
    'hello',
    'World',
    'def f(x):',
    '\\frac{1}{2}',
    'https://a.b/c?d=e',
    '                ',
  ];
  const lines = readFileSync(sharedData('text/tinyshakespeare.txt'), 'utf8').split('\n').filter(Boolean);
  return Array.from({ length: 1000 }, (_, i) => {
    if (i % 3 === 0) return lines[random.integer(0, lines.length)]!;
    if (i % 3 === 1)
      return Array.from({ length: random.integer(0, 12) }, () => pieces[random.integer(0, pieces.length)]!)
        .join('')
        .normalize('NFC');
    return Array.from({ length: random.integer(1, 10) }, () => {
      const index = random.integer(1, 0x110000 - 0x800);
      return String.fromCodePoint(index < 0xd800 ? index : index + 0x800); // Surrogates are no characters.
    })
      .join('')
      .normalize('NFC');
  });
}

describe.skipIf(withoutSharedData)(`tokenizers${needsSharedData}`, () => {
  it.each([
    ['tokenizers/pythia-20B', 50277],
    ['tokenizers/gpt2', 50257],
    ['stories260K', 512],
  ])('%s: 1,000 varied strings come back as they went in', (name, vocabSize) => {
    const tokenizer = load(name);
    expect(tokenizer.vocabSize).toBe(vocabSize);
    for (const text of varied()) {
      // Sentence-piece tokenizers write a space as ▁ and cannot tell the two apart. One at the beginning is
      // the space that every text begins with.
      const expected = name === 'stories260K' ? text.replaceAll('▁', ' ').replace(/^ /, '') : text;
      const ids = tokenizer.encode(text);
      expect(
        ids.every((id) => Number.isInteger(id) && id >= 0 && id < vocabSize),
        text,
      ).toBe(true);
      expect(tokenizer.decode(ids)).toBe(expected);
    }
  });

  it('known ids', () => {
    expect(load('tokenizers/gpt2').encode('Hello world<|endoftext|>')).toEqual([15496, 995, 50256]);
    expect(load('tokenizers/pythia-20B').encode('Hello world')).toEqual([12092, 1533]);
    const stories = load('stories260K');
    for (const { text, token_ids, greedy_token_ids, full_text } of readJson(
      sharedData('stories260K/reference/reference.json'),
    )['prompts']) {
      expect(stories.encode(text)).toEqual(token_ids);
      expect(stories.decode([...token_ids, ...greedy_token_ids])).toBe(full_text);
    }
  });

  it('BOS: the post-processor decides, as in transformers 5.24, and not add_bos_token', () => {
    const text = 'Once upon a time';
    const plain = [403, 407, 261, 378];
    expect(load('stories260K').encode(text)).toEqual([1, ...plain]);
    expect(load('stories260K').encode(text, { addSpecialTokens: false })).toEqual(plain);
    expect(load('stories260K', { add_bos_token: undefined }).encode(text)).toEqual([1, ...plain]);
    expect(load('stories260K', { add_bos_token: false }).encode(text)).toEqual([1, ...plain]);
    expect(load('stories260K').encode('')).toEqual([1]);
    const gpt2 = { bos_token: { content: '<|endoftext|>' } };
    expect(load('tokenizers/gpt2', gpt2).encode('Hello')).toEqual([15496]);
    expect(load('tokenizers/gpt2', { ...gpt2, add_bos_token: true }).encode('Hello')).toEqual([15496]);
    expect(load('tokenizers/gpt2').encode('')).toEqual([]);
  });

  it('decode: nothing, special tokens, ids that do not exist, halves of characters, spaces before punctuation', () => {
    const tokenizer = load('tokenizers/pythia-20B');
    expect(tokenizer.decode([])).toBe('');
    expect(tokenizer.decode([0, 12092, 0])).toBe('Hello');
    expect(tokenizer.decode([50300, 12092, 50303, -1])).toBe('Hello');
    expect(tokenizer.decode(tokenizer.encode('🐦').slice(0, 1))).toContain('�');
    expect(tokenizer.decode(tokenizer.encode('a . b , c'))).toBe('a . b , c');
    // transformers does so with no BPE, unless told in so many words, and in the call.
    const cleaning = load('tokenizers/pythia-20B', { clean_up_tokenization_spaces: true });
    const ids = cleaning.encode('a . b , c');
    expect(cleaning.decode(ids)).toBe('a . b , c');
    expect(cleaning.decode(ids, { cleanUpTokenizationSpaces: true })).toBe('a. b, c');
    expect(tokenizer.decode([0, 12092, 0], { skipSpecialTokens: false })).toBe(
      '<|endoftext|>Hello<|endoftext|>',
    );
    expect(() => tokenizer.encode(3 as unknown as string)).toThrow('text must be a string');
    expect(() => tokenizer.encode('\ud83d')).toThrow('half of a surrogate pair');
  });
});
