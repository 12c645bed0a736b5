/** A character class of Oniguruma, such as [^\s\p{L}&&[^a-c]], as one of JavaScript's flag v. */
import { CASED, propertyNamed } from './properties.js';
import { DIGIT, propertyClass, SPACE, WORD_IN_CLASS } from './unicode.js';

type Refuse = (what: string) => never;

const WORD = WORD_IN_CLASS;

const ESCAPES: Readonly<Record<string, string>> = {
  s: SPACE,
  S: `[^${SPACE}]`,
  d: DIGIT,
  D: `[^${DIGIT}]`,
  w: WORD,
  W: `[^${WORD}]`,
  h: '[0-9A-Fa-f]',
  H: '[^0-9A-Fa-f]',
};

const CONTROLS: Readonly<Record<string, number>> = {
  n: 10,
  r: 13,
  t: 9,
  f: 12,
  v: 11,
  a: 7,
  e: 27,
};

const POSIX: Readonly<Record<string, string>> = {
  alpha: propertyClass('Alphabetic'),
  alnum: `[${propertyClass('Alphabetic')}${DIGIT}]`,
  digit: DIGIT,
  space: SPACE,
  punct: `[${propertyClass('P')}${propertyClass('S')}]`,
  lower: propertyClass('Lowercase'),
  upper: propertyClass('Uppercase'),
  xdigit: '[0-9A-Fa-f]',
};

const hex = (code: number): string => `\\u{${code.toString(16)}}`;

/** Reads the class that begins at `position` of a pattern; afterwards `position` is behind it. */
export class CharacterClass {
  position: number;
  readonly #pattern: string;
  readonly #ignoreCase: boolean;
  readonly #refuse: Refuse;

  constructor(pattern: string, position: number, ignoreCase: boolean, refuse: Refuse) {
    this.#pattern = pattern;
    this.position = position;
    this.#ignoreCase = ignoreCase;
    this.#refuse = refuse;
  }

  read(): string {
    this.position += 1;
    const isNegated = this.#take('^');
    const operands: string[] = [];
    let members = this.#sees(']') ? this.#member() : '';
    while (!this.#take(']')) {
      if (this.position >= this.#pattern.length) this.#refuse('a character class without its ]');
      if (this.#take('&&')) {
        operands.push(members);
        members = '';
      } else members += this.#member();
    }
    operands.push(members);
    if (operands.includes('')) this.#refuse('an empty character class');
    const joined = operands.length === 1 ? operands[0]! : operands.map((each) => `[${each}]`).join('&&');
    return isNegated ? `[^${joined}]` : `[${joined}]`;
  }

  /** A nested class, a set, a character, or a range of them. */
  #member(): string {
    const [posix, not, name] = /^\[:(\^?)(\w+):\]/.exec(this.#rest()) ?? [];
    if (posix !== undefined) {
      this.position += posix.length;
      const members = POSIX[name!] ?? this.#refuse(`the class [:${name}:]`);
      return not === '^' ? `[^${members}]` : members;
    }
    if (this.#sees('[')) return this.read();
    const set = this.#set();
    if (set !== undefined) return set;
    const first = this.#code();
    const [isRange] = /^-(?!\])/.exec(this.#rest()) ?? [];
    if (isRange === undefined) return this.#characters(first, first);
    this.position += 1;
    if (this.#sees('[') || this.#set() !== undefined) this.#refuse('a range that ends in a set');
    return this.#characters(first, this.#code());
  }

  /** \s, \p{L} and the like. */
  #set(): string | undefined {
    const rest = this.#rest();
    const [property, sign, caret, name] = /^\\([pP])\{(\^?)([^}]*)\}/.exec(rest) ?? [];
    if (property !== undefined) {
      this.position += property.length;
      if (this.#ignoreCase && CASED.test(name!)) this.#refuse(`\\p{${name}} where case is ignored`);
      const members = propertyNamed(name!, this.#refuse);
      const isNegated = (sign === 'P') !== (caret === '^');
      return isNegated ? `[^${members}]` : members;
    }
    const letter = rest.startsWith('\\') ? rest[1]! : '';
    if (!Object.hasOwn(ESCAPES, letter)) return undefined;
    this.position += 2;
    return ESCAPES[letter];
  }

  /** A single character. */
  #code(): number {
    const rest = this.#rest();
    const [numbered, braced, pair, four] =
      /^\\(?:x\{([0-9A-Fa-f]+)\}|x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{4}))/.exec(rest) ?? [];
    if (numbered !== undefined) {
      this.position += numbered.length;
      return parseInt((braced ?? pair ?? four)!, 16);
    }
    const isEscape = rest.startsWith('\\');
    const code = rest.codePointAt(isEscape ? 1 : 0) ?? this.#refuse('a character class without its ]');
    const character = String.fromCodePoint(code);
    this.position += character.length + (isEscape ? 1 : 0);
    if (isEscape && Object.hasOwn(CONTROLS, character)) return CONTROLS[character]!;
    if (isEscape && /[0-9A-Za-z]/.test(character)) this.#refuse(`the escape \\${character}`);
    return code;
  }

  #characters(first: number, last: number): string {
    if (last < first) this.#refuse('a range that ends before it begins');
    const range = first === last ? hex(first) : `${hex(first)}-${hex(last)}`;
    if (!this.#ignoreCase) return range;
    return range + this.#otherCases(first, last);
  }

  /** What folds together with characters of a range, for ASCII letters. */
  #otherCases(first: number, last: number): string {
    let folded = '';
    for (let code = first; code <= last; ++code) {
      const character = String.fromCodePoint(code);
      const lower = character.toLowerCase();
      const upper = character.toUpperCase();
      if (lower === upper) continue;
      if (code >= 128) this.#refuse(`'${character}' where case is ignored`);
      folded += hex((character === lower ? upper : lower).charCodeAt(0));
      if (lower === 's') folded += '\\u{17f}';
      if (lower === 'k') folded += '\\u{212a}';
    }
    return folded;
  }

  #rest(): string {
    return this.#pattern.slice(this.position);
  }

  #sees(text: string): boolean {
    return this.#pattern.startsWith(text, this.position);
  }

  #take(text: string): boolean {
    const isThere = this.#sees(text);
    if (isThere) this.position += text.length;
    return isThere;
  }
}
