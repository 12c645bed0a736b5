/**
 * A template's tokens, as the lexer of jinja2 makes them with trim_blocks and lstrip_blocks.
 *
 * The tokens of @huggingface/jinja lose what the text depends on: 1.0 and 1e3, escapes that it does not know,
 * `{%+`, raw blocks, lines that end in \r\n, and marks of a comment inside a string.
 */
import { raise, refuse } from './errors.js';
import { integer, PyFloat, type Value } from './values.js';
import { isSpace, SPACE, stripRight } from './text.js';

export type TokenType =
  | 'data'
  | 'begin'
  | 'end'
  | 'variable'
  | 'name'
  | 'string'
  | 'number'
  | 'operator'
  | 'eof';

export interface Token {
  readonly type: TokenType;
  /** The characters, of a string its characters without quotes and escapes. */
  readonly text: string;
  /** Of a number. */
  readonly value?: Value;
  /** Where it stands in the source, for messages. */
  readonly begin: number;
  readonly end: number;
}

const END_OF_COMMENT = new RegExp(`(?:\\+#\\}|-#\\}[${SPACE}]*|#\\}\\n?)`, 'g');
const END_OF_BLOCK = new RegExp(`(?:\\+%\\}|-%\\}[${SPACE}]*|%\\}\\n?)`, 'y');
const END_OF_VARIABLE = new RegExp(`(?:-\\}\\}[${SPACE}]*|\\}\\})`, 'y');
const RAW = new RegExp(`\\{%([-+]?)[${SPACE}]*raw[${SPACE}]*(?:-%\\}[${SPACE}]*|%\\})`, 'y');
const END_OF_RAW = new RegExp(
  `\\{%([-+]?)[${SPACE}]*endraw[${SPACE}]*(?:\\+%\\}|-%\\}[${SPACE}]*|%\\}\\n?)`,
  'g',
);
const BEGIN = /\{[{%#]/g;
const WHITESPACE = new RegExp(`[${SPACE}]+`, 'y');
const FLOAT = /(?<!\.)(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?e[+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)/iy;
const INTEGER = /0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*/iy;
const NAME = /[\p{L}\p{Nl}_][\p{L}\p{Nl}\p{Mn}\p{Mc}\p{Nd}\p{Pc}]*/uy;
const STRING = /'[^'\\]*(?:\\[\s\S][^'\\]*)*'|"[^"\\]*(?:\\[\s\S][^"\\]*)*"/y;
const OPERATOR = /\/\/|\*\*|==|!=|>=|<=|[+\-/*%~[\](){}><=.:|,;]/y;
const CLOSING: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' };

/** One kind of line end, and without the last one. */
export function normalise(source: string): string {
  const text = source.replace(/\r\n|\r/g, '\n');
  return text.endsWith('\n') ? text.slice(0, -1) : text;
}

/** @param source after normalise(). @throws PythonError, a TemplateSyntaxError. */
export function tokenize(source: string): Token[] {
  return new Lexer(source).run();
}

class Lexer {
  private readonly tokens: Token[] = [];
  private position = 0;
  private lineStarts = true;

  constructor(private readonly source: string) {}

  run(): Token[] {
    const { source } = this;
    while (this.position < source.length) {
      BEGIN.lastIndex = this.position;
      const found = BEGIN.exec(source);
      if (found === null) {
        this.push('data', source.slice(this.position), this.position, source.length);
        break;
      }
      const raw = this.match(RAW, found.index);
      if (raw !== undefined) this.raw(found.index, raw);
      else if (found[0] === '{#') this.comment(found.index);
      else this.tag(found.index, found[0] === '{%');
    }
    this.push('eof', '', source.length, source.length);
    return this.tokens;
  }

  private push(type: TokenType, text: string, begin: number, end: number, value?: Value): void {
    this.tokens.push({ type, text, begin, end, ...(value !== undefined && { value }) });
  }

  private match(pattern: RegExp, at: number): RegExpExecArray | undefined {
    pattern.lastIndex = at;
    return pattern.exec(this.source) ?? undefined;
  }

  /** The text before a tag, shortened as its sign and lstrip_blocks say. */
  private before(begin: number, sign: string, isVariable: boolean): string {
    const text = this.source.slice(this.position, begin);
    if (sign === '-') return stripRight(text);
    if (sign === '+' || isVariable) return text;
    const line = text.lastIndexOf('\n') + 1;
    const startsLine = line > 0 || this.lineStarts;
    return startsLine && isSpace(text.slice(line)) ? text.slice(0, line) : text;
  }

  private data(begin: number, sign: string, isVariable = false): void {
    const text = this.before(begin, sign, isVariable);
    if (text !== '') this.push('data', text, this.position, begin);
  }

  private moveTo(position: number): void {
    this.position = position;
    this.lineStarts = this.source[position - 1] === '\n';
  }

  private comment(begin: number): void {
    const sign = this.source[begin + 2] ?? '';
    const isSign = sign === '-' || sign === '+';
    this.data(begin, sign);
    END_OF_COMMENT.lastIndex = begin + 2 + Number(isSign);
    const end = END_OF_COMMENT.exec(this.source);
    if (end === null) raise('TemplateSyntaxError', 'Missing end of comment tag');
    this.moveTo(end.index + end[0].length);
  }

  private raw(begin: number, opening: RegExpExecArray): void {
    this.data(begin, opening[1]!);
    this.moveTo(begin + opening[0].length);
    END_OF_RAW.lastIndex = this.position;
    const end = END_OF_RAW.exec(this.source);
    if (end === null) raise('TemplateSyntaxError', 'Missing end of raw directive');
    this.data(end.index, end[1]!);
    this.moveTo(end.index + end[0].length);
  }

  private tag(begin: number, isBlock: boolean): void {
    const sign = this.source[begin + 2] ?? '';
    const isSign = sign === '-' || sign === '+';
    this.data(begin, sign, !isBlock);
    const inside = begin + 2 + Number(isSign);
    this.push(isBlock ? 'begin' : 'variable', isBlock ? '{%' : '{{', begin, inside);
    const closing = isBlock ? END_OF_BLOCK : END_OF_VARIABLE;
    const open: string[] = [];
    this.position = inside;
    for (;;) {
      const end = open.length === 0 ? this.match(closing, this.position) : undefined;
      if (end !== undefined) {
        this.push('end', isBlock ? '%}' : '}}', this.position, this.position + end[0].length);
        this.moveTo(this.position + end[0].length);
        return;
      }
      if (this.position >= this.source.length)
        raise('TemplateSyntaxError', `unexpected end of template in ${this.source.slice(begin, begin + 60)}`);
      this.token(open);
    }
  }

  private token(open: string[]): void {
    const begin = this.position;
    const space = this.match(WHITESPACE, begin);
    if (space !== undefined) {
      this.position += space[0].length;
      return;
    }
    const number = this.match(FLOAT, begin) ?? this.match(INTEGER, begin);
    const name = number === undefined ? this.match(NAME, begin) : undefined;
    const string =
      this.source[begin] === "'" || this.source[begin] === '"' ? this.match(STRING, begin) : undefined;
    const operator = this.match(OPERATOR, begin);
    const found = number ?? name ?? string ?? operator;
    if (found === undefined)
      raise('TemplateSyntaxError', `unexpected char ${JSON.stringify(this.source[begin])} at ${begin}`);
    const text = found[0];
    const end = begin + text.length;
    if (number !== undefined) this.push('number', text, begin, end, numberOf(text));
    else if (name !== undefined)
      this.push('name', text.normalize('NFKC') === text ? text : refuse(`the name ${text}`), begin, end);
    else if (string !== undefined) this.push('string', unescaped(text.slice(1, -1)), begin, end);
    else {
      balance(text, open);
      this.push('operator', text, begin, end);
    }
    this.position = end;
  }
}

function balance(operator: string, open: string[]): void {
  const closing = CLOSING[operator];
  if (closing !== undefined) open.push(closing);
  else if (operator === ')' || operator === ']' || operator === '}') {
    const expected = open.pop();
    if (expected !== operator)
      raise('TemplateSyntaxError', `unexpected '${operator}'${expected ? `, expected '${expected}'` : ''}`);
  }
}

function numberOf(text: string): Value {
  const digits = text.replaceAll('_', '').toLowerCase();
  const isHexadecimal = digits.startsWith('0x');
  const isFloat = !isHexadecimal && /[.e]/.test(digits);
  return isFloat ? new PyFloat(Number(digits)) : integer(BigInt(digits));
}

const SIMPLE_ESCAPES: Readonly<Record<string, string>> = {
  '\n': '',
  '\\': '\\',
  "'": "'",
  '"': '"',
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};
const HEXADECIMAL: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };

/** Escapes of a string literal; what is not an escape in Python stays as it is. */
function unescaped(text: string): string {
  if (!text.includes('\\')) return text;
  return text.replace(/\\([0-7]{1,3}|[xuU][\da-fA-F]*|[\s\S])/gu, (all, body: string) => {
    const simple = SIMPLE_ESCAPES[body];
    if (simple !== undefined) return simple;
    if (/^[0-7]/.test(body)) return String.fromCharCode(Number.parseInt(body, 8));
    if (body === 'N') return refuse('a \\N{…} escape');
    const width = HEXADECIMAL[body[0]!];
    if (width !== undefined) return character(body, width);
    return body.codePointAt(0)! > 0x7f ? `\\${asciiEscape(body)}` : all;
  });
}

function character(body: string, width: number): string {
  const digits = body.slice(1, 1 + width);
  const code = Number.parseInt(digits, 16);
  if (digits.length < width || code > 0x10ffff)
    raise('TemplateSyntaxError', `a truncated escape \\${body.slice(0, 1 + width)} in a string`);
  return String.fromCodePoint(code) + body.slice(1 + width);
}

/** jinja2 writes what is not ASCII as an escape before it reads escapes: behind a backslash that shows. */
function asciiEscape(text: string): string {
  const code = text.codePointAt(0)!;
  const hexadecimal = code.toString(16);
  if (code <= 0xff) return `x${hexadecimal.padStart(2, '0')}`;
  return code <= 0xffff ? `u${hexadecimal.padStart(4, '0')}` : `U${hexadecimal.padStart(8, '0')}`;
}
