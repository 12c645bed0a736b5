/** Words for what could not be read. */

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** '1 line', '3 lines'. */
export const plural = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? '' : 's'}`;

const SHOWN = 5;

/** Shortens a list of line, step or seed numbers for a sentence. */
export function shortList(numbers: readonly number[]): string {
  const rest = numbers.length > SHOWN ? ', …' : '';
  return numbers.slice(0, SHOWN).join(', ') + rest;
}
