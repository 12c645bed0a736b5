/** Tokens beside the model's own: found in a text before the model sees it. */
import type { Normalizer } from './normalizers.js';
import { RUST_WORD, SPACE } from './unicode.js';
import type { TokenModel } from './vocabulary.js';

/** A token with how it is found, under the names of tokenizer.json. */
export interface AddedToken {
  readonly content: string;
  /** Not inside of a word. */
  readonly single_word: boolean;
  /** Takes the white space on its left, or right, with it. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** Found in the normalised text. */
  readonly normalized: boolean;
  /** Left out of decoded text. */
  readonly special: boolean;
}

/** A part of a text: an added token, or text for the model. */
export type Part = { readonly id: number } | { readonly text: string; readonly begins: boolean };

const ENDS_WITH_WORD = new RegExp(`[${RUST_WORD}]$`, 'v');
const STARTS_WITH_WORD = new RegExp(`^[${RUST_WORD}]`, 'v');
const SPACES_BEFORE = new RegExp(`${SPACE}*$`, 'v');
const SPACES_AFTER = new RegExp(`^${SPACE}*`, 'v');

export class AddedTokens {
  readonly #model: TokenModel;
  readonly #normalizer: Normalizer;
  readonly #ids = new Map<string, number>();
  readonly #tokens = new Map<number, AddedToken>();
  readonly #specials = new Set<string>();
  /** What a normalised token looks like in a normalised text, where that is something else. */
  readonly #normalForms = new Map<number, string>();
  /** Special tokens in a text are text (split_special_tokens). */
  readonly #splitsSpecials: boolean;
  #plain = new Finder([]);
  #normalised = new Finder([]);

  constructor(model: TokenModel, normalizer: Normalizer, splitsSpecials: boolean) {
    this.#model = model;
    this.#normalizer = normalizer;
    this.#splitsSpecials = splitsSpecials;
  }

  /** Ids of those that are new follow the largest there is. */
  add(tokens: readonly AddedToken[]): void {
    const modelSize = this.#model.vocabulary.size;
    let next = [...this.#tokens.keys()].reduce((most, id) => Math.max(most, id + 1), modelSize);
    for (const token of tokens) {
      if (token.content === '' || this.#isKnown(token)) continue;
      const id = this.id(token.content) ?? next++;
      if (token.normalized) {
        const form = this.#normalizer(token.content);
        if (form !== token.content) this.#normalForms.set(id, form);
      }
      this.#ids.set(token.content, id);
      this.#tokens.set(id, token);
      if (token.special) this.#specials.add(token.content);
    }
    const all = [...this.#tokens];
    const formOf = (id: number, token: AddedToken): string => this.#normalForms.get(id) ?? token.content;
    this.#plain = new Finder(all.filter(([, token]) => !token.normalized).map(([id, t]) => [t.content, id]));
    this.#normalised = new Finder(
      all.filter(([, token]) => token.normalized).map(([id, token]) => [formOf(id, token), id]),
    );
  }

  #isKnown(token: AddedToken): boolean {
    const known = this.#tokens.get(this.#ids.get(token.content) ?? -1);
    if (!known) return false;
    const keys = ['content', 'single_word', 'lstrip', 'rstrip', 'normalized', 'special'] as const;
    return keys.every((key) => known[key] === token[key]);
  }

  id(content: string): number | undefined {
    return this.#ids.get(content) ?? this.#model.vocabulary.get(content);
  }

  has(content: string): boolean {
    return this.#ids.has(content);
  }

  get contents(): Iterable<string> {
    return this.#ids.keys();
  }

  /** As decoders see it. */
  token(id: number): string | undefined {
    return this.#normalForms.get(id) ?? this.#tokens.get(id)?.content;
  }

  isSpecial(token: string): boolean {
    return this.#specials.has(token);
  }

  /** The added tokens of a text, and normalised text between them. */
  parts(text: string): readonly Part[] {
    const parts: Part[] = [];
    for (const part of this.#cut({ text, begins: true }, this.#plain)) {
      if ('id' in part) parts.push(part);
      else parts.push(...this.#cut({ ...part, text: this.#normalizer(part.text) }, this.#normalised));
    }
    return parts;
  }

  #cut(part: { readonly text: string; readonly begins: boolean }, finder: Finder): readonly Part[] {
    const { text, begins } = part;
    if (text === '') return [];
    const parts: Part[] = [];
    let covered = 0;
    const addText = (end: number): void => {
      if (covered < end) parts.push({ text: text.slice(covered, end), begins: begins && covered === 0 });
    };
    for (let found = finder.next(text, 0); found; found = finder.next(text, found.end)) {
      const token = this.#tokens.get(found.id)!;
      if (this.#splitsSpecials && this.#specials.has(token.content)) continue;
      if (token.single_word && isInWord(text, found.begin, found.end)) continue;
      const begin = token.lstrip
        ? Math.max(text.slice(0, found.begin).search(SPACES_BEFORE), covered)
        : found.begin;
      const spaces = token.rstrip ? SPACES_AFTER.exec(text.slice(found.end))![0].length : 0;
      addText(begin);
      parts.push({ id: found.id });
      covered = found.end + spaces;
    }
    addText(text.length);
    return parts;
  }
}

const isInWord = (text: string, begin: number, end: number): boolean =>
  ENDS_WITH_WORD.test(text.slice(0, begin)) || STARTS_WITH_WORD.test(text.slice(end));

interface Found {
  readonly begin: number;
  readonly end: number;
  readonly id: number;
}

/** Finds the leftmost of some texts, the longest of those that begin there. */
class Finder {
  /** Texts by their first code unit, longest first. */
  readonly #byFirst = new Map<number, [string, number][]>();
  readonly #first: RegExp | undefined;

  constructor(texts: readonly (readonly [string, number])[]) {
    for (const [text, id] of texts) {
      const first = text.charCodeAt(0);
      if (text !== '') this.#byFirst.set(first, [...(this.#byFirst.get(first) ?? []), [text, id]]);
    }
    for (const list of this.#byFirst.values()) list.sort(([a], [b]) => b.length - a.length);
    const units = [...this.#byFirst.keys()].map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`);
    this.#first = units.length > 0 ? new RegExp(`[${units.join('')}]`, 'g') : undefined;
  }

  next(text: string, from: number): Found | undefined {
    const first = this.#first;
    if (!first) return undefined;
    first.lastIndex = from;
    for (let match = first.exec(text); match; match = first.exec(text)) {
      const begin = match.index;
      const hit = this.#byFirst.get(text.charCodeAt(begin))!.find(([each]) => text.startsWith(each, begin));
      if (hit) return { begin, end: begin + hit[0].length, id: hit[1] };
    }
    return undefined;
  }
}
