/**
 * Long jobs of the command line: their progress on stderr, and Ctrl-C. The first Ctrl-C stops cleanly (where
 * there are checkpoints, after writing one), the second one at once.
 */
import { Progress } from './progress.js';

/** Exit code of a process that Ctrl-C ended. */
export const INTERRUPTED = 130;

/** What a job that was stopped rejects with; its message is the reader's next step. */
export class Interrupted extends Error {}

/** How to go on after Ctrl-C. */
interface Ways {
  /** The command that goes on from the checkpoint. */
  readonly goOn?: string;
  /** Of a job that writes no checkpoint: the command that begins again. */
  readonly again?: string;
}

/** Runs a job that the reader may watch and stop. */
export async function longJob<T>(
  ways: Ways,
  work: (signal: AbortSignal, progress: Progress) => Promise<T>,
): Promise<T> {
  const progress = new Progress();
  try {
    return await interruptible(ways, (signal) => work(signal, progress));
  } finally {
    progress.end();
  }
}

/** Runs a job that the reader may stop. */
export async function interruptible<T>(
  { goOn, again }: Ways,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const hasCheckpoints = goOn !== undefined;
  const controller = new AbortController();
  const stop = () => {
    if (controller.signal.aborted) process.exit(INTERRUPTED);
    const first = hasCheckpoints ? ' after writing a checkpoint' : '';
    process.stderr.write(`\nStopping${first} (Ctrl-C again: at once)\n`);
    const next = hasCheckpoints
      ? `Stopped. Go on with: ${goOn}`
      : `Stopped; there is no checkpoint. From the beginning: ${again}`;
    controller.abort(new Interrupted(next));
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  try {
    return await work(controller.signal);
  } catch (error) {
    // Whatever the abort surfaced as, the reader's next step is the same; a full disk is another matter.
    const stopped = controller.signal.aborted && (error as { code?: string })?.code !== 'ERR_IO';
    throw stopped ? controller.signal.reason : error;
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}
