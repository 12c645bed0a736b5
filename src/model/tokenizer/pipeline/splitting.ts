/** Cutting a text where a pattern matches, in the ways of tokenizers' SplitDelimiterBehavior. */
import { unsupported } from './read.js';

/** What becomes of the matches. */
export type Behavior = 'Removed' | 'Isolated' | 'MergedWithPrevious' | 'MergedWithNext' | 'Contiguous';

const BEHAVIORS: readonly string[] = [
  'Removed',
  'Isolated',
  'MergedWithPrevious',
  'MergedWithNext',
  'Contiguous',
];

export function behaviorNamed(name: string, of: string): Behavior {
  return BEHAVIORS.includes(name) ? (name as Behavior) : unsupported(`${of} with behavior ${name}`);
}

/** From where to where, and whether the pattern matches there. */
interface Part {
  readonly begin: number;
  end: number;
  isMatch: boolean;
}

/** Covers the text. `pattern` has the flag g. */
function partsOf(text: string, pattern: RegExp): Part[] {
  const parts: Part[] = [];
  let covered = 0;
  let last = -1;
  pattern.lastIndex = 0;
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
    const begin = match.index;
    const end = begin + match[0].length;
    if (end === begin) {
      // Oniguruma passes over an empty match where the last one ended.
      pattern.lastIndex += (text.codePointAt(begin) ?? 0) > 0xffff ? 2 : 1;
      if (begin === last) continue;
    }
    if (covered < begin) parts.push({ begin: covered, end: begin, isMatch: false });
    parts.push({ begin, end, isMatch: true });
    covered = end;
    last = end;
  }
  if (covered < text.length) parts.push({ begin: covered, end: text.length, isMatch: false });
  return parts;
}

/** Joins each part that `joins` to what was made before it. */
function joined(parts: readonly Part[], joins: (part: Part, before: boolean) => boolean): Part[] {
  const made: Part[] = [];
  let before = false;
  for (const part of parts) {
    const last = made.at(-1);
    if (last && joins(part, before)) last.end = part.end;
    else made.push({ ...part });
    before = part.isMatch;
  }
  return made;
}

/** The same from the other end. */
function joinedToNext(parts: readonly Part[]): Part[] {
  const made: { begin: number; readonly end: number; readonly isMatch: boolean }[] = [];
  let before = false;
  for (const part of parts.toReversed()) {
    const last = made.at(-1);
    if (last && part.isMatch && !before) last.begin = part.begin;
    else made.push({ ...part });
    before = part.isMatch;
  }
  return made.toReversed();
}

/** The pieces that are not empty, and whether the first begins where the text does. */
export function split(text: string, pattern: RegExp, behavior: Behavior, invert = false): Pieces {
  if (behavior === 'Isolated') {
    // The usual case: matches that cover the text.
    const matches: string[] = text.match(pattern) ?? [];
    const length = matches.reduce((sum, match) => sum + match.length, 0);
    if (length === text.length && !matches.includes('')) return { texts: matches, begins: true };
  }
  const parts = partsOf(text, pattern);
  if (invert) for (const part of parts) part.isMatch = !part.isMatch;
  const kept = piecesOf(parts, behavior).filter(({ begin, end }) => begin < end);
  return { texts: kept.map(({ begin, end }) => text.slice(begin, end)), begins: kept[0]?.begin === 0 };
}

function piecesOf(parts: readonly Part[], behavior: Behavior): readonly Part[] {
  switch (behavior) {
    case 'Isolated':
      return parts;
    case 'Removed':
      return parts.filter(({ isMatch }) => !isMatch);
    case 'Contiguous':
      return joined(parts, ({ isMatch }, before) => isMatch === before);
    case 'MergedWithPrevious':
      return joined(parts, ({ isMatch }, before) => isMatch && !before);
    case 'MergedWithNext':
      return joinedToNext(parts);
  }
}

/** Pieces of a text, in order. `begins`: the first of them stands where the whole text begins. */
export interface Pieces {
  readonly texts: readonly string[];
  readonly begins: boolean;
}

/** The text with every match replaced. */
export function replaced(text: string, pattern: RegExp, content: string): string {
  let made = '';
  for (const { begin, end, isMatch } of partsOf(text, pattern))
    made += isMatch ? content : text.slice(begin, end);
  return made;
}
