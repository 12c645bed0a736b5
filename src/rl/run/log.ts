/**
 * metrics.jsonl and completions.jsonl of a run directory: one object per line, whole lines only, cut back to
 * a checkpoint on resume; and TensorBoard's event files, where asked for.
 */
import { appendFile, mkdir, readdir, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';

import { io, readIfPresent, writeAll, writeFileAtomically } from '../../core/files.js';
import { fail } from '../../errors.js';
import type { Prompt } from '../../model/tokenizer/tokenizer.js';
import type { StepMetrics } from '../interfaces.js';
import { DIRECTORY as TENSORBOARD, TensorBoard } from './tensorboard.js';

const METRICS = 'metrics.jsonl';
const COMPLETIONS = 'completions.jsonl';
export const CHECKPOINT_NAME = /^checkpoint-(\d+)$/;

/** One sampled completion, as completions.jsonl has it. */
export interface CompletionRecord {
  readonly prompt: Prompt;
  readonly completion: string | readonly number[];
  readonly advantage: number;
  /** By reward function; null = it had no opinion. */
  readonly rewards: Readonly<Record<string, number | null>>;
}

const toLines = (rows: readonly object[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

/** Files and directories of a run that another run would mix with. */
const isOfRun = (name: string): boolean =>
  name === METRICS || name === COMPLETIONS || name === TENSORBOARD || CHECKPOINT_NAME.test(name);

/** A line of a step up to `step`; the last line of a run that was killed while writing it is none. */
function isUpTo(step: number, line: string): boolean {
  try {
    return (JSON.parse(line) as StepMetrics).step <= step;
  } catch {
    return false;
  }
}

/** The files of one run directory. */
export class RunLog {
  readonly #directory: string;
  readonly #caller: string;
  readonly #reportTo: readonly string[];
  /** Where asked for, once the run has begun. */
  #board: TensorBoard | undefined;

  constructor(directory: string, caller: string, reportTo: readonly string[] = []) {
    this.#directory = directory;
    this.#caller = caller;
    this.#reportTo = reportTo;
  }

  /**
   * @throws ERR_IO when the directory cannot be written, ERR_INVALID_ARG when it holds a run and may not be
   * overwritten.
   */
  async start(overwrite: boolean): Promise<void> {
    await io(this.#caller, 'write', this.#directory, async () => {
      await mkdir(this.#directory, { recursive: true });
      const run = (await readdir(this.#directory)).filter(isOfRun);
      if (run.length > 0 && !overwrite)
        fail(
          'ERR_INVALID_ARG',
          `${this.#caller}: outputDir ${this.#directory} already holds a run (${run[0]}); ` +
            "continue it with resumeFrom: 'latest', choose another outputDir, or set overwriteOutputDir",
        );
      for (const name of run) await rm(join(this.#directory, name), { recursive: true });
      await appendFile(join(this.#directory, METRICS), '');
    });
    await this.#openBoard(0);
  }

  /** Forgets what came after step `step`. */
  async resume(step: number): Promise<void> {
    await io(this.#caller, 'write', this.#directory, () => mkdir(this.#directory, { recursive: true }));
    for (const name of [METRICS, COMPLETIONS]) {
      const path = join(this.#directory, name);
      const text = (await readIfPresent(this.#caller, path))?.toString('utf8');
      if (text === undefined && name !== METRICS) continue;
      const kept = (text ?? '').split('\n').filter((line) => isUpTo(step, line));
      const bytes = Buffer.from(kept.map((line) => `${line}\n`).join(''));
      await writeFileAtomically(this.#caller, path, (file) => writeAll(file, bytes));
    }
    await this.#openBoard(step);
  }

  async metrics(row: StepMetrics): Promise<void> {
    await this.#append(METRICS, toLines([row]));
    await this.#board?.scalars(row.step, row);
  }
  completions(step: number, records: readonly CompletionRecord[]): Promise<void> {
    return this.#append(COMPLETIONS, toLines(records.map((record) => ({ step, ...record }))));
  }

  async #openBoard(step: number): Promise<void> {
    if (this.#reportTo.includes('tensorboard'))
      this.#board = await TensorBoard.open(this.#directory, step, this.#caller);
  }

  async #append(name: string, text: string): Promise<void> {
    const path = join(this.#directory, name);
    await io(this.#caller, 'write', path, async () => {
      const before = await stat(path).catch(() => undefined);
      try {
        await appendFile(path, text);
      } catch (error) {
        // No half line.
        await truncate(path, before?.size ?? 0).catch(() => undefined);
        throw error;
      }
    });
  }
}
