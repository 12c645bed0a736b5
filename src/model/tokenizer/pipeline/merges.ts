/** Merges of pairs of tokens: a hash table of them, and the order in which they are made. */

/**
 * From a pair of ids to the rank of its merge and the id that it becomes. Open addressing, at most half full.
 */
export class MergeTable {
  readonly #mask: number;
  /** Left and right id, rank, new id of each slot; left −1: empty. */
  readonly #slots: Int32Array;

  constructor(merges: number) {
    const slots = 2 ** Math.ceil(Math.log2(2 * merges + 2));
    this.#mask = slots - 1;
    this.#slots = new Int32Array(4 * slots).fill(-1);
  }

  /** A pair that is set twice has the later merge. */
  set(left: number, right: number, rank: number, id: number): void {
    const slot = this.#find(left, right);
    this.#slots[slot] = left;
    this.#slots[slot + 1] = right;
    this.#slots[slot + 2] = rank;
    this.#slots[slot + 3] = id;
  }

  /** −1: the pair is not merged. */
  rank(left: number, right: number): number {
    return this.#slots[this.#find(left, right) + 2]!;
  }

  /** What the pair becomes. */
  merged(left: number, right: number): number {
    return this.#slots[this.#find(left, right) + 3]!;
  }

  #find(left: number, right: number): number {
    const slots = this.#slots;
    let hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    hash ^= hash >>> 15;
    for (let slot = hash & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const at = 4 * slot;
      const found = slots[at]!;
      if (found === -1 || (found === left && slots[at + 1] === right)) return at;
    }
  }
}

/** Up to here, looking for the lowest rank again after every merge is faster than a heap. */
const FEW_SYMBOLS = 48;

/** Merges the pair of the lowest rank, the leftmost of several, until no pair has a merge. */
export function mergeSymbols(symbols: number[], table: MergeTable): number[] {
  if (symbols.length < 2) return symbols;
  return symbols.length <= FEW_SYMBOLS ? mergeFew(symbols, table) : mergeMany(symbols, table);
}

function mergeFew(symbols: number[], table: MergeTable): number[] {
  const ranks: number[] = [];
  for (let i = 0; i + 1 < symbols.length; ++i) ranks.push(table.rank(symbols[i]!, symbols[i + 1]!));
  for (;;) {
    let least = -1;
    let at = -1;
    for (let i = 0; i < ranks.length; ++i) {
      const rank = ranks[i]!;
      if (rank === -1 || (at !== -1 && rank >= least)) continue;
      least = rank;
      at = i;
    }
    if (at === -1) return symbols;
    symbols[at] = table.merged(symbols[at]!, symbols[at + 1]!);
    symbols.splice(at + 1, 1);
    ranks.splice(at, 1);
    if (at > 0) ranks[at - 1] = table.rank(symbols[at - 1]!, symbols[at]!);
    if (at < ranks.length) ranks[at] = table.rank(symbols[at]!, symbols[at + 1]!);
  }
}

/** Positions are below this; a key is rank × this + position. */
const POSITIONS = 2 ** 32;

function mergeMany(symbols: number[], table: MergeTable): number[] {
  const size = symbols.length;
  const ids = Int32Array.from(symbols);
  const next = Int32Array.from({ length: size }, (_, i) => i + 1);
  const previous = Int32Array.from({ length: size }, (_, i) => i - 1);
  const heap = new Heap();
  const offer = (left: number): void => {
    if (left < 0) return;
    const right = next[left]!;
    if (right >= size) return;
    const rank = table.rank(ids[left]!, ids[right]!);
    if (rank !== -1) heap.push(rank * POSITIONS + left);
  };
  for (let i = 0; i + 1 < size; ++i) offer(i);
  for (let key = heap.pop(); key !== undefined; key = heap.pop()) {
    const rank = Math.floor(key / POSITIONS);
    const left = key - rank * POSITIONS;
    const right = next[left]!;
    // The pair of this key may be gone.
    const isGone = ids[left] === -1 || right >= size || table.rank(ids[left]!, ids[right]!) !== rank;
    if (isGone) continue;
    ids[left] = table.merged(ids[left]!, ids[right]!);
    ids[right] = -1;
    next[left] = next[right]!;
    if (next[left]! < size) previous[next[left]!] = left;
    offer(previous[left]!);
    offer(left);
  }
  return Array.from(ids).filter((id) => id !== -1);
}

/** A heap of numbers: the least comes first. */
class Heap {
  readonly #keys: number[] = [];

  push(key: number): void {
    const keys = this.#keys;
    let at = keys.length;
    keys.push(key);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (keys[parent]! <= key) break;
      keys[at] = keys[parent]!;
      at = parent;
    }
    keys[at] = key;
  }

  pop(): number | undefined {
    const keys = this.#keys;
    const least = keys[0];
    const last = keys.pop();
    if (last === undefined || keys.length === 0) return least;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= keys.length) break;
      if (child + 1 < keys.length && keys[child + 1]! < keys[child]!) ++child;
      if (keys[child]! >= last) break;
      keys[at] = keys[child]!;
      at = child;
    }
    keys[at] = last;
    return least;
  }
}
