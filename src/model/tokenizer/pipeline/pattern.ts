/**
 * Regular expressions of tokenizer.json, which are Oniguruma's, as JavaScript's. What has no exact
 * counterpart is refused by name.
 */
import { CharacterClass } from './characterClass.js';
import { CASED, propertyNamed } from './properties.js';
import { unsupported } from './read.js';
import { DIGIT, SPACE, WORD } from './unicode.js';

/** Any text, matched as it is. */
export const literal = (text: string): RegExp => new RegExp([...text].map(escaped).join(''), 'gv');

/** @throws UnsupportedComponent naming what the pattern uses. */
export function compilePattern(pattern: string): RegExp {
  const source = new PatternReader(pattern).whole();
  try {
    return new RegExp(source, 'gv');
  } catch (error) {
    return unsupported(`the regular expression ${pattern} (${(error as Error).message})`);
  }
}

const escaped = (character: string): string => `\\u{${character.codePointAt(0)!.toString(16)}}`;

const NOT_WORD = `[^${WORD}]`;
const BOUNDARY = `(?:(?<!${WORD})(?=${WORD})|(?<=${WORD})(?!${WORD}))`;
const NO_BOUNDARY = `(?:(?<!${WORD})(?!${WORD})|(?<=${WORD})(?=${WORD}))`;

/** Escapes of one letter that stand for something. */
const ESCAPES: Readonly<Record<string, string>> = {
  s: SPACE,
  S: `[^${SPACE}]`,
  d: DIGIT,
  D: `[^${DIGIT}]`,
  w: WORD,
  W: NOT_WORD,
  h: '[0-9A-Fa-f]',
  H: '[^0-9A-Fa-f]',
  b: BOUNDARY,
  B: NO_BOUNDARY,
  A: '(?<![^])',
  z: '(?![^])',
  Z: '(?=\\n?(?![^]))',
  n: '\\n',
  r: '\\r',
  t: '\\t',
  f: '\\f',
  v: '\\v',
  a: '\\u{7}',
  e: '\\u{1b}',
};

/** Letters that fold together with another letter beyond their two cases. */
const FOLDS: Readonly<Record<string, string>> = { s: '\\u{17f}', k: '\\u{212a}' };
/** Pairs of letters that fold together with a ligature. */
const LIGATURES = /ss|st|ff|fi|fl/i;

interface Modes {
  readonly ignoreCase: boolean;
  readonly dotAll: boolean;
}

class PatternReader {
  readonly #pattern: string;
  #position = 0;
  #captures = 0;
  /** The letters just read where case is ignored. */
  #letters = '';

  constructor(pattern: string) {
    this.#pattern = pattern;
  }

  whole(): string {
    const source = this.#alternatives({ ignoreCase: false, dotAll: false });
    if (this.#position < this.#pattern.length) this.#refuse('an unmatched )');
    return source;
  }

  #alternatives(modes: Modes): string {
    const options: string[] = [];
    let inner = modes;
    do {
      const [source, left] = this.#sequence(inner);
      options.push(source);
      inner = left;
    } while (this.#take('|'));
    return options.join('|');
  }

  /** The sequence, and the modes that hold after it. */
  #sequence(modes: Modes): [string, Modes] {
    let source = '';
    let current = modes;
    this.#letters = '';
    while (this.#position < this.#pattern.length && !this.#sees('|') && !this.#sees(')')) {
      const switched = this.#modeSwitch(current);
      if (switched) {
        if (source !== '') this.#refuse('a mode switch inside a sequence');
        current = switched;
        continue;
      }
      source += this.#quantified(this.#atom(current));
    }
    this.#letters = '';
    return [source, current];
  }

  /** `(?i)`, which holds until the end of the group. */
  #modeSwitch(modes: Modes): Modes | undefined {
    const [text, on, off = ''] = /^\(\?([a-z]*)(?:-([a-z]*))?\)/.exec(this.#rest()) ?? [];
    if (text === undefined) return undefined;
    this.#position += text.length;
    return this.#changed(modes, on!, off);
  }

