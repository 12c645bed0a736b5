/** Values of command-line options, and what several commands share. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

import { io } from '../core/files.js';
import { fail } from '../errors.js';

/** Parsers of values; what they throw, commander words. */
export const integer =
  (least: number) =>
  (text: string): number => {
    const value = Number(text);
    const accepted = text.trim() !== '' && Number.isSafeInteger(value) && value >= least;
    if (!accepted) throw new InvalidArgumentError(`It must be an integer ≥ ${least}.`);
    return value;
  };
export const real =
  (least: number, most = Infinity) =>
  (text: string): number => {
    const value = Number(text);
    const accepted = text.trim() !== '' && Number.isFinite(value) && value >= least && value <= most;
    const range = most === Infinity ? `≥ ${least}` : `from ${least} to ${most}`;
    if (!accepted) throw new InvalidArgumentError(`It must be a number ${range}.`);
    return value;
  };
export const pattern = (text: string): RegExp => {
  try {
    return new RegExp(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
};
/** Of files that are one: the last of several would be taken in silence. */
export const onlyOnce = (text: string, before?: string): string => {
  if (before === undefined) return text;
  throw new InvalidArgumentError(
    `It can be given once, and '${before}' was given too. Put the rows into one file (cat one two > both).`,
  );
};
/** Of options that may be repeated. */
export const collect = (text: string, before: readonly string[] = []): string[] => [...before, text];

export const threadsOption = () =>
  new Option('--threads <n>', 'processors to use (default: all)').argParser(integer(1));
export const adapterOption = () =>
  new Option('--adapter <dir>', 'LoRA adapters on top of the model, as train or peft writes them');

const stopToken = (text: string): number | string => (/^\d+$/.test(text) ? Number(text) : text);
const stopOption = () =>
  new Option(
    '--stop <text>',
    'a token id or a text that ends a completion; may be repeated (default: the end tokens of tokenizer and model)',
  ).argParser((text: string, before: readonly (number | string)[] = []) => [...before, stopToken(text)]);

/** The values of samplingOptions(). */
export interface Sampling {
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly minP: number;
  readonly stop?: (number | string)[];
  readonly seed: number;
}

interface SamplingDefaults {
  readonly maxNewTokens: number;
  readonly temperatureMeans: string;
  readonly seed: number;
}

/** How completions are sampled, for every command that samples. */
export const samplingOptions = ({ maxNewTokens, temperatureMeans, seed }: SamplingDefaults): Option[] => [
  new Option('--max-new-tokens <n>', 'at most this many tokens each')
    .argParser(integer(1))
    .default(maxNewTokens),
  new Option('--temperature <t>', temperatureMeans).argParser(real(0)).default(1),
  new Option('--top-p <p>', 'nucleus sampling').argParser(real(0, 1)).default(1),
  new Option('--top-k <k>', '0 = all').argParser(integer(0)).default(0),
  new Option('--min-p <p>', 'least probability relative to the most likely token')
    .argParser(real(0, 1))
    .default(0),
  stopOption(),
  new Option('--seed <n>', 'of sampling').argParser(integer(0)).default(seed),
];

/** Adds several options to a command. */
export function addOptions(command: Command, options: readonly Option[]): Command {
  for (const option of options) command.addOption(option);
  return command;
}

/** Before a long computation: can its result be written? @throws ERR_IO */
export async function checkWritable(caller: string, file: string): Promise<void> {
  await io(caller, 'write', file, () => access(dirname(file), constants.W_OK));
  const existing = await stat(file).catch(() => undefined);
  if (existing?.isDirectory())
    fail('ERR_IO', `${caller}: cannot write ${file}: it is a directory; give a file`);
}

/** A command line for a shell: words that it would split are quoted. */
export function commandLine(...argv: readonly string[]): string {
  const quoted = (word: string) => `'${word.replace(/'/g, `'\\''`)}'`;
  const words = argv.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : quoted(word)));
  return ['headfirst', ...words].join(' ');
}

/** The command that this process was started with, without the flags in `leftOut`. */
export const thisCommand = (...leftOut: readonly string[]): string =>
  commandLine(...process.argv.slice(2).filter((word) => !leftOut.includes(word)));

/** How every command says what is wrong with its options: on one line, as other errors are said. */
export const usageErrors = {
  outputError(text: string, write: (text: string) => void): void {
    const oneLine = text
      .trim()
      .replace(/^error: /, 'headfirst: ')
      .replace(/\s*\n\s*/g, ' ');
    write(`${oneLine}\n`);
  },
};

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}
