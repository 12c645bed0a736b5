/** The normalizers of tokenizer.json: from text to text. */
import { toByteLevel } from './byteLevel.js';
import { charsMap } from './charsMap.js';
import { compilePattern, literal } from './pattern.js';
import { type Component, component, flagOf, isComponent, listOf, textOf, unsupported } from './read.js';
import { replaced } from './splitting.js';
import { CONTROL, lowercase, MARK, NONSPACING, normalize, SPACE } from './unicode.js';

export type Normalizer = (text: string) => string;

const MARKS = new RegExp(MARK, 'gv');
const NONSPACING_MARKS = new RegExp(NONSPACING, 'gv');
const NOT_CLEAN = new RegExp(`[[${CONTROL}\\0\\u{fffd}]--[\\t\\n\\r]]`, 'gv');
const SPACES = new RegExp(SPACE, 'gv');
const SPACES_BEFORE = new RegExp(`^${SPACE}+`, 'v');
const SPACES_AFTER = new RegExp(`${SPACE}+$`, 'v');
const CHINESE =
  /[\u{4e00}-\u{9fff}\u{3400}-\u{4dbf}\u{20000}-\u{2a6df}\u{2a700}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{f900}-\u{faff}\u{2f800}-\u{2fa1f}]/gu;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the normalizer is about them
const NMT_REMOVED = /[\u{1}-\u{8}\u{b}\u{e}-\u{1f}\u{7f}\u{8f}\u{9f}]/gu;
const NMT_SPACES =
  /[\u{9}\u{a}\u{c}\u{d}\u{1680}\u{200b}-\u{200f}\u{2028}\u{2029}\u{2581}\u{feff}\u{fffd}]/gu;

type Maker = (config: Component, of: string) => Normalizer;

const MAKERS: Readonly<Record<string, Maker>> = {
  NFC: () => (text) => normalize(text, 'NFC'),
  NFD: () => (text) => normalize(text, 'NFD'),
  NFKC: () => (text) => normalize(text, 'NFKC'),
  NFKD: () => (text) => normalize(text, 'NFKD'),
  Lowercase: () => lowercase,
  StripAccents: () => (text) => text.replace(MARKS, ''),
  Nmt: () => (text) => text.replace(NMT_REMOVED, '').replace(NMT_SPACES, ' '),
  ByteLevel: () => toByteLevel,
  Strip(config, of) {
    const left = flagOf(config, 'strip_left', of);
    const right = flagOf(config, 'strip_right', of);
    return (text) => {
      const begun = left ? text.replace(SPACES_BEFORE, '') : text;
      return right ? begun.replace(SPACES_AFTER, '') : begun;
    };
  },
  Prepend(config, of) {
    const prepend = textOf(config, 'prepend', of);
    return (text) => (text === '' ? '' : prepend + text);
  },
  Replace(config, of) {
    const pattern = patternOf(config, of);
    const content = textOf(config, 'content', of);
    const { String: fixed } = config['pattern'] as { readonly String?: string };
    if (fixed) return (text) => text.replaceAll(fixed, () => content);
    return (text) => replaced(text, pattern, content);
  },
  Precompiled: (config, of) => charsMap(textOf(config, 'precompiled_charsmap', of)),
  BertNormalizer(config, of) {
    const lower = flagOf(config, 'lowercase', of);
    const steps = [
      { on: flagOf(config, 'clean_text', of), step: clean },
      { on: flagOf(config, 'handle_chinese_chars', of), step: spaceChinese },
      { on: flagOf(config, 'strip_accents', of, lower), step: stripAccents },
      { on: lower, step: lowercase },
    ];
    return chain(steps.filter(({ on }) => on).map(({ step }) => step));
  },
  Sequence(config, of) {
    return chain(listOf(config, 'normalizers', of).map((each) => createNormalizer(each)));
  },
};

const clean: Normalizer = (text) => text.replace(NOT_CLEAN, '').replace(SPACES, ' ');
const spaceChinese: Normalizer = (text) => text.replace(CHINESE, ' $& ');
const stripAccents: Normalizer = (text) => normalize(text, 'NFD').replace(NONSPACING_MARKS, '');

const chain =
  (steps: readonly Normalizer[]): Normalizer =>
  (text) =>
    steps.reduce((current, step) => step(current), text);

/** pattern: { String } or { Regex }. */
export function patternOf(config: Component, of: string): RegExp {
  const { pattern } = config;
  if (isComponent(pattern) && typeof pattern['String'] === 'string') return literal(pattern['String']);
  if (isComponent(pattern) && typeof pattern['Regex'] === 'string') return compilePattern(pattern['Regex']);
  return unsupported(`${of} with the pattern ${JSON.stringify(pattern)}`);
}

/** @throws UnsupportedComponent. */
export function createNormalizer(config: unknown): Normalizer {
  if (config === null || config === undefined) return (text) => text;
  const of = `the normalizer ${(config as Component)['type']}`;
  const read = component(config, of);
  const make = MAKERS[String(read['type'])];
  return make ? make(read, of) : unsupported(of);
}
