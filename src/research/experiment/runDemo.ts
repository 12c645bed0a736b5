/** The embedded experiment end to end: the demo's plan on every seed, a report after every arm. */
import type { RunSummary } from '../../report/index.js';
import type { RunOptions } from './arms.js';
import { notesOf } from './notes.js';
import { claimDirectory, runSeed, writeRun } from './runExperiment.js';

export async function runDemo(options: RunOptions): Promise<RunSummary> {
  claimDirectory(options);
  const write = () => writeRun(options, (records) => notesOf(options.plan, records));
  for (const seed of options.seeds) await runSeed(options, seed, write);
  return write();
}
