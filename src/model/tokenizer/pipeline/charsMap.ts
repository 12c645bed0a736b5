/** SentencePiece's precompiled map of characters: a trie over bytes, and the texts that replace its words. */
import { unsupported } from './read.js';

const encoder = new TextEncoder();

/** A cell of the trie, as Darts-clone packs it. */
const hasLeaf = (unit: number): boolean => ((unit >>> 8) & 1) === 1;
const indexIn = (unit: number): number => unit & 0x7fffffff;
const labelOf = (unit: number): number => (unit & 0x800000ff) >>> 0;
const offsetOf = (unit: number): number => ((unit >>> 10) << ((unit & 0x200) >>> 6)) >>> 0;

/** Longer clusters of characters are looked up one by one. */
const LONGEST_CLUSTER = 6;

/** Clusters that are remembered, at most. */
const REMEMBERED = 4096;

/**
 * ASCII characters are clusters of their own, but for those beside others, and for a line's end. Looking for
 * clusters in these runs alone, and in one character of plain ASCII at a time, is what is fast.
 */
const RUNS = /(?:\r\n|[\0-\x7f])?(?:[^\0-\x7f]+(?:\r\n|[\0-\x7f])?)+|\r\n|[\0-\x7f]/g;

const segmenter = new Intl.Segmenter('und', { granularity: 'grapheme' });

/** Intl.Segmenter takes longer than in proportion for long texts: it gets so much at a time. */
const WINDOW = 128;

function clustersOf(run: string): string[] {
  const clusters: string[] = [];
  let window = WINDOW;
  for (let begin = 0; begin < run.length; ) {
    const part = run.slice(begin, begin + window);
    const found = Array.from(segmenter.segment(part), ({ segment }) => segment);
    // The last cluster of a window may go on behind it.
    const isWhole = begin + window >= run.length;
    const kept = isWhole ? found : found.slice(0, -1);
    if (kept.length === 0) window *= 2;
    for (const cluster of kept) {
      clusters.push(cluster);
      begin += cluster.length;
    }
  }
  return clusters;
}

/** @param base64 precompiled_charsmap. */
export function charsMap(base64: string): (text: string) => string {
  const bytes = Buffer.from(base64, 'base64');
  if (bytes.length < 4) return unsupported('the normalizer Precompiled with an empty map');
  const size = bytes.readUInt32LE(0);
  const trie = Uint32Array.from({ length: size / 4 }, (_, i) => bytes.readUInt32LE(4 + 4 * i));
  const replacements = bytes.subarray(4 + size);

  /** What the shortest word of the map that `key` begins with becomes. */
  function lookUp(key: string): string | undefined {
    let node = offsetOf(trie[0]!);
    for (const byte of encoder.encode(key)) {
      if (byte === 0) return undefined;
      node = (node ^ byte) >>> 0;
      const unit = trie[node] ?? 0;
      if (labelOf(unit) !== byte) return undefined;
      node = (node ^ offsetOf(unit)) >>> 0;
      if (!hasLeaf(unit)) continue;
      const begin = indexIn(trie[node]!);
      return replacements.toString('utf8', begin, replacements.indexOf(0, begin));
    }
    return undefined;
  }

  const known = new Map<string, string>();
  function replace(cluster: string): string {
    const whole = Buffer.byteLength(cluster) < LONGEST_CLUSTER ? lookUp(cluster) : undefined;
    return whole ?? Array.from(cluster, (character) => lookUp(character) ?? character).join('');
  }
  const ascii = new Map<string, string>();
  function rewrite(run: string): string {
    const single = ascii.get(run);
    if (single !== undefined) return single;
    let made = '';
    for (const segment of clustersOf(run)) {
      let replacement = known.get(segment);
      if (replacement === undefined) {
        replacement = replace(segment);
        if (known.size < REMEMBERED) known.set(segment, replacement);
      }
      made += replacement;
    }
    if (run.length === 1) ascii.set(run, made);
    return made;
  }
  return (text) => text.replace(RUNS, (run) => rewrite(run));
}
