/**
 * Ctrl-C: the first one stops cleanly (where there are checkpoints, after writing one), the second one at
 * once.
 */

export class Interrupted extends Error {}

interface Ways {
  /** The command that goes on from the checkpoint. */
  readonly goOn?: string;
  /** Of what writes none: the command that begins again. */
  readonly again?: string;
}

export async function interruptible<T>(
  { goOn, again }: Ways,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const stop = () => {
    if (controller.signal.aborted) process.exit(130);
    process.stderr.write(
      `\nStopping${goOn === undefined ? '' : ' after writing a checkpoint'} (Ctrl-C again: at once)\n`,
    );
    controller.abort(
      new Interrupted(
        goOn === undefined
          ? `Stopped; there is no checkpoint. From the beginning: ${again}`
          : `Stopped. Go on with: ${goOn}`,
      ),
    );
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  try {
    return await work(controller.signal);
  } catch (error) {
    // Whatever the abort surfaced as, the reader's next step is the same.
    throw controller.signal.aborted && (error as { code?: string })?.code !== 'ERR_IO'
      ? controller.signal.reason
      : error;
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}
