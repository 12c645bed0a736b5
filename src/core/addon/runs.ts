/**
 * Which CUDA kernels have run on hardware: the committed record in native/backends/cuda/runs.json, written by
 * npm run test:gpu.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { root } from './locate.js';

/** One parity run of the kernels on a GPU. */
export interface KernelRun {
  readonly date: string;
  readonly gpu: string;
  readonly computeCapability: string;
  readonly commit: string;
  /** Ops whose every case passed, forward, backward and jvp. */
  readonly passed: readonly string[];
  readonly failed: readonly string[];
}

export function kernelRuns(): readonly KernelRun[] {
  const text = readFileSync(join(root, 'native/backends/cuda/runs.json'), 'utf8');
  const { runs } = JSON.parse(text) as { runs: KernelRun[] };
  return runs;
}

/** The latest GPU on which every case of the op passed, or 'not yet'. */
export const onHardware = (op: string): string =>
  kernelRuns().findLast((run) => run.passed.includes(op))?.gpu ?? 'not yet';
