/** The Unigram model: the most probable way to cut a piece into tokens (SentencePiece's Viterbi search). */
import { type Component, flagOf, listOf, unsupported } from './read.js';
import { byteToken, type TokenModel } from './vocabulary.js';

/** What an unknown character costs beyond the least probable token. */
const UNKNOWN_PENALTY = 10;

/** A node of the tokens' trie, by UTF-16 code unit. */
interface Node {
  readonly next: Map<number, Node>;
  /** Of the token that ends here. */
  id: number | undefined;
}

const encoder = new TextEncoder();

export function createUnigram(config: Component): TokenModel {
  const of = 'the model Unigram';
  const entries = listOf(config, 'vocab', of) as readonly (readonly [string, number])[];
  const unknown = typeof config['unk_id'] === 'number' ? config['unk_id'] : undefined;
  const fallsBack = flagOf(config, 'byte_fallback', of);
  if (unknown !== undefined && unknown >= entries.length)
    return unsupported(`${of} with unk_id ${unknown} outside of its vocabulary`);
  const vocabulary = new Map(entries.map(([token], id) => [token, id]));
  const scores = Float64Array.from(entries, ([, score]) => score);
  const unknownScore = scores.reduce((least, score) => Math.min(least, score), Infinity) - UNKNOWN_PENALTY;
  const root = trieOf(vocabulary);

  /** Bytes of an unknown text as tokens, where the vocabulary has all of them. */
  function bytesOf(text: string): number[] | undefined {
    const names = Array.from(encoder.encode(text), byteToken);
    const ids = names.map((name) => vocabulary.get(name));
    return ids.includes(undefined) ? undefined : (ids as number[]);
  }

  function idsOf(text: string): readonly number[] {
    const id = vocabulary.get(text);
    if (id !== undefined) return [id];
    const bytes = fallsBack ? bytesOf(text) : undefined;
    return bytes ?? [unknown ?? refuseUnknown(text)];
  }

  return {
    vocabulary,
    token: (id) => entries[id]?.[0],
    tokenize(piece) {
      const { ids, begins } = bestPath(piece, root, scores, { id: unknown, score: unknownScore });
      const made: number[] = [];
      let pending = '';
      for (const begin of begins) {
        const text = piece.slice(begin.from, begin.to);
        if (ids[begin.to] === unknown) {
          // Unknown characters that follow each other are one token.
          pending += text;
          continue;
        }
        if (pending !== '') made.push(...idsOf(pending));
        pending = '';
        made.push(...idsOf(text));
      }
      if (pending !== '') made.push(...idsOf(pending));
      return made;
    },
  };
}

const refuseUnknown = (text: string): never =>
  unsupported(`text with '${text}': the model Unigram does not know it and has no unk_id`);

function trieOf(vocabulary: ReadonlyMap<string, number>): Node {
  const root: Node = { next: new Map(), id: undefined };
  for (const [token, id] of vocabulary) {
    let node = root;
    for (let i = 0; i < token.length; ++i) {
      const code = token.charCodeAt(i);
      let child = node.next.get(code);
      if (!child) {
        child = { next: new Map(), id: undefined };
        node.next.set(code, child);
      }
      node = child;
    }
    node.id = id;
  }
  return root;
}

/** By the position where a token ends, its id; and the tokens of the best path, from left to right. */
interface Path {
  readonly ids: readonly (number | undefined)[];
  readonly begins: readonly { readonly from: number; readonly to: number }[];
}

function bestPath(
  piece: string,
  root: Node,
  scores: Float64Array,
  unknown: { readonly id: number | undefined; readonly score: number },
): Path {
  const size = piece.length;
  const best = new Float64Array(size + 1);
  const from = new Int32Array(size + 1).fill(-1);
  const ids: (number | undefined)[] = new Array(size + 1);
  const offer = (begin: number, end: number, score: number, id: number | undefined): void => {
    const total = score + best[begin]!;
    if (from[end] !== -1 && total <= best[end]!) return;
    best[end] = total;
    from[end] = begin;
    ids[end] = id;
  };
  for (let begin = 0; begin < size; ) {
    const width = piece.codePointAt(begin)! > 0xffff ? 2 : 1;
    let hasSingle = false;
    let node: Node | undefined = root;
    for (let end = begin; end < size; ) {
      node = node.next.get(piece.charCodeAt(end));
      if (!node) break;
      ++end;
      if (node.id === undefined) continue;
      offer(begin, end, scores[node.id]!, node.id);
      if (end - begin === width) hasSingle = true;
    }
    if (!hasSingle) {
      if (unknown.id === undefined) refuseUnknown(piece.slice(begin, begin + width));
      offer(begin, begin + width, unknown.score, unknown.id);
    }
    begin += width;
  }
  const begins: { from: number; to: number }[] = [];
  for (let end = size; end > 0; end = from[end]!) begins.push({ from: from[end]!, to: end });
  return { ids, begins: begins.reverse() };
}
