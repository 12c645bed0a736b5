/**
 * How a line of the hardware table is timed: an op by device events, a job by the clock around it. Medians of
 * 20 calls, or of as many as fit in 4 seconds and at least 3, after those that warm up.
 */
import { addon } from '../../src/core/addon/addon.js';
import type { KernelArgs, NativeMath } from '../../src/core/addon/contract.js';
import { options } from './options.js';

/** One line of output, to be measured. */
export interface Line {
  readonly name: string;
  /** The row of bench/peers/gpu.py that does the same. */
  readonly peer?: string;
  measure(): Measured | Promise<Measured>;
}
export interface Measured {
  readonly seconds: readonly number[];
  readonly note: string;
}

const SECONDS = 4;

export const median = (times: readonly number[]): number =>
  [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)]!;

export const entry = (name: string) => addon.ops.find((o) => o.name === name)!;

/** Times of an op by device events, and its workspace. */
export const timed = (name: string, args: KernelArgs, math: NativeMath) =>
  entry(name).deviceTimes(args, {
    backend: 'cuda',
    math,
    count: options.profile ? 3 : 20,
    maxSeconds: SECONDS,
  });

/** Times of an op by device events. */
export const op = (name: string, args: KernelArgs, math: NativeMath): number[] => [
  ...timed(name, args, math).seconds,
];

/** How many calls that take `seconds` each are timed. */
const samplesOf = (seconds: number) =>
  options.profile ? 3 : Math.max(3, Math.min(20, Math.floor(SECONDS / seconds)));

/** Times of a job by the clock, after two calls to warm up and one that says how long it takes. */
export async function job(body: () => Promise<unknown>): Promise<number[]> {
  const once = async () => {
    const begin = performance.now();
    await body();
    return (performance.now() - begin) / 1e3;
  };
  await once();
  await once();
  const count = samplesOf(await once());
  const times: number[] = [];
  for (let i = 0; i < count; ++i) times.push(await once());
  return times;
}

/** FLOP/s and bytes/s that this run reached, by the lines of products.ts. 0 where they were not measured. */
export const ceilings = { matmul: 0, copy: 0 };

export const teraflops = (flops: number, seconds: readonly number[]): string =>
  `${(flops / median(seconds) / 1e12).toFixed(0)} TFLOP/s`;

/** Part of a note: the rate as a share of a ceiling; empty where that was not measured. */
export const share = (rate: number, ceiling: number, of: string): string =>
  ceiling ? `, ${((100 * rate) / ceiling).toFixed(0)} % of ${of}` : '';
