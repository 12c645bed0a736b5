/** Ctrl-C: the first one stops cleanly (a checkpoint is written), the second one at once. */

export class Interrupted extends Error {}

export async function interruptible<T>(howToGoOn: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const stop = () => {
    if (controller.signal.aborted) process.exit(130);
    process.stderr.write('\nStopping after writing a checkpoint (Ctrl-C again: at once)\n');
    controller.abort(new Interrupted(`Stopped. Go on with: ${howToGoOn}`));
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  try {
    return await work(controller.signal);
  } catch (error) {
    // Whatever the abort surfaced as, the reader's next step is the same.
    throw controller.signal.aborted && (error as { code?: string })?.code !== 'ERR_IO' ? controller.signal.reason : error;
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}
