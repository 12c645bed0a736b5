/** The normalizers of tokenizer.json: from text to text. */
import { toByteLevel } from './byteLevel.js';
import { charsMap } from './charsMap.js';
import { compilePattern, literal } from './pattern.js';
import { type Component, component, flagOf, isComponent, listOf, textOf, unsupported } from './read.js';
import { replaced } from './splitting.js';
import { charactersIn, CONTROL, lowercase, MARK, NONSPACING, normalize, SPACE } from './unicode.js';

export type Normalizer = (text: string) => string;

const MARKS = new RegExp(MARK, 'gv');
const NONSPACING_MARKS = new RegExp(NONSPACING, 'gv');
const NOT_CLEAN = new RegExp(`[[${CONTROL}\\0\\u{fffd}]--[\\t\\n\\r]]`, 'gv');
const SPACES = new RegExp(SPACE, 'gv');
const SPACES_BEFORE = new RegExp(`^${SPACE}+`, 'v');
const SPACES_AFTER = new RegExp(`${SPACE}+$`, 'v');
const CHINESE = charactersIn('3400-4dbf 4e00-9fff f900-faff 20000-2a6df 2a700-2b81f 2b920-2ceaf 2f800-2fa1f');
const NMT_REMOVED = charactersIn('1-8 b e-1f 7f 8f 9f');
const NMT_SPACES = charactersIn('9 a c d 1680 200b-200f 2028 2029 2581 feff fffd');

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
