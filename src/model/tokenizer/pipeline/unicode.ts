/** Classes of characters as Python's tokenizers has them, as sources for regular expressions with flag v. */
import * as tables from './unicodeTables.js';

/** Ranges in hexadecimal as the inside of a character class. */
const inside = (ranges: string): string =>
  ranges
    .split(' ')
    .map((range) =>
      range
        .split('-')
        .map((code) => `\\u{${code}}`)
        .join('-'),
    )
    .join('');

/** Every character of some ranges in hexadecimal. */
export const charactersIn = (ranges: string): RegExp => new RegExp(`[${inside(ranges)}]`, 'gv');

const LATER = `[${inside(tables.AFTER_UNICODE_16)}]`;

/** A class without the characters that were assigned after Unicode 16. */
const without = (members: string): string => `[[${members}]--${LATER}]`;

/** Letters of U+0295, whose category changed with Unicode 17. */
const MOVED: Readonly<Record<string, string>> = {
  Ll: '[\\p{Ll}\\u{295}]',
  Lo: '[\\p{Lo}--[\\u{295}]]',
};

/** Oniguruma's \p{…} for a property that JavaScript knows under `name`. */
export function propertyClass(name: string): string {
  if (name === 'Cn' || name === 'C') return `[\\p{${name}}${LATER}]`;
  return without(MOVED[name] ?? `\\p{${name}}`);
}

export const SPACE = '[\\p{White_Space}]';
export const LETTER = propertyClass('L');
export const NUMBER = propertyClass('N');
export const DIGIT = propertyClass('Nd');
/** Oniguruma's \w outside of a class has some digits more than inside of one. */
export const WORD_IN_CLASS = without('\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}');
export const WORD = `[${WORD_IN_CLASS}\\u{b2}\\u{b3}\\u{b9}\\u{bc}-\\u{be}]`;
/** \w of Rust's regex crate. */
export const RUST_WORD = without('\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}');

const ASCII_PUNCTUATION = '\\u{21}-\\u{2f}\\u{3a}-\\u{40}\\u{5b}-\\u{60}\\u{7b}-\\u{7e}';
export const PUNCTUATION =
  `[[[\\p{P}${ASCII_PUNCTUATION}]--[${inside(tables.NO_PUNCTUATION)}]]` +
  `${inside(tables.OLD_PUNCTUATION)}]`;
export const NUMERIC = '[\\p{N}]';
export const NONSPACING = `[[\\p{Mn}--[${inside(tables.NO_NONSPACING)}]]${inside(tables.OLD_NONSPACING)}]`;
export const MARK = `[[\\p{M}--[${inside(tables.NO_MARK)}]]${inside(tables.OLD_MARK)}]`;
/** Cc, Cf and Co of the unicode_categories crate. */
export const CONTROL = `[[\\p{Cc}\\p{Cf}\\p{Co}]--[${inside(tables.NO_CONTROL)}]]`;

type Form = 'NFC' | 'NFD' | 'NFKC' | 'NFKD';

const ALONE = inside(tables.NEVER_COMPOSED);
const CANONICAL = new RegExp(`([${ALONE}]+)`, 'v');
const COMPATIBLE = new RegExp(`([${ALONE}${inside(tables.NEVER_COMPATIBLE)}]+)`, 'v');

/** Normal forms by older tables: what these do not know stays as it is, and nothing moves across it. */
export function normalize(text: string, form: Form): string {
  const isCompatible = form === 'NFKC' || form === 'NFKD';
  const unknown = isCompatible ? COMPATIBLE : CANONICAL;
  if (!unknown.test(text)) return text.normalize(form);
  const parts = text.split(unknown);
  return parts.map((part, index) => (index % 2 === 0 ? part.normalize(form) : part)).join('');
}

/** Lower case character by character: no rule about a sigma at the end of a word. */
export function lowercase(text: string): string {
  const lower = text.toLowerCase();
  return lower.includes('ς') || text.includes('Σ') ? [...text].map((c) => c.toLowerCase()).join('') : lower;
}