  #changed(modes: Modes, on: string, off: string): Modes {
    if (/[^im]/.test(on + off)) this.#refuse(`the mode (?${on}${off && `-${off}`})`);
    const set = (letter: string, before: boolean) =>
      off.includes(letter) ? false : on.includes(letter) || before;
    return { ignoreCase: set('i', modes.ignoreCase), dotAll: set('m', modes.dotAll) };
  }

  #atom(modes: Modes): string {
    const character = String.fromCodePoint(this.#pattern.codePointAt(this.#position)!);
    if (character === '(') return this.#group(modes);
    if (character === '[') return this.#class(modes);
    if (character === '\\') return this.#escape(modes);
    this.#position += character.length;
    if (character === '.') return modes.dotAll ? '[^]' : '[^\\n]';
    if (character === '^') return '(?:(?<![^])|(?<=\\n)(?=[^]))';
    if (character === '$') return '(?=\\n|(?![^]))';
    if (/[*+?]/.test(character)) this.#refuse(`a quantifier ${character} without what it repeats`);
    return this.#character(character, modes);
  }

  #character(character: string, { ignoreCase }: Modes): string {
    if (!ignoreCase) return escaped(character);
    this.#letters += character;
    if (LIGATURES.test(this.#letters)) this.#refuse(`'${this.#letters}' where case is ignored`);
    if (!/[A-Za-z]/.test(character)) {
      const hasCase = character.toLowerCase() !== character || character.toUpperCase() !== character;
      if (hasCase) this.#refuse(`'${character}' where case is ignored`);
      return escaped(character);
    }
    const lower = character.toLowerCase();
    return `[${lower}${lower.toUpperCase()}${FOLDS[lower] ?? ''}]`;
  }

  #group(modes: Modes): string {
    const [text, kind] = /^\((\?(?:[:=!>]|<[=!]|<[A-Za-z_]\w*>|[a-z-]+:))?/.exec(this.#rest())!;
    this.#position += text.length;
    if (kind === undefined && this.#sees('?')) this.#refuse(`the group (${this.#rest().slice(0, 3)}`);
    const [, on, off = ''] = /^\?([a-z]*)(?:-([a-z]*))?:$/.exec(kind ?? '') ?? [];
    const inner = on === undefined ? modes : this.#changed(modes, on, off);
    const body = this.#alternatives(inner);
    if (!this.#take(')')) this.#refuse('a group without its )');
    if (kind === '?>') return this.#atomic(body);
    const isAround = kind !== undefined && /^\?(?:[=!]|<[=!])$/.test(kind);
    return isAround ? `(${kind}${body})` : `(?:${body})`;
  }

  /** What has matched is not given back: JavaScript has it in a lookahead. */
  #atomic(body: string): string {
    const name = `held${this.#captures++}`;
    return `(?:(?=(?<${name}>${body}))\\k<${name}>)`;
  }

  #class({ ignoreCase }: Modes): string {
    this.#letters = '';
    const reader = new CharacterClass(this.#pattern, this.#position, ignoreCase, (what) =>
      this.#refuse(what),
    );
    const source = reader.read();
    this.#position = reader.position;
    return source;
  }

  #escape(modes: Modes): string {
    const rest = this.#rest();
    const [property, sign, caret, name] = /^\\([pP])\{(\^?)([^}]*)\}/.exec(rest) ?? [];
    if (property !== undefined) {
      this.#letters = '';
      this.#position += property.length;
      const isNegated = (sign === 'P') !== (caret === '^');
      if (modes.ignoreCase && CASED.test(name!)) this.#refuse(`\\p{${name}} where case is ignored`);
      const members = propertyNamed(name!, (what) => this.#refuse(what));
      return isNegated ? `[^${members}]` : members;
    }
    const [code, braced, pair, four] =
      /^\\(?:x\{([0-9A-Fa-f]+)\}|x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{4}))/.exec(rest) ?? [];
    if (code !== undefined) {
      this.#position += code.length;
      return this.#character(String.fromCodePoint(parseInt((braced ?? pair ?? four)!, 16)), modes);
    }
    const letter = String.fromCodePoint(rest.codePointAt(1) ?? 0x5c);
    this.#position += 1 + letter.length;
    if (Object.hasOwn(ESCAPES, letter)) {
      this.#letters = '';
      return ESCAPES[letter]!;
    }
    if (/[0-9A-Za-z]/.test(letter)) this.#refuse(`the escape \\${letter}`);
    return this.#character(letter, modes);
  }

  #quantified(atom: string): string {
    const [text, sign] = /^([*+?]|\{\d+(?:,\d*)?\}|\{,\d+\})/.exec(this.#rest()) ?? [];
    if (text === undefined) return atom;
    this.#letters = '';
    this.#position += text.length;
    const isInterval = sign!.startsWith('{');
    const times = sign!.replace('{,', '{0,');
    if (isInterval && this.#sees('+')) this.#refuse(`the quantifier ${sign}+`);
    if (isInterval && !sign!.includes(',') && this.#sees('?')) this.#refuse(`the quantifier ${sign}?`);
    const isLazy = this.#take('?');
    const isPossessive = !isLazy && this.#take('+');
    if (/^[*+?]/.test(this.#rest())) this.#refuse('a quantifier of a quantifier');
    if (isPossessive) return this.#atomic(`${atom}${times}`);
    return `${atom}${times}${isLazy ? '?' : ''}`;
  }

  #rest(): string {
    return this.#pattern.slice(this.#position);
  }

  #sees(text: string): boolean {
    return this.#pattern.startsWith(text, this.#position);
  }

  #take(text: string): boolean {
    const isThere = this.#sees(text);
    if (isThere) this.#position += text.length;
    return isThere;
  }

  #refuse(what: string): never {
    return unsupported(`the regular expression ${this.#pattern} (it has ${what})`);
  }
}
