/** Values of command-line options, and what several commands share. */
import { InvalidArgumentError, Option } from 'commander';
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

import { io } from '../core/files.js';
import { fail } from '../errors.js';

export const integer =
  (least: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!(text.trim() !== '' && Number.isSafeInteger(value) && value >= least))
      throw new InvalidArgumentError(`It must be an integer ≥ ${least}.`);
    return value;
  };
export const real =
  (least: number, most = Infinity) =>
  (text: string): number => {
    const value = Number(text);
    if (!(text.trim() !== '' && Number.isFinite(value) && value >= least && value <= most))
      throw new InvalidArgumentError(
        `It must be a number ${most === Infinity ? `≥ ${least}` : `from ${least} to ${most}`}.`,
      );
    return value;
  };
export const pattern = (text: string): RegExp => {
  try {
    return new RegExp(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
};
export const collect = (text: string, before: readonly string[] = []): string[] => [...before, text];

export const threadsOption = () =>
  new Option('--threads <n>', 'processors to use (default: all)').argParser(integer(1));
export const adapterOption = () =>
  new Option('--adapter <dir>', 'LoRA adapters on top of the model, as train or peft writes them');
export const stopOption = () =>
  new Option(
    '--stop <token>',
    'a token id or one-token text that ends a completion; may be repeated (default: the model’s end token)',
  ).argParser((text: string, before: readonly (number | string)[] = []) => [
    ...before,
    /^\d+$/.test(text) ? Number(text) : text,
  ]);

/** Before a long computation: can its result be written? @throws ERR_IO */
export async function checkWritable(caller: string, file: string): Promise<void> {
  await io(caller, 'write', file, () => access(dirname(file), constants.W_OK));
  if ((await stat(file).catch(() => undefined))?.isDirectory())
    fail('ERR_IO', `${caller}: cannot write ${file}: it is a directory; give a file`);
}

/** Words that a shell would split are quoted. */
export const commandLine = (...argv: readonly string[]): string =>
  ['headfirst', ...argv]
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replace(/'/g, `'\\''`)}'`))
    .join(' ');

/** How every command says what is wrong with its options: on one line, as other errors are said. */
export const usageErrors = {
  outputError: (text: string, write: (text: string) => void) =>
    write(
      `${text
        .trim()
        .replace(/^error: /, 'headfirst: ')
        .replace(/\s*\n\s*/g, ' ')}\n`,
    ),
};

export const printJson = (value: unknown): void =>
  void process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
