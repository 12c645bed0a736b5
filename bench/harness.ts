/** One measurement with benchmark.js, and what is told about it. */
import Benchmark from 'benchmark';

export interface Timing {
  /** Seconds. */
  readonly median: number;
  readonly best: number;
  /** Interquartile range over the median: how much the samples differ. */
  readonly spread: number;
  readonly samples: number;
  /** Processor seconds of this process per call, all its threads: on a busy machine the steadier figure. */
  readonly cpu: number;
  /** Median of what `peak` returned between the samples. */
  readonly peak: number;
}

export interface TimeLimits {
  readonly seconds: number;
  readonly minSamples: number;
}

const quantile = (sorted: readonly number[], q: number) =>
  sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]!;

/** Of an unsorted list; the upper one of an even count. */
export const median = (values: readonly number[]): number =>
  quantile(
    [...values].sort((a, b) => a - b),
    0.5,
  );

export function timingOf(times: readonly number[], cpu: number, peak: number): Timing {
  const sorted = [...times].sort((a, b) => a - b);
  const median = quantile(sorted, 0.5);
  return {
    median,
    best: sorted[0]!,
    spread: (quantile(sorted, 0.75) - quantile(sorted, 0.25)) / median,
    samples: sorted.length,
    cpu,
    peak,
  };
}

/** Seconds that this process has used, all its threads. */
function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/**
 * Calls `body` until `seconds` have passed and at least `minSamples` samples were taken, after one call that
 * warms up. `peak` runs after every sample: what the machine can do changes with its clock, so it is measured
 * in turns with what is held against it.
 */
export async function measure(
  name: string,
  body: () => unknown,
  { seconds, minSamples }: TimeLimits,
  peak: () => number,
): Promise<Timing> {
  await body();
  const asynchronous = body.constructor.name === 'AsyncFunction';
  let calls = 0;
  let probing = 0;
  const peaks: number[] = [];
  const before = processorTime();
  const sample = await new Promise<readonly number[]>((resolve, reject) => {
    const counted = () => {
      calls += 1;
      return body();
    };
    const deferred = (done: { resolve(): void }) => {
      (counted() as Promise<unknown>).then(() => done.resolve(), reject);
    };
    new Benchmark(name, {
      async: false,
      defer: asynchronous,
      maxTime: seconds,
      minSamples,
      initCount: 1,
      fn: asynchronous ? deferred : counted,
      onCycle() {
        const begin = processorTime();
        peaks.push(peak());
        probing += processorTime() - begin;
      },
      onComplete(this: Benchmark) {
        if (this.error) reject(this.error);
        else resolve(this.stats.sample);
      },
    } as Benchmark.Options).run();
  });
  return timingOf(sample, (processorTime() - before - probing) / calls, median(peaks));
}
