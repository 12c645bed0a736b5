/**
 * HEADFIRST_BLAS: what native/backends/cpu/blas.cc gives to the library, against a stand-in that is strict
 * about it and notes every product (test/emulation/blas.cc), and against OpenBLAS behind that one.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, vi } from 'vitest';

import { addon } from '../../src/core/addon/addon.js';
import type { CaseArgs } from '../cases/define.js';
import { gemm } from '../cases/linear/gemm.js';
import { packedBytes } from '../cases/linear/gemm_pack.js';
import { temporaryDirectory } from '../helpers/files.js';
import { cpuBackends, entry, numbers, relativeError, runCase } from '../helpers/kernels.js';
import { Random, type RealTensor } from '../helpers/random.js';

// Before the imports: the helpers' first product opens the library.
const standIn = vi.hoisted(
  () =>
    (process.env['HEADFIRST_BLAS'] = decodeURIComponent(
      new URL('../../build/emulation/libemulated_blas.so', import.meta.url).pathname,
    )),
);
const root = fileURLToPath(new URL('../..', import.meta.url));
const log = join(temporaryDirectory(), 'products');
process.env['HEADFIRST_EMULATED_BLAS_LOG'] = log;

const openblas = ['x86_64', 'aarch64']
  .map((machine) => `/usr/lib/${machine}-linux-gnu/openblas-pthread/libopenblas.so.0`)
  .find((path) => existsSync(path));
const libraries = [
  { name: 'the stand-in', next: '', by: 'loops', skip: false },
  {
    name: `OpenBLAS${openblas ? '' : " (skipped: Debian's libopenblas0-pthread is not installed)"}`,
    next: openblas ?? '',
    by: 'the next',
    skip: openblas === undefined,
  },
];

interface Product {
  m: number;
  n: number;
  k: number;
  transposed: [number, number];
  beta: number;
  threads: number;
  valid: boolean;
  by: string;
}
function logged<T>(body: () => T): { result: T; products: Product[] } {
  rmSync(log, { force: true });
  const result = body();
  return {
    result,
    products: existsSync(log)
      ? readFileSync(log, 'utf8')
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as Product)
      : [],
  };
}

/**
 * Within the accuracy rule on every instruction set; the products that the library was given, the same ones
 * each time.
 */
function products(args: CaseArgs, options: { padRows?: boolean; threads?: number } = {}): Product[] {
  const op = entry('gemm');
  const expected = runCase(op, args, 'reference64')['c']!;
  const naive = runCase(op, args, 'reference32')['c']!;
  const [first, ...others] = cpuBackends.map((backend) => {
    const { result, products: made } = logged(() => runCase(op, args, backend, options)['c']!);
    expect(relativeError(result, expected), backend).toBeLessThanOrEqual(
      2 * relativeError(naive, expected) + 1e-6,
    );
    return made;
  });
  for (const other of others) expect(other).toEqual(first);
  return first!;
}

const random = new Random(3);
const lay = (t: RealTensor, layout: 'rows' | 'columns' | 'spread'): RealTensor =>
  layout === 'rows' ? t : { ...t, layout };
const [M, K, N] = [60, 130, 70];
const a = random.normal([M, K]);
const b = random.normal([K, N]);
const c = random.normal([M, N]);
const bias = random.normal([N]);
const residual = random.normal([M, N]);

