/** Values of command-line options, and what several commands share. */
import { InvalidArgumentError } from 'commander';

export const integer = (least: number) => (text: string): number => {
  const value = Number(text);
  if (!(text.trim() !== '' && Number.isSafeInteger(value) && value >= least)) throw new InvalidArgumentError(`It must be an integer ≥ ${least}.`);
  return value;
};
export const real = (least: number) => (text: string): number => {
  const value = Number(text);
  if (!(text.trim() !== '' && Number.isFinite(value) && value >= least)) throw new InvalidArgumentError(`It must be a number ≥ ${least}.`);
  return value;
};
export const collect = (text: string, before: readonly string[] = []): string[] => [...before, text];

/** Words that a shell would split are quoted. */
export const commandLine = (...argv: readonly string[]): string => ['headfirst', ...argv].map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replace(/'/g, `'\\''`)}'`)).join(' ');

export const printJson = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
