/** The decoders of tokenizer.json: from tokens to texts, which are joined at last. */
import { bytesOf } from './byteLevel.js';
import { patternOf } from './normalizers.js';
import { type Component, component, countOf, flagOf, listOf, textOf, unsupported } from './read.js';
import { replaced } from './splitting.js';

export type Decoder = (tokens: readonly string[]) => readonly string[];

const encoder = new TextEncoder();
/** Invalid bytes become U+FFFD, as in Rust's from_utf8_lossy; U+FEFF is a character like any other. */
const lossy = new TextDecoder('utf-8', { ignoreBOM: true });
const strict = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });

type Maker = (config: Component, of: string) => Decoder;

const MAKERS: Readonly<Record<string, Maker>> = {
  ByteLevel: () => byteLevel,
  ByteFallback: () => byteFallback,
  Fuse: () => (tokens) => [tokens.join('')],
  Metaspace(config, of) {
    const replacement = textOf(config, 'replacement', of);
    const keepsFirst = textOf(config, 'prepend_scheme', of, 'always') === 'never';
    return (tokens) =>
      tokens.map((token, i) => token.replaceAll(replacement, i === 0 && !keepsFirst ? '' : ' '));
  },
  Replace(config, of) {
    const pattern = patternOf(config, of);
    const content = textOf(config, 'content', of);
    const { String: fixed } = config['pattern'] as { readonly String?: string };
    const verbatim = content.replaceAll('$', '$$$$');
    if (fixed) return (tokens) => tokens.map((token) => token.replaceAll(fixed, verbatim));
    return (tokens) => tokens.map((token) => replaced(token, pattern, content));
  },
  Strip(config, of) {
    const content = oneCharacter(textOf(config, 'content', of), of);
    const start = countOf(config, 'start', of);
    const stop = countOf(config, 'stop', of);
    return (tokens) => tokens.map((token) => stripped(token, content, start, stop));
  },
  WordPiece(config, of) {
    const prefix = textOf(config, 'prefix', of);
    const cleans = flagOf(config, 'cleanup', of);
    return (tokens) =>
      tokens.map((token, i) => {
        const text = i === 0 ? token : afterFirst(token, prefix);
        return cleans ? cleanWordPiece(text) : text;
      });
  },
  BPEDecoder(config, of) {
    const suffix = textOf(config, 'suffix', of);
    return (tokens) =>
      tokens.map((token, i) => token.replaceAll(suffix, () => (i === tokens.length - 1 ? '' : ' ')));
  },
  Sequence(config, of) {
    const steps = listOf(config, 'decoders', of).map((each) => createDecoder(each));
    return (tokens) => steps.reduce((current, step) => step(current), tokens);
  },
};

const afterFirst = (token: string, prefix: string): string =>
  token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`;

const oneCharacter = (text: string, of: string): string =>
  [...text].length === 1 ? text : unsupported(`${of} with content '${text}'`);

function byteLevel(tokens: readonly string[]): string[] {
  const bytes: number[] = [];
  for (const token of tokens) {
    for (const byte of bytesOf(token) ?? encoder.encode(token)) bytes.push(byte);
  }
  return [lossy.decode(Uint8Array.from(bytes))];
}

/** `<0x61>`, and what else Rust reads as a number of two digits. */
const BYTE_TOKEN = /^<0x([0-9a-fA-F]{2}|\+[0-9a-fA-F])>$/;

const BYTE_TOKEN_LENGTH = 6;

/** The byte that a token such as `<0x61>` stands for. */
function fallbackByte(token: string): number | undefined {
  if (token.length !== BYTE_TOKEN_LENGTH) return undefined;
  const [, digits] = BYTE_TOKEN.exec(token) ?? [];
  return digits === undefined ? undefined : parseInt(digits, 16);
}

/** Runs of byte tokens become the text they spell, or one U+FFFD for each byte where they spell none. */
function byteFallback(tokens: readonly string[]): string[] {
  const made: string[] = [];
  let run: number[] = [];
  const flush = (): void => {
    if (run.length > 0) made.push(...spelled(run));
    run = [];
  };
  for (const token of tokens) {
    const byte = fallbackByte(token);
    if (byte === undefined) {
      flush();
      made.push(token);
    } else run.push(byte);
  }
  flush();
  return made;
}

function spelled(run: readonly number[]): readonly string[] {
  try {
    return [strict.decode(Uint8Array.from(run))];
  } catch {
    return run.map(() => '\u{fffd}');
  }
}

function stripped(token: string, content: string, start: number, stop: number): string {
  const { length } = content;
  let begin = 0;
  for (let n = 0; n < start && token.startsWith(content, begin); ++n) begin += length;
  let end = token.length;
  for (let n = 0; n < stop && end > begin && token.endsWith(content, end); ++n) end -= length;
  return token.slice(begin, end);
}

/** Whether there is anything for cleanWordPiece to do. */
const UNCLEAN = / (?:[.?!,']|n't|do not)/;

const cleanWordPiece = (text: string): string => (UNCLEAN.test(text) ? cleaned(text) : text);

const cleaned = (text: string): string =>
  text
    .replaceAll(' .', '.')
    .replaceAll(' ?', '?')
    .replaceAll(' !', '!')
    .replaceAll(' ,', ',')
    .replaceAll(" ' ", "'")
    .replaceAll(" n't", "n't")
    .replaceAll(" 'm", "'m")
    .replaceAll(' do not', " don't")
    .replaceAll(" 's", "'s")
    .replaceAll(" 've", "'ve")
    .replaceAll(" 're", "'re");

/** @throws UnsupportedComponent. */
export function createDecoder(config: unknown): Decoder {
  if (config === null || config === undefined) return (tokens) => [tokens.join(' ')];
  const of = `the decoder ${(config as Component)['type']}`;
  const read = component(config, of);
  const make = MAKERS[String(read['type'])];
  return make ? make(read, of) : unsupported(of);
}