describe.each(libraries)('by $name', ({ next, by, skip }) => {
  const given = { m: M, n: N, k: K, beta: 0, threads: 1, valid: true, by };
  const run: typeof products = (...call) => {
    process.env['HEADFIRST_EMULATED_BLAS_NEXT'] = next;
    return products(...call);
  };

  it.skipIf(skip)('the case file holds; what is large and plain enough goes to the library', () => {
    const taken = gemm.cases.filter((test) => {
      const args = test.args(new Random(11));
      const made = [...run(args), ...run(args, { padRows: true, threads: 2 })];
      expect(
        made.filter((product) => !product.valid || product.by !== by),
        test.name,
      ).toEqual([]);
      return made.length > 0;
    });
    expect(taken.map((test) => test.name)).toEqual([
      '64×64×64',
      '33×129×65',
      '130×500×70',
      '29×769×33',
      ...['rows', 'columns'].flatMap((x) =>
        ['rows', 'columns'].map((y) => `45×401×67, a by ${x}, b by ${y}`),
      ),
      '9×40×2100',
      '30×40×2100',
      '1300×512×33',
      '30×1040×40',
      '1000×1100×40',
      'more rows than a slice',
      '70×900×50, every epilogue {}',
    ]);
  });

  it
    .skipIf(skip)
    .each(
      (['rows', 'columns'] as const).flatMap((x) =>
        (['rows', 'columns'] as const).map((y) => [x, y] as const),
      ),
    )('a by %s, b by %s', (x, y) => {
    expect(run({ a: lay(a, x), b: lay(b, y) })).toEqual([
      { ...given, transposed: [Number(x === 'columns'), Number(y === 'columns')] },
    ]);
  });

  it.skipIf(skip)('epilogues and threads', () => {
    const plain = { ...given, transposed: [0, 0] };
    expect(run({ a, b, alpha: -0.75 }, { padRows: true })).toEqual([plain]);
    expect(run({ a, b, c, accumulate: true })).toEqual([{ ...plain, beta: 1 }]);
    expect(run({ a, b, bias })).toEqual([{ ...plain, beta: 1 }]);
    expect(run({ a, b, residual, alpha: 2 })).toEqual([{ ...plain, beta: 1 }]);
    expect(run({ a, b, c, bias, residual, alpha: 0.5, accumulate: true }, { threads: 2 })).toEqual([
      { ...plain, beta: 1, threads: 2 },
    ]);
  });

  it.skipIf(skip)('a long product is made in pieces', () => {
    const op = entry('gemm');
    const size = 1450;
    const matrix = (rows: number, columns: number) => ({
      data: Float32Array.from({ length: rows * columns }, () => random.uniform() - 0.5),
      shape: [rows, columns],
    });
    process.env['HEADFIRST_EMULATED_BLAS_NEXT'] = next;
    for (const [rows, columns] of [
      [size, 1100],
      [1100, size],
    ] as const) {
      const args = { a: matrix(rows, size), b: matrix(size, columns) };
      const packed = entry('gemm_pack').runSync({
        b: args.b,
        packed: new Uint8Array(packedBytes(size, columns)),
      })['packed']!;
      const built_in = logged(() => op.runSync({ ...args, packed_b: packed })['c']!);
      expect(built_in.products).toEqual([]);
      const { result, products: made } = logged(() => op.runSync(args)['c']!);
      expect(relativeError(result, built_in.result)).toBeLessThan(1e-5);
      const of = (product: Product) => (rows > columns ? product.m : product.n);
      expect(made.length).toBeGreaterThan(1);
      expect(Math.min(...made.slice(0, -1).map(of))).toBeGreaterThanOrEqual(512);
      expect(made.reduce((sum, product) => sum + of(product), 0)).toBe(size);
    }
  });
});

describe('what stays with the built-in kernels', () => {
  it('one that does not, to compare with', () => expect(products({ a, b }).length).toBe(1));
  it.each<[string, CaseArgs]>([
    ['few rows', { a: random.normal([8, 600]), b: random.normal([600, 600]) }],
    ['small products', { a: random.normal([40, 40]), b: random.normal([40, 40]) }],
    ['strides that BLAS has not', { a: lay(a, 'spread'), b }],
    ['bfloat16', { a, b: { ...b, bfloat16: true } }],
    ['triangles', { a: random.normal([80, 80]), b: random.normal([80, 80]), triangle: 'upper' }],
  ])('%s', (_, args) => expect(products(args)).toEqual([]));

  it('products inside fused kernels', () => {
    const [tokens, V] = [64, 300];
    const args = {
      hidden: random.normal([tokens, K]),
      weight: random.normal([V, K]),
      targets: random.integers([tokens], 0, V),
      coefficients: random.normal([tokens]),
      d_hidden: true,
      d_weight: random.normal([V, K]),
    };
    const { result, products: made } = logged(() =>
      runCase(entry('linear_policy_gradient'), args as CaseArgs, cpuBackends.at(-1)!),
    );
    expect(numbers(result['d_hidden']!).some((x) => x !== 0)).toBe(true);
    expect(made).toEqual([]);
  });

  it.skipIf(!addon.cpu.bf16Dot)('products in bf16 math by AVX512_BF16 (skipped without)', () =>
    expect(logged(() => runCase(entry('gemm'), { a, b }, 'avx512', { math: 'bf16' })).products).toEqual([]),
  );

  it('other backends', () =>
    expect(logged(() => runCase(entry('gemm'), { a, b }, 'reference32')).products).toEqual([]));
});

