/** str.split and str.rsplit. */
import { isSpace, SPACE, stripLeft, stripRight, words } from '../text.js';

const FIRST_SPACE = new RegExp(`[${SPACE}]`);

export function splitLeft(text: string, separator: string | undefined, most: number): string[] {
  if (separator !== undefined) {
    const pieces = text.split(separator);
    if (most < 0 || pieces.length <= most + 1) return pieces;
    return [...pieces.slice(0, most), pieces.slice(most).join(separator)];
  }
  if (most < 0) return words(text);
  const found: string[] = [];
  let rest = stripLeft(text);
  while (rest !== '' && found.length < most) {
    const end = rest.search(FIRST_SPACE);
    if (end < 0) return [...found, rest];
    found.push(rest.slice(0, end));
    rest = stripLeft(rest.slice(end));
  }
  return rest === '' ? found : [...found, rest];
}

export function splitRight(text: string, separator: string | undefined, most: number): string[] {
  if (separator !== undefined) {
    const pieces = text.split(separator);
    if (most < 0 || pieces.length <= most + 1) return pieces;
    const cut = pieces.length - most;
    return [pieces.slice(0, cut).join(separator), ...pieces.slice(cut)];
  }
  if (most < 0) return words(text);
  const found: string[] = [];
  let rest = stripRight(text);
  while (rest !== '' && found.length < most) {
    let begin = rest.length;
    while (begin > 0 && !isSpace(rest[begin - 1]!)) --begin;
    found.unshift(rest.slice(begin));
    rest = stripRight(rest.slice(0, begin));
  }
  return rest === '' ? found : [rest, ...found];
}
