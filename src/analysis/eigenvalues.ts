/**
 * Eigenvalues of a dense symmetric matrix, by ml-matrix. It computes them in one go, seconds from n = 900 on,
 * so larger matrices go to a worker thread: the event loop goes on, and ending the thread is the only way to
 * end the computation.
 */
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';

import { type JobOptions, runJob } from '../core/job.js';

/** Up to this size a matrix takes less (10 ms) than a thread takes to start (60 ms on a Xeon, 2026-11-26). */
const INLINE = 64;

// A string, and its library by its address: a file of its own would be found in dist but not by the tests,
// which run from src. import() and not require, because under `node --input-type=module` this text is a
// module.
const SCRIPT = `import('node:worker_threads').then(async ({ parentPort, workerData: { library, data, n } }) => {
  const { EigenvalueDecomposition, Matrix } = await import(library);
  parentPort.postMessage(Float64Array.from(new EigenvalueDecomposition(Matrix.from1DArray(n, n, data), { assumeSymmetric: true }).realEigenvalues));
});`;

/** All n, in no order. `data` is [n, n], row-major, and given away: the thread takes its memory. */
export async function eigenvaluesOf(
  data: Float64Array<ArrayBuffer>,
  n: number,
  options: Pick<JobOptions, 'signal'>,
): Promise<Float64Array> {
  if (n > INLINE) return runJob(options, () => start(data, n));
  options.signal?.throwIfAborted();
  const { EigenvalueDecomposition, Matrix } = await import('ml-matrix'); // large: loaded when first needed
  return Float64Array.from(
    new EigenvalueDecomposition(Matrix.from1DArray(n, n, data), { assumeSymmetric: true }).realEigenvalues,
  );
}

function start(
  data: Float64Array<ArrayBuffer>,
  n: number,
): { promise: Promise<Float64Array>; cancel(): void } {
  const library = pathToFileURL(createRequire(import.meta.url).resolve('ml-matrix')).href;
  const worker = new Worker(SCRIPT, {
    eval: true,
    workerData: { library, data, n },
    transferList: [data.buffer],
  });
  const promise = new Promise<Float64Array>((resolve, reject) => {
    let result: Float64Array | undefined;
    worker.once('message', (eigenvalues: Float64Array) => (result = eigenvalues)).once('error', reject);
    // Not before: the thread is gone when the promise settles.
    worker.once('exit', () =>
      result ? resolve(result) : reject(new Error('analysis.spectrum: the worker thread ended early')),
    );
  });
  return { promise, cancel: () => void worker.terminate() };
}
