/**
 * Python's regular expressions, as peft uses them on module names. A pattern is read by Python's grammar
 * (`re`, 3.11 and later) and written anew for JavaScript. What the two languages match differently is spelled
 * out: classes become lists of characters, `$` looks past a last newline, case is folded letter by letter.
 * What cannot be said in JavaScript is refused by name. Module names are ASCII, so a set of characters is 128
 * bits.
 */
import { fail } from '../../errors.js';

/** Of `(?aimsux)`, those that change what is matched. */
interface Flags {
  readonly ignoreCase: boolean;
  readonly multiline: boolean;
  readonly dotAll: boolean;
  readonly verbose: boolean;
}

const NO_FLAGS: Flags = { ignoreCase: false, multiline: false, dotAll: false, verbose: false };
const FLAG_NAMES: Readonly<Record<string, keyof Flags>> = {
  i: 'ignoreCase',
  m: 'multiline',
  s: 'dotAll',
  x: 'verbose',
};
/** Flags that change nothing for ASCII text. */
const NEUTRAL_FLAGS = 'au';

const ASCII = 128;
const CODES = Array.from({ length: ASCII }, (_, code) => code);
type CharacterSet = ReadonlySet<number>;
const matching = (pattern: RegExp): CharacterSet =>
  new Set(CODES.filter((code) => pattern.test(String.fromCharCode(code))));
const complement = (set: CharacterSet): CharacterSet => new Set(CODES.filter((code) => !set.has(code)));

const DIGITS = matching(/[0-9]/);
const WORDS = matching(/[A-Za-z0-9_]/);
/** str.isspace(): tab to carriage return, the four separators, and the space. */
const SPACES: CharacterSet = new Set([9, 10, 11, 12, 13, 28, 29, 30, 31, 32]);
const CATEGORIES: Readonly<Record<string, CharacterSet>> = {
  d: DIGITS,
  D: complement(DIGITS),
  w: WORDS,
  W: complement(WORDS),
  s: SPACES,
  S: complement(SPACES),
};
const ESCAPED: Readonly<Record<string, number>> = { a: 7, f: 12, n: 10, r: 13, t: 9, v: 11, '\\': 92 };

const hex = (code: number): string => `\\x${code.toString(16).padStart(2, '0')}`;
const END = '(?![^])';
const WORD_CLASS = '[A-Za-z0-9_]';
const AT_BOUNDARY = `(?:(?<=${WORD_CLASS})(?!${WORD_CLASS})|(?<!${WORD_CLASS})(?=${WORD_CLASS}))`;
const OFF_BOUNDARY = `(?:(?<=${WORD_CLASS})(?=${WORD_CLASS})|(?<!${WORD_CLASS})(?!${WORD_CLASS}))`;

/** The character with its case swapped. */
function swapped(code: number): number {
  const letter = String.fromCharCode(code);
  return (letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase()).charCodeAt(0);
}

function withBothCases(set: CharacterSet): CharacterSet {
  return new Set(CODES.filter((code) => set.has(code) || set.has(swapped(code))));
}

/** What a piece of a pattern is to the quantifier that may follow it. */
type Piece = 'item' | 'assertion' | 'nothing';

/** One pass over a pattern, from left to right. */
class Translator {
  readonly #what: string;
  readonly #source: string;
  #at = 0;
  #atomicGroups = 0;
  #repeatedGroups = 0;
  #insideLookbehind = false;
  readonly #names = new Set<string>();

  constructor(what: string, source: string) {
    this.#what = what;
    this.#source = source;
  }

