/** The benchmark harness: what it measures, and its roofline. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

import { measure, timingOf } from '../../bench/harness.js';
import { bound } from '../../bench/types.js';
import { addon } from '../../src/native/addon.js';

const LIMITS = { seconds: 0.05, minSamples: 3 };

it('times plain and asynchronous calls, in seconds per call', async () => {
  const wait = (ms: number) => { const end = performance.now() + ms; while (performance.now() < end); };
  const sync = await measure('sync', () => wait(4), LIMITS);
  const asynchronous = await measure('async', async () => { await new Promise((resolve) => setTimeout(resolve, 4)); }, LIMITS);
  for (const timing of [sync, asynchronous]) {
    expect(timing.best).toBeGreaterThan(0.0035);
    expect(timing.best).toBeLessThan(0.05);
    expect(timing.samples).toBeGreaterThanOrEqual(3);
  }
  expect(sync.cpu).toBeGreaterThan(0.003);
  expect(asynchronous.cpu).toBeLessThan(sync.cpu);
});

it('an error in the body comes out', async () => {
  await expect(measure('throws', () => { throw new Error('wrong'); }, LIMITS)).rejects.toThrow('wrong');
});

it('median, best and spread', () => {
  expect(timingOf([3, 1, 2, 5, 4], 7)).toEqual({ median: 3, best: 1, spread: 2 / 3, samples: 5, cpu: 7 });
});

it('the roofline is the slower of arithmetic and the memory that holds the data', () => {
  const rates = { flops: 100, reads: [{ footprint: 10, bytes: 50 }, { footprint: 100, bytes: 5 }] };
  expect(bound(rates, 1000, 10)).toEqual({ seconds: 10, by: 'compute' });
  expect(bound(rates, 100, 100)).toEqual({ seconds: 20, by: 'memory' });
  expect(bound(rates, 1, 1000)).toEqual({ seconds: 200, by: 'memory' });
});

it('the measured rates are those of a computer', () => {
  const { flops, bytes } = addon.measureRates({ footprint: 1e6, seconds: 0.02 });
  expect(flops).toBeGreaterThan(1e8);
  expect(bytes).toBeGreaterThan(1e8);
  expect(() => addon.measureRates({ backend: 'reference64' })).toThrow('no vector kernels');
  expect(() => addon.measureRates({ footprint: -1 })).toThrow('footprint');
});

it('the built command starts: its own build finds the package and the addon', () => {
  const { status, stdout } = spawnSync(process.execPath, [fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url)), 'bench', 'sum_of_squares', '--seconds', '0.05', '--samples', '1', '--json'], { encoding: 'utf8' });
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toHaveProperty('lines');
});
