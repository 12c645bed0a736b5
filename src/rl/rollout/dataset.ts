/**
 * Data sets and the order they are seen in. A position in that order is one integer, so a checkpoint holds no
 * generator state.
 */
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

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
import { Random } from '../../core/random.js';
import { fail } from '../../errors.js';
import type { Dataset } from '../interfaces.js';
import { Stream } from './streams.js';

/**
 * JSON lines; a name that ends in .gz is decompressed. @throws ERR_IO naming the file, ERR_INVALID_ARG naming
 * the line.
 */
export async function readJsonLines<Row>(file: string): Promise<Row[]> {
  check('readJsonLines', 'file', file, string);
  const text = await readText(file);
  const rows: Row[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() !== '') rows.push(parseRow<Row>(line, `${file}:${index + 1}`));
  }
  return rows;
}

async function readText(file: string): Promise<string> {
  try {
    const bytes = await readFile(file);
    if (!file.endsWith('.gz')) return bytes.toString('utf8');
    const { gunzip } = process.getBuiltinModule('node:zlib');
    const unpacked = await promisify(gunzip)(bytes);
    return unpacked.toString('utf8');
  } catch (error) {
    return fail('ERR_IO', `readJsonLines: ${file} cannot be read (${(error as Error).message})`, error);
  }
}

/** `place`: file and line, for messages. */
function parseRow<Row>(line: string, place: string): Row {
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch (error) {
    fail('ERR_INVALID_ARG', `readJsonLines: ${place} is not JSON (${(error as Error).message})`, error);
  }
  if (row === null || typeof row !== 'object' || Array.isArray(row))
    fail('ERR_INVALID_ARG', `readJsonLines: ${place} must be an object, got ${line.slice(0, 80)}`);
  return row as Row;
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
