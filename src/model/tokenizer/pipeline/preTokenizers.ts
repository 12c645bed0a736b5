/** The pre-tokenizers of tokenizer.json: from a text to the pieces that the model sees one by one. */
import { toByteLevel } from './byteLevel.js';
import { patternOf } from './normalizers.js';
import { type Component, component, countOf, flagOf, listOf, textOf, unsupported } from './read.js';
import { behaviorNamed, type Behavior, type Pieces, split } from './splitting.js';
import { literal } from './pattern.js';
import { LETTER, NUMBER, NUMERIC, PUNCTUATION, RUST_WORD, SPACE } from './unicode.js';

export interface PreTokenizer {
  /** `begins`: the text stands where the whole begins. */
  split(text: string, begins: boolean): Pieces;
  /** What is done to each piece at last; undefined: nothing. */
  readonly finish?: (piece: string) => string;
}

const GPT2 = new RegExp(
  `'s|'t|'re|'ve|'m|'ll|'d| ?${LETTER}+| ?${NUMBER}+` +
    `| ?[^${SPACE}${LETTER}${NUMBER}]+|${SPACE}+(?![^${SPACE}])|${SPACE}+`,
  'gv',
);
const SPACES = new RegExp(SPACE, 'gv');
const NUMBERS = new RegExp(NUMERIC, 'gv');
const PUNCTUATIONS = new RegExp(PUNCTUATION, 'gv');
const WORDS = new RegExp(`[${RUST_WORD}]+|[^[${RUST_WORD}]${SPACE}]+`, 'gv');

type Maker = (config: Component, of: string) => PreTokenizer;

const MAKERS: Readonly<Record<string, Maker>> = {
  ByteLevel(config, of) {
    const prefix = flagOf(config, 'add_prefix_space', of);
    const usesPattern = flagOf(config, 'use_regex', of, true);
    return {
      split(text, begins) {
        const spaced = prefix && !text.startsWith(' ') ? ` ${text}` : text;
        return usesPattern ? split(spaced, GPT2, 'Isolated') : { texts: [spaced], begins };
      },
      finish: toByteLevel,
    };
  },
  Metaspace: metaspace,
  Split(config, of) {
    const pattern = patternOf(config, of);
    const behavior = behaviorNamed(textOf(config, 'behavior', of), of);
    return splitter(pattern, behavior, flagOf(config, 'invert', of));
  },
  Digits: (config, of) =>
    splitter(NUMBERS, flagOf(config, 'individual_digits', of) ? 'Isolated' : 'Contiguous'),
  Punctuation: (config, of) =>
    splitter(PUNCTUATIONS, behaviorNamed(textOf(config, 'behavior', of, 'Isolated'), of)),
  Whitespace: () => splitter(WORDS, 'Removed', true),
  WhitespaceSplit: () => splitter(SPACES, 'Removed'),
  BertPreTokenizer: () => sequence([splitter(SPACES, 'Removed'), splitter(PUNCTUATIONS, 'Isolated')]),
  CharDelimiterSplit: (config, of) => splitter(literal(textOf(config, 'delimiter', of)), 'Removed'),
  FixedLength(config, of) {
    const length = countOf(config, 'length', of, 5);
    if (length === 0) return unsupported(`${of} with length 0`);
    return {
      split(text) {
        const characters = [...text];
        const pieces = Math.ceil(characters.length / length);
        const piece = (i: number) => characters.slice(i * length, (i + 1) * length).join('');
        return { texts: Array.from({ length: pieces }, (_, i) => piece(i)), begins: true };
      },
    };
  },
  Sequence: (config, of) =>
    sequence(listOf(config, 'pretokenizers', of).map((each) => createPreTokenizer(each))),
};

const splitter = (pattern: RegExp, behavior: Behavior, invert = false): PreTokenizer => ({
  split: (text) => split(text, pattern, behavior, invert),
});

function metaspace(config: Component, of: string): PreTokenizer {
  const replacement = textOf(config, 'replacement', of);
  const scheme = textOf(config, 'prepend_scheme', of, 'always');
  if (!['always', 'first', 'never'].includes(scheme)) unsupported(`${of} with prepend_scheme ${scheme}`);
  if (config['add_prefix_space'] === false && scheme !== 'never')
    unsupported(`${of} with add_prefix_space false and prepend_scheme ${scheme}`);
  const splits = flagOf(config, 'split', of, true);
  const mark = literal(replacement);
  return {
    split(text, begins) {
      const marked = text.replaceAll(' ', () => replacement);
      const isPrefixed = scheme === 'always' || (scheme === 'first' && begins);
      const whole = isPrefixed && !marked.startsWith(replacement) ? replacement + marked : marked;
      return splits ? split(whole, mark, 'MergedWithNext') : { texts: [whole], begins };
    },
  };
}

/** One after the other, each on every piece of the one before. */
function sequence(steps: readonly PreTokenizer[]): PreTokenizer {
  const last = steps.at(-1);
  const early = steps.slice(0, -1);
  return {
    split(text, begins) {
      let pieces: Pieces = { texts: [text], begins };
      for (const step of steps) {
        pieces = splitAll(pieces, step);
        const { finish } = step;
        if (finish && early.includes(step)) pieces = { ...pieces, texts: pieces.texts.map(finish) };
      }
      return pieces;
    },
    ...(last?.finish ? { finish: last.finish } : {}),
  };
}

function splitAll(pieces: Pieces, step: PreTokenizer): Pieces {
  const { texts, begins } = pieces;
  if (texts.length === 1) {
    const made = step.split(texts[0]!, begins);
    return { texts: made.texts, begins: begins && made.begins };
  }
  const made: string[] = [];
  let stillBegins = begins;
  for (const [index, text] of texts.entries()) {
    const parts = step.split(text, index === 0 && begins);
    if (index === 0) stillBegins = begins && parts.begins;
    for (const part of parts.texts) if (part !== '') made.push(part);
  }
  return { texts: made, begins: stillBegins };
}

/** @throws UnsupportedComponent. */
export function createPreTokenizer(config: unknown): PreTokenizer {
  if (config === null || config === undefined)
    return { split: (text, begins) => ({ texts: [text], begins }) };
  const of = `the pre_tokenizer ${(config as Component)['type']}`;
  const read = component(config, of);
  const make = MAKERS[String(read['type'])];
  return make ? make(read, of) : unsupported(of);
}