  translate(): string {
    const flags = this.#globalFlags();
    const body = this.#alternatives(flags);
    if (this.#at < this.#source.length) this.#invalid('unbalanced parenthesis');
    return body;
  }

  #refuse(construct: string): never {
    return fail(
      'ERR_INVALID_ARG',
      `${this.#what} ${JSON.stringify(this.#source)}: ${construct} at character ${this.#at} has no exact ` +
        'counterpart in JavaScript; write the pattern without it, or list the modules by name',
    );
  }
  #invalid(why: string): never {
    return fail(
      'ERR_INVALID_ARG',
      `${this.#what} ${JSON.stringify(this.#source)} is no regular expression of Python: ${why} at character ` +
        `${this.#at}; correct it, or list the modules by name`,
    );
  }

  #peek(text: string): boolean {
    return this.#source.startsWith(text, this.#at);
  }
  #take(text: string): boolean {
    if (!this.#peek(text)) return false;
    this.#at += text.length;
    return true;
  }
  #next(): string {
    const character = this.#source[this.#at++];
    return character ?? this.#invalid('unexpected end');
  }
  /** What a sticky expression matches here, consumed. */
  #match(pattern: RegExp): RegExpExecArray | null {
    const sticky = new RegExp(pattern.source, 'y');
    sticky.lastIndex = this.#at;
    const found = sticky.exec(this.#source);
    if (found) this.#at = sticky.lastIndex;
    return found;
  }

  /** `(?i)` at the pattern's beginning, where alone Python takes it. */
  #globalFlags(): Flags {
    let flags = NO_FLAGS;
    for (;;) {
      const found = this.#match(/\(\?([A-Za-z]+)\)/);
      if (!found) return flags;
      flags = this.#withFlags(flags, found[1]!, true);
    }
  }
  #withFlags(flags: Flags, letters: string, on: boolean): Flags {
    let result = flags;
    for (const letter of letters) {
      if (NEUTRAL_FLAGS.includes(letter) && on) continue;
      const name = FLAG_NAMES[letter] ?? this.#invalid(`unknown flag '${letter}'`);
      result = { ...result, [name]: on };
    }
    return result;
  }

  #alternatives(flags: Flags): string {
    const branches = [this.#sequence(flags)];
    while (this.#take('|')) {
      if (this.#insideLookbehind) this.#refuse("'|' in a lookbehind");
      branches.push(this.#sequence(flags));
    }
    return branches.join('|');
  }

  #sequence(flags: Flags): string {
    let result = '';
    while (this.#at < this.#source.length && !this.#peek('|') && !this.#peek(')')) {
      if (flags.verbose && this.#match(/\s+|#[^\n]*/)) continue;
      const [text, piece] = this.#piece(flags);
      if (flags.verbose) this.#match(/(?:\s+|#[^\n]*)*/);
      result += this.#quantified(text, piece);
    }
    return result;
  }

  #quantified(text: string, piece: Piece): string {
    const quantifier = this.#quantifier();
    if (quantifier === undefined) return text;
    if (piece === 'nothing') this.#invalid('nothing to repeat');
    if (piece === 'assertion') this.#refuse('a repeated assertion');
    if (this.#insideLookbehind) this.#refuse('a repetition in a lookbehind');
    const lazy = this.#take('?');
    const possessive = !lazy && this.#take('+');
    if (/^[*+?]/.test(this.#source.slice(this.#at))) this.#invalid('multiple repeat');
    const item = `(?:${text})${quantifier}`;
    const isGroup = text.startsWith('(');
    if (isGroup) ++this.#repeatedGroups;
    if (possessive && isGroup) this.#refuse('a repeated group without a way back');
    if (possessive) return this.#atomic(item);
    return lazy ? `${item}?` : item;
  }

  /** `*`, `+`, `?`, `{m}`, `{m,}`, `{,n}` or `{m,n}`, in JavaScript's form. Other braces are characters. */
  #quantifier(): string | undefined {
    const sign = this.#match(/[*+?]/);
    if (sign) return sign[0];
    if (this.#peek('{}')) return undefined;
    const braces = this.#match(/\{(\d*)(?:(,)(\d*))?\}/);
    if (!braces) return undefined;
    const [, least, comma, most] = braces;
    if (comma === undefined) return `{${least}}`;
    if (most !== '' && Number(least) > Number(most)) this.#invalid('min repeat greater than max repeat');
    return `{${least || '0'},${most}}`;
  }

  /** No way back into a group that has matched: a lookahead takes it, and what it took is matched again. */
  #atomic(text: string): string {
    const name = `atomic${++this.#atomicGroups}_`;
    return `(?=(?<${name}>${text}))\\k<${name}>`;
  }

  #piece(flags: Flags): [text: string, piece: Piece] {
    const character = this.#next();
    switch (character) {
      case '.':
        return [flags.dotAll ? '[^]' : '[^\\n]', 'item'];
      case '^':
        return [flags.multiline ? '(?<![^\\n])' : '(?<![^])', 'nothing'];
      case '$':
        return [flags.multiline ? '(?![^\\n])' : `(?=\\n?${END})`, 'nothing'];
      case '[':
        return [this.#class(flags), 'item'];
      case '(':
        return this.#group(flags);
      case '\\':
        return this.#escape(flags);
      case '*':
      case '+':
      case '?':
        return this.#invalid('nothing to repeat');
      default:
        return [this.#literal(character, flags), 'item'];
    }
  }

  #literal(character: string, flags: Flags): string {
    const code = character.codePointAt(0)!;
    if (code >= ASCII) {
      if (flags.ignoreCase) this.#refuse('a letter beyond ASCII under (?i)');
      // No module name has it.
      return '[]';
    }
    return this.#set(new Set([code]), flags);
  }
  #set(set: CharacterSet, flags: Flags): string {
    const codes = [...(flags.ignoreCase ? withBothCases(set) : set)];
    return `[${codes.map(hex).join('')}]`;
  }

  #group(flags: Flags): [text: string, piece: Piece] {
    if (!this.#take('?')) return [this.#rest('(', flags), 'item'];
    if (this.#take('#')) {
      if (!this.#match(/[^)]*\)/)) this.#invalid('missing ), unterminated comment');
      return ['', 'nothing'];
    }
    if (this.#take(':')) return [this.#rest('(?:', flags), 'item'];
    if (this.#take('>')) return [`(?:${this.#atomic(this.#atomicBody(flags))})`, 'item'];
    if (this.#take('=')) return [this.#rest('(?=', flags), 'assertion'];
    if (this.#take('!')) return [this.#rest('(?!', flags), 'assertion'];
    if (this.#take('<=')) return [this.#lookbehind('(?<=', flags), 'assertion'];
    if (this.#take('<!')) return [this.#lookbehind('(?<!', flags), 'assertion'];
    if (this.#take('P<')) return [this.#rest(`(?<${this.#groupName()}>`, flags), 'item'];
    if (this.#peek('P=')) return this.#refuse('the reference back (?P=…)');
    if (this.#peek('(')) return this.#refuse('the condition (?(…)…)');
    const changed = this.#match(/([A-Za-z]*)(?:-([A-Za-z]+))?:/);
    if (!changed) return this.#invalid('unknown extension');
    const inner = this.#withFlags(this.#withFlags(flags, changed[1]!, true), changed[2] ?? '', false);
    return [this.#rest('(?:', inner), 'item'];
  }
  /**
   * Of `(?>…)`. A repetition that begins without taking a character goes on in Python and ends in JavaScript;
   * where there is a way back, both find the same.
   */
  #atomicBody(flags: Flags): string {
    const before = this.#repeatedGroups;
    const body = this.#rest('(?:', flags);
    if (this.#repeatedGroups > before) this.#refuse('a repeated group without a way back');
    return body;
  }
  #rest(open: string, flags: Flags): string {
    const body = this.#alternatives(flags);
    if (!this.#take(')')) this.#invalid('missing ), unterminated subpattern');
    return `${open}${body})`;
  }
  #lookbehind(open: string, flags: Flags): string {
    const before = this.#insideLookbehind;
    this.#insideLookbehind = true;
    const text = this.#rest(open, flags);
    this.#insideLookbehind = before;
    return text;
  }
  #groupName(): string {
    const name = this.#match(/([A-Za-z_][A-Za-z0-9_]*)>/)?.[1] ?? this.#invalid('bad group name');
    if (this.#names.has(name)) this.#invalid(`redefinition of group name '${name}'`);
    this.#names.add(name);
    return name;
  }

  #escape(flags: Flags): [text: string, piece: Piece] {
    const character = this.#next();
    const category = CATEGORIES[character];
    if (category) return [this.#set(category, flags), 'item'];
    switch (character) {
      case 'A':
        return ['(?<![^])', 'nothing'];
      case 'Z':
        return [END, 'nothing'];
      case 'b':
        return [AT_BOUNDARY, 'nothing'];
      case 'B':
        return [OFF_BOUNDARY, 'nothing'];
      default: {
        --this.#at;
        if (this.#match(/[1-9](?![0-7]{2})\d?/)) this.#refuse('a reference back by number');
        return [this.#literal(String.fromCodePoint(this.#escapedCode()), flags), 'item'];
      }
    }
  }

  /** The character that an escape stands for, in a class and outside. */
  #escapedCode(): number {
    const digits = this.#match(/x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})/);
    if (digits) return Number.parseInt((digits[1] ?? digits[2] ?? digits[3])!, 16);
    const octal = this.#match(/0[0-7]{0,2}|[1-3][0-7]{2}/);
    if (octal) return Number.parseInt(octal[0], 8);
    const character = this.#next();
    if (character === 'N') this.#refuse('a character by name, \\N{…},');
    if (character in ESCAPED) return ESCAPED[character]!;
    if (/[A-Za-z0-9]/.test(character)) this.#invalid(`bad escape \\${character}`);
    return character.codePointAt(0)!;
  }

  /** After '['. */
  #class(flags: Flags): string {
    const negated = this.#take('^');
    const set = new Set<number>();
    for (let first = true; first || !this.#peek(']'); first = false) {
      const low = this.#member();
      if (typeof low !== 'number') {
        for (const code of low) set.add(code);
        continue;
      }
      const isRange = this.#peek('-') && !this.#peek('-]');
      if (!isRange) {
        this.#addRange(set, low, low, flags);
        continue;
      }
      this.#take('-');
      const high = this.#member();
      if (typeof high !== 'number' || high < low) this.#invalid('bad character range');
      this.#addRange(set, low, high, flags);
    }
    this.#take(']');
    const cased = flags.ignoreCase ? withBothCases(set) : set;
    return this.#set(negated ? complement(cased) : cased, NO_FLAGS);
  }
  #addRange(set: Set<number>, low: number, high: number, flags: Flags): void {
    if (high >= ASCII && flags.ignoreCase) this.#refuse('a letter beyond ASCII under (?i)');
    for (let code = low; code <= Math.min(high, ASCII - 1); ++code) set.add(code);
  }
  /** A character of a class, or a category. */
  #member(): number | CharacterSet {
    if (!this.#take('\\')) {
      const code = this.#source.codePointAt(this.#at) ?? this.#invalid('unterminated character set');
      this.#at += String.fromCodePoint(code).length;
      return code;
    }
    const category = CATEGORIES[this.#source[this.#at] ?? ''];
    if (category) {
      ++this.#at;
      return category;
    }
    if (this.#take('b')) return 8;
    return this.#escapedCode();
  }
}

/**
 * A pattern of Python as a function on ASCII text: re.fullmatch(). `what`: whose pattern it is, for messages.
 * @throws ERR_INVALID_ARG for a pattern that Python refuses, and for one that has no exact counterpart.
 */
export function pythonFullMatch(what: string, source: string): (text: string) => boolean {
  const pattern = new RegExp(`^(?:${new Translator(what, source).translate()})${END}`);
  return (text) => pattern.test(text);
}

/** re.match(): the groups with names, where the text's beginning matches. */
export function pythonMatch(
  what: string,
  source: string,
): (text: string) => Readonly<Record<string, string | undefined>> | undefined {
  const pattern = new RegExp(`^(?:${new Translator(what, source).translate()})`);
  return (text) => {
    const found = pattern.exec(text);
    return found ? (found.groups ?? {}) : undefined;
  };
}