describe('the environment', () => {
  const node = (library: string | undefined, ...args: string[]) => {
    const { HEADFIRST_BLAS, ...environment } = process.env;
    return spawnSync(process.execPath, args, {
      encoding: 'utf8',
      env: {
        ...environment,
        HEADFIRST_EMULATED_BLAS_LOG: log,
        HEADFIRST_EMULATED_BLAS_NEXT: '',
        ...(library === undefined ? {} : { HEADFIRST_BLAS: library }),
      },
    });
  };
  const info = (library?: string, ...args: string[]) =>
    node(library, join(root, 'dist/cli/main.js'), 'info', ...args);
  const blas = (library?: string) =>
    (JSON.parse(info(library, '--json').stdout) as { cpu: { blas: string } }).cpu.blas;
  const program = `import { kernels } from ${JSON.stringify(join(root, 'dist/index.js'))};
    const matrix = (rows, columns) => ({ data: new Float32Array(rows * columns).fill(1), shape: [rows, columns] });
    try { console.log(kernels.gemmSync({ a: matrix(Number(process.argv[1]), 200), b: matrix(200, 100) }).c.data[7]); }
    catch ({ code, message }) { console.log(code, message); }`;
  const product = (library: string | undefined, rows = 100) =>
    logged(() => node(library, '--input-type=module', '-e', program, String(rows)).stdout.trim());

  it('off by default', () => {
    expect(product(undefined)).toEqual({ result: '200', products: [] });
    expect(product('')).toEqual({ result: '200', products: [] });
    expect(blas()).toBe('none (HEADFIRST_BLAS is not set): every product takes the built-in kernels');
    expect(info().stdout).toMatch(/^blas +none \(HEADFIRST_BLAS is not set\)/m);
  });

  it('headfirst info says which one is used, and what that costs', () => {
    expect(product(standIn).products.length).toBe(1);
    expect(blas(standIn)).toBe(
      `${standIn} for large plain products, threads by openblas_set_num_threads; a row's bits may depend on its batch, the threads and the library`,
    );
    expect(info(standIn).stdout).toContain(`\nblas       ${standIn} for large plain products`);
  });

  it.skipIf(!openblas)(
    `OpenBLAS itself is opened and right${openblas ? '' : " (skipped: Debian's libopenblas0-pthread is not installed)"}`,
    () => {
      expect(blas(openblas)).toMatch(
        /libopenblas.*\.so \(kernels for \w+\) for large plain products, threads by openblas_set_num_threads;/,
      );
      const { status, stdout } = node(openblas, join(root, 'dist/cli/main.js'), 'verify', 'gemm');
      expect([status, stdout]).toEqual([0, expect.stringMatching(/^gemm +base +ok$/m)]);
    },
  );

  it.each([
    ['a file that is not there', '/nowhere/libblas.so', /cannot open shared object file/],
    [
      'a name that the loader does not find',
      'libnowhere.so',
      /libnowhere\.so: cannot open shared object file/,
    ],
    [
      'a library that is no BLAS',
      join(root, 'build/emulation/libemulated_cublasLt.so'),
      /it has no cblas_sgemm/,
    ],
  ])('%s is an error of the first product, whatever its size', (_, library, why) => {
    for (const rows of [1, 100]) {
      const { result } = product(library, rows);
      expect(result).toMatch(
        /^ERR_BACKEND_UNAVAILABLE gemm: HEADFIRST_BLAS must name a BLAS with the C interface \(cblas_sgemm\)/,
      );
      expect(result).toContain(`got '${library}'`);
      expect(result).toMatch(why);
      expect(result).toMatch(/unset it for the built-in kernels$/);
    }
    const { status, stdout } = info(library);
    expect([status, stdout]).toEqual([0, expect.stringMatching(why)]);
    expect(stdout).toMatch(/^blas +none: HEADFIRST_BLAS names '.+', which cannot be used/m);
    expect(node(library, join(root, 'dist/cli/main.js'), 'verify', 'gemm').status).toBe(1);
  });
});
