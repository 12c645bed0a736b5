/** Filters that make text of text. */
import { raise, refuse } from '../errors.js';
import { type JsonOptions, toJson } from '../json.js';
import { capitalize } from '../methods/cases.js';
import { center, replaceText, stripCharacters } from '../methods/text.js';
import { splitRight } from '../methods/splitting.js';
import { fixed } from '../numbers.js';
import { percentFormat } from '../percentFormat.js';
import { stringOf } from '../printing.js';
import { codePoints, lengthOf, SPACE, splitLines, stripLeft, stripRight, words } from '../text.js';
import {
  Dict,
  isText,
  iterate,
  iteratorOf,
  listOf,
  Markup,
  textOf,
  truthy,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from '../values.js';
import { type Entry, filter, softText, strictText, toInteger } from './filter.js';
import { floatValue, lengthValue } from './numbers.js';

// ---- HTML -------------------------------------------------------------------------------------------------

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  "'": '&#39;',
  '"': '&#34;',
};
const escapeHtml = (text: string): string => text.replace(/[&<>'"]/g, (character) => ENTITIES[character]!);
const escaped = (value: Value): Markup =>
  value instanceof Markup ? value : new Markup(escapeHtml(stringOf(value)));

function xmlAttributes(value: Value, autospace: Value): string {
  if (!(value instanceof Dict))
    return raise('AttributeError', `'${typeName(value)}' object has no attribute 'items'`);
  const shown = value.entries().filter(([, item]) => item !== null && !(item instanceof Undefined));
  const items = shown.map(([key, item]) => {
    const name = strictText(key, 'xmlattr');
    if (/[ \t\n\r\f\v/>=]/.test(name)) raise('ValueError', `Invalid character in attribute name: '${name}'`);
    return `${escapeHtml(name)}="${escaped(item).text}"`;
  });
  const text = items.join(' ');
  return truthy(autospace) && text !== '' ? ` ${text}` : text;
}

function striptags(value: Value): string {
  const text = stringOf(value);
  if (text.includes('&')) refuse("'&' in the filter 'striptags'");
  let rest = text;
  for (let begin = rest.indexOf('<!--'); begin >= 0; begin = rest.indexOf('<!--', begin)) {
    const end = rest.indexOf('-->', begin);
    if (end < 0) break;
    rest = rest.slice(0, begin) + rest.slice(end + 3);
  }
  for (let begin = rest.indexOf('<'); begin >= 0; begin = rest.indexOf('<', begin)) {
    const end = rest.indexOf('>', begin);
    if (end < 0) break;
    rest = rest.slice(0, begin) + rest.slice(end + 1);
  }
  return words(rest).join(' ');
}

// ---- addresses --------------------------------------------------------------------------------------------

function quoteUrl(value: Value, forQuery: boolean): string {
  const text = stringOf(value);
  if (/\p{Cs}/u.test(text)) refuse('a lone surrogate in an address');
  const safe = encodeURIComponent(text).replace(
    /[!'()*]/g,
    (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return forQuery ? safe.replaceAll('%20', '+') : safe.replaceAll('%2F', '/');
}

function pairOf(value: Value): readonly Value[] {
  const pair = listOf(value);
  return pair.length === 2 ? pair : raise('ValueError', `expected 2 values to unpack, got ${pair.length}`);
}

function urlencode(value: Value): string {
  if (isText(value) || iteratorOf(value) === undefined) return quoteUrl(value, false);
  const items = value instanceof Dict ? value.entries() : listOf(value).map(pairOf);
  return items.map((pair) => `${quoteUrl(pair[0], true)}=${quoteUrl(pair[1], true)}`).join('&');
}

// ---- lines and widths -------------------------------------------------------------------------------------

function indent(value: Value, width: Value, first: Value, blank: Value): string {
  const indention = isText(width) ? textOf(width) : ' '.repeat(Math.max(0, toInteger(width)));
  const lines = splitLines(`${strictText(value, 'indent')}\n`);
  const rest = lines.slice(1).map((line) => (line === '' ? line : indention + line));
  const text = truthy(blank) ? lines.join(`\n${indention}`) : [lines[0], ...rest].join('\n');
  return truthy(first) ? indention + text : text;
}

function truncate(value: Value, length: Value, killwords: Value, end: Value, leeway: Value): Value {
  const most = toInteger(length);
  const ending = strictText(end, 'truncate');
  const slack = leeway === null ? 5 : toInteger(leeway);
  if (most < lengthOf(ending)) raise('ValueError', `expected length >= ${lengthOf(ending)}, got ${most}`);
  if (slack < 0) raise('ValueError', `expected leeway >= 0, got ${slack}`);
  if (lengthValue(value) <= most + slack) return value;
  const text = strictText(value, 'truncate');
  const cut = codePoints(text)
    .slice(0, most - lengthOf(ending))
    .join('');
  return (truthy(killwords) ? cut : splitRight(cut, ' ', 1)[0]!) + ending;
}

function fileSize(value: Value, binary: Value): string {
  const bytes = floatValue(value) ?? raise('TypeError', `float() argument must not be '${typeName(value)}'`);
  const base = truthy(binary) ? 1024 : 1000;
  const units = truthy(binary)
    ? ['KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB', 'ZiB', 'YiB']
    : ['kB', 'MB', 'GB', 'TB', 'PB', 'EB', 'ZB', 'YB'];
  if (bytes === 1) return '1 Byte';
  if (bytes < base) return `${Math.trunc(bytes)} Bytes`;
  const power = units.findIndex((_, i) => bytes < base ** (i + 2));
  const at = power < 0 ? units.length - 1 : power;
  return `${fixed((base * bytes) / base ** (at + 2), 1)} ${units[at]}`;
}

const WORD_BEGINNINGS = new RegExp(`([-${SPACE}({\\[<]+)`);

/** The filter, which begins words after other characters than str.title(). */
function titleFilter(text: string): string {
  const pieces = text.split(WORD_BEGINNINGS).filter((piece) => piece !== '');
  return pieces
    .map((piece) => {
      const [first, ...rest] = codePoints(piece);
      return first!.toUpperCase() + rest.join('').toLowerCase();
    })
    .join('');
}

function wordCount(text: string): number {
  return text.match(/[\p{L}\p{N}_]+/gu)?.length ?? 0;
}

// ---- JSON -------------------------------------------------------------------------------------------------

function jsonOptions(ascii: Value, indention: Value, separators: Value, sorted: Value): JsonOptions {
  const width =
    indention === null
      ? undefined
      : isText(indention)
        ? textOf(indention)
        : ' '.repeat(Math.max(0, toInteger(indention)));
  const given = separators === null ? [width === undefined ? ', ' : ',', ': '] : listOf(separators);
  if (given.length !== 2) raise('ValueError', 'separators must be two strings');
  const [item, key] = given.map((one) => strictText(one, 'tojson'));
  return {
    ascii: truthy(ascii),
    indent: width,
    itemSeparator: item!,
    keySeparator: key!,
    sorted: truthy(sorted),
  };
}

// ---- the table --------------------------------------------------------------------------------------------

export function joinFilter(value: Value, separator: Value): string {
  const iterator = iterate(value);
  const texts: string[] = [];
  for (let next = iterator.next(); !next.done; next = iterator.next()) texts.push(stringOf(next.value));
  return texts.join(stringOf(separator));
}

export const TEXT_FILTERS: readonly Entry[] = [
  filter('upper', [], (value) => softText(value, 'upper').toUpperCase()),
  filter('lower', [], (value) => softText(value, 'lower').toLowerCase()),
  filter('capitalize', [], (value) => capitalize(softText(value, 'capitalize'))),
  filter('title', [], (value) => titleFilter(softText(value, 'title'))),
  filter('center', [['width', 80]], (value, width) => center(softText(value, 'center'), toInteger(width))),
  filter('trim', [['chars', null]], (value, chars) => {
    const text = softText(value, 'trim');
    return chars === null ? stripLeft(stripRight(text)) : stripCharacters(text, strictText(chars, 'trim'));
  }),
  filter('replace', ['old', 'new', ['count', null]], (value, old, by, count) =>
    replaceText(stringOf(value), stringOf(old), stringOf(by), count === null ? -1 : toInteger(count)),
  ),
  filter('string', [], (value) => (value instanceof Markup ? value : stringOf(value))),
  filter('escape', [], escaped),
  filter('e', [], escaped),
  filter('forceescape', [], (value) => new Markup(escapeHtml(stringOf(value)))),
  filter('safe', [], (value) => new Markup(stringOf(value))),
  filter('striptags', [], striptags),
  filter('xmlattr', [['autospace', true]], xmlAttributes),
  filter('urlencode', [], urlencode),
  filter(
    'indent',
    [
      ['width', 4],
      ['first', false],
      ['blank', false],
    ],
    indent,
  ),
  filter(
    'truncate',
    [
      ['length', 255],
      ['killwords', false],
      ['end', '...'],
      ['leeway', null],
    ],
    truncate,
  ),
  filter('filesizeformat', [['binary', false]], fileSize),
  filter('wordcount', [], (value) => wordCount(softText(value, 'wordcount'))),
  filter(
    'tojson',
    [
      ['ensure_ascii', false],
      ['indent', null],
      ['separators', null],
      ['sort_keys', false],
    ],
    (value, ...options) => {
      const [ascii, indention, separators, sorted] = options;
      return toJson(value, jsonOptions(ascii, indention, separators, sorted));
    },
  ),
  [
    'format',
    (value, args, keywords) => {
      if (args.length > 0 && keywords.size > 0)
        raise('TypeError', "can't handle positional and keyword arguments at the same time");
      const template = softText(value, 'format');
      return percentFormat(template, keywords.size > 0 ? Dict.of(keywords) : new Tuple(args));
    },
  ],
  ...['pprint', 'urlize', 'wordwrap'].map((name): Entry => [name, () => refuse(`the filter '${name}'`)]),
];
