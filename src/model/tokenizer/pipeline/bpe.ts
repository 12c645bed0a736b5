/** Byte-pair encoding: characters, joined by the merges of the lowest rank first. */
import { MergeTable, mergeSymbols } from './merges.js';
import { type Component, flagOf, listOf, unsupported } from './read.js';
import { byteToken, type TokenModel, tokensOf, vocabularyOf } from './vocabulary.js';

const OF = 'the model BPE';

const encoder = new TextEncoder();

const optionalText = (config: Component, key: string): string | undefined => {
  const value = config[key] ?? undefined;
  return value === undefined || typeof value === 'string'
    ? value
    : unsupported(`${OF}: ${key} must be text, got ${JSON.stringify(value)}`);
};

export function createBPE(config: Component): TokenModel {
  const dropout = config['dropout'] ?? 0;
  if (dropout !== 0) unsupported(`${OF} with dropout ${JSON.stringify(dropout)}: its tokens are random`);
  const vocabulary = vocabularyOf(config, OF);
  const token = tokensOf(vocabulary);
  const unknown = optionalText(config, 'unk_token');
  const prefix = optionalText(config, 'continuing_subword_prefix') ?? '';
  const suffix = optionalText(config, 'end_of_word_suffix') ?? '';
  const fuses = flagOf(config, 'fuse_unk', OF);
  const fallsBack = flagOf(config, 'byte_fallback', OF);
  const ignoresMerges = flagOf(config, 'ignore_merges', OF);
  const merges = mergesOf(config, vocabulary, prefix);
  const bytes = Int32Array.from({ length: 256 }, (_, byte) => vocabulary.get(byteToken(byte)) ?? -1);

  /** Bytes of a character as tokens, where the vocabulary has all of them. */
  function bytesOf(symbol: string): number[] | undefined {
    const ids = Array.from(encoder.encode(symbol), (byte) => bytes[byte]!);
    return ids.includes(-1) ? undefined : ids;
  }

  const unknownId = (symbol: string): number =>
    vocabulary.get(unknown!) ??
    unsupported(`text with '${symbol}': the model BPE has no token ${unknown}, its unk_token`);

  /** The tokens of single characters. */
  function symbolsOf(piece: string): number[] {
    const symbols: number[] = [];
    // An unknown token that waits for what follows it: it may grow.
    let pending: number | undefined;
    for (let begin = 0; begin < piece.length; ) {
      const end = begin + (piece.codePointAt(begin)! > 0xffff ? 2 : 1);
      const character = piece.slice(begin, end);
      const before = begin > 0 ? prefix : '';
      const after = end === piece.length ? suffix : '';
      const symbol = before + character + after;
      begin = end;
      const id = vocabulary.get(symbol);
      if (id !== undefined) {
        if (pending !== undefined) symbols.push(pending);
        pending = undefined;
        symbols.push(id);
        continue;
      }
      const fallback = fallsBack ? bytesOf(symbol) : undefined;
      if (fallback) symbols.push(...fallback);
      else if (unknown !== undefined) {
        if (pending !== undefined && !fuses) symbols.push(pending);
        pending = unknownId(symbol);
      }
    }
    if (pending !== undefined) symbols.push(pending);
    return symbols;
  }

  return {
    vocabulary,
    token,
    tokenize(piece) {
      const whole = ignoresMerges ? vocabulary.get(piece) : undefined;
      return whole === undefined ? mergeSymbols(symbolsOf(piece), merges) : [whole];
    },
  };
}

/** merges: "a b", or ["a", "b"]. */
function mergesOf(config: Component, vocabulary: ReadonlyMap<string, number>, prefix: string): MergeTable {
  const lines = listOf(config, 'merges', OF);
  const table = new MergeTable(lines.length);
  const idOf = (token: string): number =>
    vocabulary.get(token) ?? unsupported(`${OF}: merges name '${token}', which is not in vocab`);
  const written = lines.filter((line) => typeof line !== 'string' || !line.startsWith('#version'));
  for (const [rank, line] of written.entries()) {
    const [left, right, more] = typeof line === 'string' ? line.split(' ') : (line as string[]);
    if (left === undefined || right === undefined || more !== undefined)
      unsupported(`${OF}: merge ${rank} must be two tokens, got ${JSON.stringify(line)}`);
    table.set(idOf(left!), idOf(right!), rank, idOf(left! + right!.slice(prefix.length)));
  }
  return table;
}
