/**
 * Data sets and the order they are seen in. A position in that order is one integer, so a checkpoint holds no
 * generator state.
 */
import {
  check,
  checkOptions,
  list,
  natural,
  positive,
  required,
  type Rules,
  shown,
  text as string,
} from '../../core/check.js';
import { lostNumber } from '../../core/jsonNumbers.js';
import { Random } from '../../core/random.js';
import { readLines } from '../../core/text.js';
import { fail } from '../../errors.js';
import type { Dataset } from '../interfaces.js';
import { Stream } from './streams.js';

/** Where rows were read, for messages of those who find out later what is wrong with one. */
const linesOfRows = new WeakMap<object, number>();
/**
 * The files that were read. A row's number counts the lines of all of them, so that it says which file it is
 * in.
 */
const filesRead: { readonly file: string; readonly before: number }[] = [];
let linesRead = 0;

/** `<file>:<line>` of a row that readJsonLines() read. */
export function placeOf(row: object): string | undefined {
  const line = linesOfRows.get(row);
  if (line === undefined) return undefined;
  const { file, before } = filesRead.findLast((one) => one.before < line)!;
  return `${file}:${line - before}`;
}

/**
 * JSON lines in UTF-8; a name that ends in .gz is decompressed. The file may be of any size, a line up to 512
 * MB.
 * @throws ERR_IO naming the file, ERR_INVALID_ARG naming the line.
 */
export async function readJsonLines<Row>(file: string): Promise<Row[]> {
  const caller = 'readJsonLines';
  check(caller, 'file', file, string);
  const rows: object[] = [];
  const numbers: number[] = [];
  for await (const { number, lines } of readLines(caller, file)) {
    for (const [index, line] of lines.entries()) {
      if (line.trim() === '') continue;
      rows.push(parseRow(line, caller, file, number + index));
      numbers.push(number + index);
    }
  }
  const before = linesRead;
  filesRead.push({ file, before });
  linesRead += numbers.at(-1) ?? 0;
  for (const [index, row] of rows.entries()) linesOfRows.set(row, before + numbers[index]!);
  return rows as Row[];
}

function parseRow(line: string, caller: string, file: string, number: number): object {
  const place = `${caller}: ${file}:${number}`;
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch (error) {
    fail('ERR_INVALID_ARG', `${place} is not JSON (${whyNot(line, error as Error)})`, error);
  }
  if (row === null || typeof row !== 'object' || Array.isArray(row))
    fail('ERR_INVALID_ARG', `${place} must be an object, got ${line.slice(0, 80)}`);
  const lost = lostNumber(line);
  if (lost)
    fail(
      'ERR_INVALID_ARG',
      `${place}: ${lost.key} ${lost.literal} is beyond what a number can hold exactly (±(2⁵³ − 1)); ` +
        'write it as a string',
    );
  return row;
}

/** What Python's json takes and JSON does not have, by name. */
function whyNot(line: string, error: Error): string {
  if (line.startsWith('\ufeff')) return 'it begins with a byte order mark, U+FEFF';
  const literal = /[:,[]\s*(NaN|-?Infinity)\s*[,}\]]/.exec(line)?.[1];
  if (literal !== undefined) return `JSON has no ${literal}; leave the key out, or write null`;
  return error.message;
}

const SPLIT: Rules = { testSize: required(positive), seed: natural };

/**
 * Splits rows at random into what is trained on and what is held out; both keep the file's order. `testSize`:
 * rows, or below 1 a share (rounded up), as datasets.train_test_split.
 */
export function trainTestSplit<Row>(
  rows: readonly Row[],
  options: { readonly testSize: number; readonly seed?: number },
): { train: Row[]; test: Row[] } {
  check('trainTestSplit', 'rows', rows, list);
  checkOptions('trainTestSplit', options, SPLIT);
  const { testSize, seed = 42 } = options;
  const count = testSize < 1 ? Math.ceil(testSize * rows.length) : testSize;
  const leavesBoth = Number.isInteger(count) && count >= 1 && count < rows.length;
  if (!leavesBoth)
    fail(
      'ERR_INVALID_ARG',
      `trainTestSplit: testSize must be a share in (0, 1) or a number of rows below ${rows.length}, ` +
        `both parts non-empty; got ${testSize}`,
    );
  const shuffled = new Random(seed, Stream.split).shuffle([...rows.keys()]);
  const heldOut = new Set(shuffled.slice(0, count));
  return {
    train: rows.filter((_, index) => !heldOut.has(index)),
    test: rows.filter((_, index) => heldOut.has(index)),
  };
}

export interface SamplerOptions {
  readonly seed: number;
  readonly shuffle: boolean;
  /** Of the data set, in messages. */
  readonly name?: string;
}

/**
 * Position → row. Every epoch is a permutation of its own (seed, epoch); epochs follow each other without a
 * gap, so a batch may span two (TRL drops an epoch's incomplete last batch).
 */
export class Sampler<Row> {
  /** Rows per epoch; undefined when rows are made on demand. */
  readonly size: number | undefined;
  readonly #dataset: Dataset<Row>;
  readonly #seed: number;
  readonly #shuffle: boolean;
  /** Whose permutation #order is. */
  #epoch = -1;
  #order: number[] = [];

  constructor(dataset: Dataset<Row>, { seed, shuffle, name = 'trainDataset' }: SamplerOptions) {
    if (typeof dataset !== 'function' && !Array.isArray(dataset))
      fail(
        'ERR_INVALID_ARG',
        `${name} must be an array of rows or a function (index, random) => row, got ${shown(dataset)}`,
      );
    if (typeof dataset !== 'function' && dataset.length === 0)
      fail('ERR_INVALID_ARG', `${name} is empty; it needs at least one row`);
    this.#dataset = dataset;
    this.#seed = seed;
    this.#shuffle = shuffle;
    this.size = typeof dataset === 'function' ? undefined : dataset.length;
  }

  /** `count` rows from a position on. */
  rows(position: number, count: number): Row[] {
    return Array.from({ length: count }, (_, i) => this.#row(position + i));
  }

  /** All rows, or when they are made on demand the first `count`. */
  some(count: number): readonly Row[] {
    return typeof this.#dataset === 'function' ? this.rows(0, count) : this.#dataset;
  }

  #row(position: number): Row {
    if (typeof this.#dataset === 'function')
      return this.#dataset(position, new Random(this.#seed, Stream.rows + position));
    const size = this.#dataset.length;
    const epoch = Math.floor(position / size);
    if (!this.#shuffle) return this.#dataset[position % size]!;
    if (epoch !== this.#epoch) {
      this.#order = new Random(this.#seed, Stream.shuffle + epoch).shuffle([...this.#dataset.keys()]);
      this.#epoch = epoch;
    }
    return this.#dataset[this.#order[position % size]!]!;
  }
}
