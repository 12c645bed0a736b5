/** The properties of characters that patterns name. */
import { propertyClass } from './unicode.js';

/** Names that Oniguruma has for properties, beside the general categories. */
const NAMES: Readonly<Record<string, string>> = {
  alpha: 'Alphabetic',
  alphabetic: 'Alphabetic',
  letter: 'L',
  mark: 'M',
  number: 'N',
  punct: 'P',
  punctuation: 'P',
  symbol: 'S',
  separator: 'Z',
  lower: 'Lowercase',
  upper: 'Uppercase',
  space: 'White_Space',
  whitespace: 'White_Space',
};
const CATEGORY = /^(?:[LMNPSZC]|L[ulmot]|M[nce]|N[dlo]|P[cdseifo]|S[mcko]|Z[slp]|C[cfon])$/;
const SCRIPT = /^[A-Z][a-z]+(?:_[A-Z][a-z]+)*$/;

/** The class of \p{name}. */
export function propertyNamed(name: string, refuse: (what: string) => never): string {
  if (CATEGORY.test(name)) return propertyClass(name);
  const known = NAMES[name.toLowerCase().replace(/[\s_-]/g, '')];
  if (known !== undefined) return propertyClass(known);
  const script = `Script=${name}`;
  if (SCRIPT.test(name) && isProperty(script)) return propertyClass(script);
  return refuse(`the property \\p{${name}}`);
}

/** Cased letters: where case is ignored, these would have to grow. */
export const CASED = /^(?:L[ult]|lower|upper|lowercase|uppercase)$/i;

function isProperty(name: string): boolean {
  try {
    return new RegExp(`\\p{${name}}`, 'v') !== undefined;
  } catch {
    return false;
  }
}
