/** The benchmark harness: what it measures, and its roofline. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

import { compare, readResults, type Earlier } from '../../bench/compare.js';
import { measure, timingOf } from '../../bench/harness.js';
import { bound } from '../../bench/types.js';
import { addon } from '../../src/core/addon/addon.js';
import { sumOfSquares } from '../cases/optimizer/sum_of_squares.js';
import { temporaryDirectory } from '../helpers/files.js';

const LIMITS = { seconds: 0.05, minSamples: 3 };

it('times plain and asynchronous calls, in seconds per call', async () => {
  const wait = (ms: number) => {
    const end = performance.now() + ms;
    while (performance.now() < end);
  };
  const sync = await measure(
    'sync',
    () => wait(4),
    LIMITS,
    () => 3,
  );
  const asynchronous = await measure(
    'async',
    async () => {
      await new Promise((resolve) => setTimeout(resolve, 4));
    },
    LIMITS,
    () => 3,
  );
  for (const timing of [sync, asynchronous]) {
    expect(timing.best).toBeGreaterThan(0.0035);
    expect(timing.best).toBeLessThan(0.05);
    expect(timing.samples).toBeGreaterThanOrEqual(3);
  }
  expect(sync.cpu).toBeGreaterThan(0.003);
  expect(asynchronous.cpu).toBeLessThan(sync.cpu);
});

it('measures the peak between the samples, outside of what it tells of the body', async () => {
  const wait = (ms: number) => {
    const end = performance.now() + ms;
    while (performance.now() < end);
  };
  let peaks = 0;
  const { peak, samples, median, cpu } = await measure(
    'peak',
    () => wait(2),
    LIMITS,
    () => {
      wait(20);
      peaks += 1;
      return peaks;
    },
  );
  expect(peaks).toBeGreaterThanOrEqual(samples);
  expect(peak).toBeGreaterThanOrEqual(peaks / 2);
  expect(median).toBeLessThan(0.01);
  expect(cpu).toBeLessThan(0.01);
});

it('an error in the body comes out', async () => {
  await expect(
    measure(
      'throws',
      () => {
        throw new Error('wrong');
      },
      LIMITS,
      () => 3,
    ),
  ).rejects.toThrow('wrong');
});

it('median, best and spread', () => {
  expect(timingOf([3, 1, 2, 5, 4], 7, 3)).toEqual({
    median: 3,
    best: 1,
    spread: 2 / 3,
    samples: 5,
    cpu: 7,
    peak: 3,
  });
});

it('the roofline is the slower of arithmetic and the memory that holds the data', () => {
  const rates = {
    flops: 110,
    bf16Flops: 0,
    reads: [
      { footprint: 10, bytes: 50 },
      { footprint: 100, bytes: 5 },
    ],
  };
  expect(bound(100, rates, 1000, 10)).toEqual({ seconds: 10, by: 'compute' });
  expect(bound(100, rates, 100, 100)).toEqual({ seconds: 20, by: 'memory' });
  expect(bound(100, rates, 1, 1000)).toEqual({ seconds: 200, by: 'memory' });
});

it('the measured rates are those of a computer', () => {
  const { flops, bf16Flops, bytes } = addon.measureRates({ footprint: 1e6, seconds: 0.02 });
  expect(flops).toBeGreaterThan(1e8);
  expect(bf16Flops === 0 || (bf16Flops > flops / 8 && bf16Flops < flops * 8)).toBe(true);
  expect(addon.measureRates({ backend: 'base', footprint: 1e6, seconds: 0.02 }).bf16Flops).toBe(0);
  expect(bytes).toBeGreaterThan(1e8);
  expect(() => addon.measureRates({ backend: 'reference64' })).toThrow('no vector kernels');
  expect(() => addon.measureRates({ footprint: -1 })).toThrow('footprint');
});

const bench = (...args: string[]) =>
  spawnSync(
    process.execPath,
    [
      fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url)),
      'bench',
      'sum_of_squares',
      '--seconds',
      '0.05',
      '--samples',
      '1',
      ...args,
    ],
    { encoding: 'utf8' },
  );

describe('--compare', () => {
  const machine = { cpu: 'a processor', kernels: 'avx2', threads: 1 };
  const line = (name: string, median: number, spread = 0, shape = '8×8') => ({ name, shape, median, spread });
  const of = (...lines: Earlier['lines']): Earlier => ({ date: 'monday', machine, lines });
  const written = (content: string) => {
    const path = join(temporaryDirectory(), 'results.json');
    writeFileSync(path, content);
    return path;
  };

  it('names what became faster or slower, from 5 % on', () => {
    const old = of(line('gemm', 2), line('norm', 2), line('rope', 2), line('copy', 2));
    expect(
      compare(
        old,
        [line('gemm', 2.2), line('norm', 0.5), line('rope', 2.09), line('copy', 1.91)],
        machine,
        true,
      ),
    ).toEqual([
      'gemm · 8×8: slower by 10 % (2.00 s → 2.20 s; noise 5 %)',
      'norm · 8×8: faster by 75 % (2.00 s → 500 ms; noise 5 %)',
      '2 of 4 as on monday',
    ]);
  });

  it('beyond half of either spread', () => {
    const at = (median: number, before: number, after: number) =>
      compare(of(line('gemm', 1, before)), [line('gemm', median, after)], machine, true);
    for (const [before, after] of [
      [0.2, 0],
      [0, 0.2],
      [0.1, 0.1],
    ] as const) {
      expect(at(1.14, before, after)).toEqual(['1 of 1 as on monday']);
      expect(at(1.16, before, after)).toEqual([
        'gemm · 8×8: slower by 16 % (1.00 s → 1.16 s; noise 15 %)',
        '0 of 1 as on monday',
      ]);
      expect(at(0.86, before, after)).toEqual(['1 of 1 as on monday']);
      expect(at(0.84, before, after)).toEqual([
        'gemm · 8×8: faster by 16 % (1.00 s → 840 ms; noise 15 %)',
        '0 of 1 as on monday',
      ]);
    }
  });

  it('new and missing lines; what was not asked for is not missing', () => {
    const old = of(line('gemm', 1), line('gemm', 1, 0, '9×9'), line('norm', 1));
    const now = [line('gemm', 1), line('gemm', 1, 0, '7×7')];
    expect(compare(old, now, machine, false)).toEqual([
      'gemm · 7×7: new',
      'gemm · 9×9: missing',
      '1 of 2 as on monday',
    ]);
    expect(compare(old, now, machine, true)).toEqual([
      'gemm · 7×7: new',
      'gemm · 9×9: missing',
      'norm · 8×8: missing',
      '1 of 2 as on monday',
    ]);
  });

  it('another machine or setting is said', () => {
    expect(
      compare(of(line('gemm', 1)), [line('gemm', 1)], { ...machine, threads: 2, blas: 'a library' }, true)[0],
    ).toBe('against another setting of monday: threads 1 → 2; blas none → a library');
  });

  it.each([
    ['no file', '/nowhere/results.json', 'ERR_IO', '/nowhere/results.json'],
    ['a broken file', written('{"date": "mon'), 'ERR_INVALID_ARG', 'JSON'],
    [
      'results of something else',
      fileURLToPath(new URL('../../bench/results/2026-11-26T0623-gpu.json', import.meta.url)),
      'ERR_INVALID_ARG',
      ': machine: ',
    ],
    [
      'a line without its time',
      written(
        JSON.stringify({ ...of(), lines: [line('gemm', 1), { name: 'norm', shape: '8×8', spread: 0 }] }),
      ),
      'ERR_INVALID_ARG',
      ': lines.1.median: ',
    ],
  ])('%s is an error', (_, path, code, message) => {
    let caught: unknown;
    try {
      readResults(path);
    } catch (error) {
      caught = error;
    }
    expect(caught).toMatchObject({ code, message: expect.stringContaining(message) as string });
    expect((caught as Error).message).toContain(path);
  });

  it('the command: an error before anything is timed', () => {
    const path = written('[]');
    const { status, stdout, stderr } = bench('--compare', path);
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/^headfirst: bench: --compare needs results that .+ \[ERR_INVALID_ARG\]\n$/);
  });
});

it('the built command starts: its own build finds the package and the addon; it compares', () => {
  const label = `sum_of_squares · ${sumOfSquares.bench[0]!.name}`;
  const path = join(temporaryDirectory(), 'old.json');
  writeFileSync(
    path,
    JSON.stringify({
      date: 'monday',
      machine: {},
      lines: [{ name: 'sum_of_squares', shape: sumOfSquares.bench[0]!.name, median: 1e-9, spread: 0 }],
    }),
  );
  const { status, stdout, stderr } = bench('--json', '--compare', path);
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toHaveProperty('lines');
  expect(stderr).toContain(`\n${label}: slower by `);
  expect(stderr).toMatch(/^against another setting of monday: .*threads none → 1/m);
});
