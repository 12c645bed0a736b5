/** Capitals, and the classes of characters that str.is…() asks for. */
import { refuse } from '../errors.js';
import { codePoints } from '../text.js';

const CASED = /\p{Cased}/u;
const UPPER = /[\p{Uppercase}\p{Lt}]/u;
const LOWER = /\p{Lowercase}/u;
/** JavaScript has no title case: these letters have one that is not their capital. */
const OWN_TITLE = /[Ǆ-ǌǱ-ǳა-ჿᾀ-ᾯᾳᾼῃῌῳῼ]/u;

function titleOf(character: string): string {
  const upper = character.toUpperCase();
  const isOwn = OWN_TITLE.test(character) || codePoints(upper).length > 1;
  return isOwn ? refuse(`the title case of '${character}'`) : upper;
}

function lowerOf(character: string): string {
  // What a capital sigma becomes depends on what stands around it.
  return character === 'Σ' ? refuse("'Σ' in lower case") : character.toLowerCase();
}

export function capitalize(text: string): string {
  const [first, ...rest] = codePoints(text);
  return first === undefined ? '' : titleOf(first) + rest.map(lowerOf).join('');
}

/** str.title(), not the filter of that name. */
export function title(text: string): string {
  let isInWord = false;
  return codePoints(text)
    .map((character) => {
      const result = isInWord ? lowerOf(character) : titleOf(character);
      isInWord = CASED.test(character);
      return result;
    })
    .join('');
}

export function swapcase(text: string): string {
  return codePoints(text)
    .map((character) => {
      if (UPPER.test(character)) return lowerOf(character);
      return LOWER.test(character) ? character.toUpperCase() : character;
    })
    .join('');
}

const all = (pattern: RegExp) => (text: string) => pattern.test(text);

/**
 * Digits and numbers that are no decimal digits differ between versions of Unicode: asked for, they are
 * refused.
 */
function decimal(name: string): (text: string) => boolean {
  return (text) => {
    const isAscii = /^\p{ASCII}*$/u.test(text);
    const hasOther = !isAscii && /[\p{No}\p{Nl}\p{Lo}]/u.test(text);
    return hasOther ? refuse(`str.${name} of '${text}'`) : /^\p{Nd}+$/u.test(text);
  };
}

const hasNoOther = (other: RegExp, own: RegExp) => (text: string) => own.test(text) && !other.test(text);

export const CLASSES: Readonly<Record<string, (text: string) => boolean>> = {
  isalpha: all(/^\p{L}+$/u),
  isalnum: all(/^[\p{L}\p{N}]+$/u),
  isascii: all(/^\p{ASCII}*$/u),
  isdecimal: all(/^\p{Nd}+$/u),
  isdigit: decimal('isdigit'),
  isnumeric: decimal('isnumeric'),
  islower: hasNoOther(UPPER, LOWER),
  isupper: hasNoOther(/[\p{Lowercase}\p{Lt}]/u, /\p{Uppercase}/u),
  isprintable: (text) => !/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u.test(text),
};
