/** What a measurement is, and what the machine allows. */
import type { BackendName } from '../src/core/addon/contract.js';
import type { TimeLimits, Timing } from './harness.js';

/** One result. Times in seconds. */
export interface Line extends Timing {
  readonly group: 'op' | 'model';
  readonly name: string;
  readonly shape: string;
  /** Of the algorithm, per call. */
  readonly flops: number;
  /** Compulsory traffic per call; 0 = not modelled. */
  readonly bytes: number;
  /** Of data that is read many times; absent: `bytes`. */
  readonly held?: number | undefined;
  /** Scratch memory beside inputs and results. */
  readonly workspaceBytes: number;
  /**
   * The time that min(peak, intensity × bandwidth) allows, over the median. peak: of the line's arithmetic,
   * measured between its samples.
   */
  readonly roofline: number;
  readonly bound: 'compute' | 'memory';
  readonly peers?: readonly PeerLine[];
}

/** What ran it: processor, kernels, threads, load. */
export type Machine = Readonly<Record<string, string | number | readonly number[]>>;

/**
 * The best that the machine reached in this run. Calls are timed hot: data that fits a cache is read from it.
 */
export interface Rates {
  readonly flops: number;
  /** Of bfloat16 products by the processor's own instruction; 0 where it has none. */
  readonly bf16Flops: number;
  /** Bytes per second of repeated reads, by footprint in bytes, ascending. */
  readonly reads: readonly { readonly footprint: number; readonly bytes: number }[];
}

/**
 * Seconds that min(peak, intensity × bandwidth) allows; the bandwidth of the smallest measured footprint that
 * holds the call's data. A job that reads the same data many times gives that data's size as `held`.
 */
export function bound(
  peak: number,
  rates: Rates,
  flops: number,
  bytes: number,
  held = bytes,
): { readonly seconds: number; readonly by: 'compute' | 'memory' } {
  const { bytes: bandwidth } = rates.reads.find(({ footprint }) => footprint >= held) ?? rates.reads.at(-1)!;
  const compute = flops / peak;
  const memory = bytes / bandwidth;
  return { seconds: Math.max(compute, memory), by: compute >= memory ? 'compute' : 'memory' };
}

/** Seconds in words. */
export function time(seconds: number): string {
  if (seconds >= 1) return `${seconds.toFixed(2)} s`;
  if (seconds >= 1e-3) return `${(seconds * 1e3).toFixed(seconds >= 0.1 ? 0 : 2)} ms`;
  return `${(seconds * 1e6).toFixed(1)} µs`;
}

export interface PeerLine {
  readonly name: string;
  readonly median: number;
  readonly cpu: number;
  readonly extraBytes?: number | undefined;
  /** The peer's median over ours, of all rounds: above 1 we are faster. */
  readonly ratio: number;
  /** The same in processor time. */
  readonly cpuRatio: number;
}

export interface Settings {
  readonly backend: BackendName;
  readonly threads: number;
  readonly limits: TimeLimits;
  /**
   * What the arithmetic of this math reaches just now, as flops per second: fused multiply-adds, or the
   * processor's bfloat16 dot products.
   */
  peak(math: 'fp32' | 'bf16'): number;
  readonly rates: Rates;
  /** Interleave PyTorch with the model workloads. */
  readonly peer: boolean;
  readonly rounds: number;
  report(line: Line): void;
}
