/** json.dumps as transformers' tojson filter calls it. */
import { raise } from './errors.js';
import { comparison } from './operators.js';
import { floatText, repr } from './printing.js';
import { Dict, isInt, isIntegral, isText, PyFloat, textOf, Tuple, typeName, type Value } from './values.js';

export interface JsonOptions {
  readonly ascii: boolean;
  /** Characters of one level; undefined for one line. */
  readonly indent: string | undefined;
  readonly itemSeparator: string;
  readonly keySeparator: string;
  readonly sorted: boolean;
}

const SHORT: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\f': '\\f',
  '\b': '\\b',
};

const unicodeEscape = (character: string): string =>
  SHORT[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

function jsonText(text: string, ascii: boolean): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what JSON escapes
  const pattern = ascii ? /["\\]|[^ -~]/g : /["\\\x00-\x1f]/g;
  return `"${text.replace(pattern, unicodeEscape)}"`;
}

function jsonFloat(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity';
  return floatText(value);
}

function jsonKey(key: Value): string {
  if (isText(key)) return textOf(key);
  if (key instanceof PyFloat) return jsonFloat(key.value);
  if (key === null) return 'null';
  if (typeof key === 'boolean') return String(key);
  if (isInt(key)) return repr(key);
  return raise('TypeError', `keys must be str, int, float, bool or None, not ${typeName(key)}`);
}

export function toJson(value: Value, options: JsonOptions, level = 0): string {
  if (isText(value)) return jsonText(textOf(value), options.ascii);
  if (value === null) return 'null';
  if (typeof value === 'boolean') return String(value);
  if (isIntegral(value)) return repr(value);
  if (value instanceof PyFloat) return jsonFloat(value.value);
  if (Array.isArray(value) || value instanceof Tuple) {
    const items: readonly Value[] = value instanceof Tuple ? value.items : value;
    return enclosed(
      '[]',
      items.map((item) => toJson(item, options, level + 1)),
      options,
      level,
    );
  }
  if (!(value instanceof Dict))
    return raise('TypeError', `Object of type ${typeName(value)} is not JSON serializable`);
  const members = entriesOf(value, options).map(([key, item]) => {
    const name = jsonText(jsonKey(key), options.ascii);
    return name + options.keySeparator + toJson(item, options, level + 1);
  });
  return enclosed('{}', members, options, level);
}

function entriesOf(dict: Dict, { sorted }: JsonOptions): (readonly [Value, Value])[] {
  if (!sorted) return dict.entries();
  return [...dict.unorderedEntries()].sort(([a], [b]) => comparison(a, b));
}

function enclosed(brackets: string, parts: readonly string[], options: JsonOptions, level: number): string {
  const [open, close] = brackets as unknown as [string, string];
  if (parts.length === 0) return brackets;
  const { indent, itemSeparator } = options;
  if (indent === undefined) return open + parts.join(itemSeparator) + close;
  const inner = `\n${indent.repeat(level + 1)}`;
  const outer = `\n${indent.repeat(level)}`;
  return open + inner + parts.join(itemSeparator + inner) + outer + close;
}
