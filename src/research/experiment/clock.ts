/** How long an arm's steps took. */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Processor seconds that this process has used. */
function processorSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/**
 * Processor seconds of each step, on disk so that a resumed arm has them all; a step made twice counts once.
 */
export class Clock {
  readonly #file: string;
  readonly #steps = new Map<number, number>();
  #began = processorSeconds();

  constructor(directory: string) {
    this.#file = join(directory, 'clock.jsonl');
    if (!existsSync(this.#file)) return;
    const lines = readFileSync(this.#file, 'utf8').split('\n');
    // A line that was cut off has no closing bracket.
    for (const line of lines.filter((text) => text.endsWith(']'))) {
      const [step, seconds] = JSON.parse(line) as [number, number];
      this.#steps.set(step, seconds);
    }
  }
  start(): void {
    this.#began = processorSeconds();
  }
  stop(step: number): void {
    const seconds = processorSeconds() - this.#began;
    this.#steps.set(step, seconds);
    appendFileSync(this.#file, `${JSON.stringify([step, seconds])}\n`);
  }
  /** Of all steps up to `last`. */
  until(last: number): number {
    let sum = 0;
    for (const [step, seconds] of this.#steps) if (step <= last) sum += seconds;
    return sum;
  }
}
