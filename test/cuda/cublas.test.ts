/**
 * Plain products by cuBLASLt: what native/backends/cuda/cublas.cu asks of the library, against a stand-in for
 * the emulated device that is strict about it (test/emulation/cublas.cc) and notes every product.
 */
import { onHardware } from './device.js';

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

import type { CaseArgs } from '../cases/define.js';
import { temporaryDirectory } from '../helpers/files.js';
import { entry, relativeError, runCase } from '../helpers/kernels.js';
import { pairs, second, tokenLevel } from '../helpers/pairs.js';
import { Random, type RealTensor } from '../helpers/random.js';
import type { ArrayView, NativeMath } from '../../src/core/addon/contract.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const log = join(temporaryDirectory(), 'products');
process.env['HEADFIRST_CUBLAS_DIR'] = join(root, 'build/emulation');
process.env['HEADFIRST_EMULATED_CUBLAS_LOG'] = log;

type Product = Record<string, unknown>;

/** Calls body(); which products the library was given meanwhile. */
function logged<T>(body: () => T): { result: T; products: Product[] } {
  rmSync(log, { force: true });
  const result = body();
  if (!existsSync(log)) return { result, products: [] };
  const lines = readFileSync(log, 'utf8').trim().split('\n');
  return { result, products: lines.map((line) => JSON.parse(line) as Product) };
}
function run(args: CaseArgs, math: NativeMath, padRows = false): { c: ArrayView; products: Product[] } {
  const { result: c, products } = logged(() => runCase(entry('gemm'), args, 'cuda', { math, padRows })['c']!);
  return { c, products };
}
/** To the nearest bfloat16. */
function roundedNumber(x: number): number {
  const bits = new Uint32Array(Float32Array.of(x).buffer)[0]!;
  const nearest = (bits + 0x7fff + ((bits >>> 16) & 1)) & ~0xffff;
  return new Float32Array(Uint32Array.of(nearest).buffer)[0]!;
}
const rounded = (t: RealTensor): RealTensor => ({ ...t, data: t.data.map(roundedNumber) });

/**
 * One product that goes to the library, against the double reference on the operands that it gets. The
 * stand-in rounds nothing but what it is to give back in bfloat16.
 */
function check(args: CaseArgs & { a: RealTensor; b: RealTensor }, math: NativeMath, padRows = false) {
  const exact = math === 'bf16' ? { ...args, a: rounded(args.a), b: rounded(args.b) } : args;
  const { c, products } = run(args, math, padRows);
  expect(relativeError(c, runCase(entry('gemm'), exact, 'reference64')['c']!)).toBeLessThan(1e-6);
  expect(products.length).toBe(1);
  return products[0]!;
}

const random = new Random(7);
const [M, K, N] = [300, 371, 309]; // more than 2^25 multiply-adds
const a = random.normal([M, K]);
const b = random.normal([K, N]);

const lay = (t: RealTensor, layout: 'rows' | 'columns'): RealTensor =>
  layout === 'rows' ? t : { ...t, layout };

describe.skipIf(onHardware)('products that go to cuBLAS', () => {
  it.each(
    (['tf32', 'bf16'] as const).flatMap((math) =>
      (['rows', 'columns'] as const).flatMap((x) =>
        (['rows', 'columns'] as const).map((y) => [math, x, y] as const),
      ),
    ),
  )('%s, a by %s, b by %s', (math, x, y) => {
    const product = check({ a: lay(a, x), b: lay(b, y) }, math, x === y);
    expect(product).toEqual({
      m: N,
      n: M,
      k: K,
      transposed: [Number(y === 'columns'), Number(x === 'columns')],
      operands: math === 'bf16' ? 'bf16' : 'f32',
      tf32: math === 'tf32',
      bias: false,
      c: 'none',
    });
  });

  it('exact float32 from 2^27 multiply-adds on', () => {
    const large = { a: random.normal([512, 513]), b: random.normal([513, 514]) };
    expect(check(large, 'fp32')).toMatchObject({ operands: 'f32', tf32: false });
  });

  it('bfloat16 operands as they are', () => {
    expect(
      check({ a: { ...a, bfloat16: true }, b: { ...b, bfloat16: true, layout: 'columns' } }, 'bf16'),
    ).toMatchObject({ operands: 'bf16', transposed: [1, 0] });
  });

  const [bias, residual, c] = [random.normal([N]), random.normal([M, N]), random.normal([M, N])];
  it.each(['tf32', 'bf16'] as const)('%s: alpha, bias, accumulate', (math) => {
    expect(check({ a, b, alpha: -0.5, bias }, math)).toMatchObject({ bias: true, c: 'none' });
    expect(check({ a, b, c, accumulate: true, alpha: 2 }, math)).toMatchObject({ bias: false, c: 'd' });
    expect(check({ a, b, c, accumulate: true, bias }, math)).toMatchObject({ bias: true, c: 'd' });
  });

  it('a residual as C: in tf32, and of a long bf16 product', () => {
    expect(check({ a, b, alpha: -0.5, bias, residual }, 'tf32')).toMatchObject({ bias: true, c: 'other' });
    expect(check({ a, b, residual }, 'tf32', true)).toMatchObject({ bias: false, c: 'other' });
    const long = {
      a: random.normal([130, 2100]),
      b: random.normal([2100, 130]),
      bias: random.normal([130]),
      residual: random.normal([130, 130]),
    };
    expect(check(long, 'bf16')).toMatchObject({ bias: true, c: 'other' });
  });

  it('a residual after a short bf16 product, with the bias', () => {
    expect(check({ a, b, alpha: -0.5, bias, residual }, 'bf16')).toMatchObject({ bias: false, c: 'none' });
    expect(check({ a, b, residual }, 'bf16', true)).toMatchObject({ bias: false, c: 'none' });
    const odd = random.normal([K, 307]); // rows that are not aligned
    expect(
      check({ a, b: odd, bias: random.normal([307]), residual: random.normal([M, 307]) }, 'bf16'),
    ).toMatchObject({ bias: false, c: 'none' });
  });

  it('a gradient of a weight with fewer rows than columns as its transpose', () => {
    const [out, input, rows] = [141, 275, 1000];
    const d = { ...random.normal([out, rows]), layout: 'columns' as const };
    const x = random.normal([rows, input]);
    const gradient = random.normal([out, input]);
    for (const padded of [false, true])
      expect(check({ a: d, b: x, c: gradient, accumulate: true, alpha: -2 }, 'bf16', padded)).toMatchObject({
        m: out,
        n: input,
        k: rows,
        transposed: [0, 1],
        c: 'none',
      });
    const wide = { ...random.normal([input, rows]), layout: 'columns' as const };
    expect(
      check(
        { a: wide, b: random.normal([rows, out]), c: random.normal([input, out]), accumulate: true },
        'bf16',
      ),
    ).toMatchObject({ m: out, n: input, c: 'd' });
  });
});

describe.skipIf(onHardware)('products that our own kernel keeps', () => {
  const [tall, wide] = [random.normal([65, 8300]), random.normal([8300, 65])];
  it('one that goes to cuBLAS, to compare with', () =>
    expect(run({ a: tall, b: wide }, 'bf16').products.length).toBe(1));
  it.each<[string, CaseArgs, NativeMath]>([
    ['a triangle', { a: tall, b: wide, triangle: 'upper' }, 'bf16'],
    ['exact and below 2^27', { a: tall, b: wide }, 'fp32'],
    ['few rows whose weights would be rounded first', { a: random.normal([64, 8300]), b: wide }, 'bf16'],
    [
      'accumulated with a residual',
      { a: tall, b: wide, c: random.normal([65, 65]), residual: random.normal([65, 65]), accumulate: true },
      'tf32',
    ],
    ['strides that no leading dimension describes', { a: { ...tall, layout: 'spread' }, b: wide }, 'tf32'],
    [
      'bfloat16 operands of an exact product',
      { a: { ...tall, bfloat16: true }, b: { ...wide, bfloat16: true } },
      'tf32',
    ],
    ['small', { a: random.normal([65, 70]), b: random.normal([70, 65]) }, 'bf16'],
  ])('%s', (_, args, math) => expect(run(args, math).products).toEqual([]));
});

describe.skipIf(onHardware)('per-sample gradients of jacobian_gram', () => {
  const gram = (args: CaseArgs, math: NativeMath = 'bf16') => {
    const { result, products } = logged(
      () => runCase(entry('jacobian_gram'), args, 'cuda', { math })['gram']!,
    );
    return {
      error: relativeError(result, runCase(entry('jacobian_gram'), args, 'reference64')['gram']!),
      products,
    };
  };
  const bound = 5e-3; // operands and gradients are rounded to bfloat16
  const uniform = pairs(random, Array<number>(10).fill(280), 128, 96);

  it('one batch for functions of one length', () => {
    const { error, products } = gram({ ...uniform });
    expect(error).toBeLessThan(bound);
    expect(products).toEqual([
      {
        m: 128,
        n: 96,
        k: 280,
        transposed: [0, 1],
        operands: 'bf16',
        tf32: false,
        bias: false,
        c: 'none',
        batch: 10,
      },
    ]);
  });

  it('a bias, added to K', () => {
    const args = { ...uniform, bias: true, accumulate: true, gram: random.normal([10, 10], 1e3) };
    expect(gram(args).error).toBeLessThan(bound);
  });

  it('ragged: a batch for neighbours of one length', () => {
    const { error, products } = gram({ ...pairs(random, [700, 700, 0, 0, 1, 300, 700, 700, 9], 131, 99) });
    expect(error).toBeLessThan(bound);
    expect(products.map(({ k, batch }) => [k, batch])).toEqual([
      [700, 2],
      [1, undefined],
      [300, undefined],
      [700, 2],
      [9, undefined],
    ]);
  });

  it('shared rows of a against another set, more functions than a tile', () => {
    const args = { ...tokenLevel(random, [95, 90], 35, 88, 80), ...second(pairs(random, [50, 60], 88, 80)) };
    const { error, products } = gram(args);
    expect(error).toBeLessThan(bound);
    expect(products.length).toBeGreaterThan(70);
    expect(gram({ ...tokenLevel(random, [95, 90], 35, 88, 80) }).error).toBeLessThan(bound);
  });

  it('blocks within max_bytes', () => {
    const { error, products } = gram({ ...uniform, a: random.normal([2800, 200]), max_bytes: 20 * 96 * 72 });
    expect(error).toBeLessThan(bound);
    expect(products.map(({ m, n }) => [m, n])).toEqual([
      [104, 48],
      [96, 48],
      [104, 48],
      [96, 48],
    ]);
  });

  it('our own kernels keep small ones, other arithmetic, and blocks too small to be worth it', () => {
    expect(gram({ ...pairs(random, [30, 30], 128, 96) }).products).toEqual([]);
    expect(gram({ ...uniform }, 'tf32').products).toEqual([]);
    expect(gram({ ...uniform, max_bytes: 20 * 31 * 31 }).products).toEqual([]);
  });
});

describe.skipIf(onHardware)('the environment', () => {
  const node = (environment: Record<string, string>, ...args: string[]) =>
    spawnSync(process.execPath, args, {
      encoding: 'utf8',
      env: { ...process.env, HEADFIRST_EMULATED_CUBLAS_LOG: '', ...environment },
    });
  const cublas = (environment: Record<string, string>): string => {
    const { stdout } = node(environment, join(root, 'dist/cli/main.js'), 'info', '--json');
    return (JSON.parse(stdout) as { cuda: { cublas: string } }).cuda.cublas;
  };
  const program = `
    import { createContext, kernels } from ${JSON.stringify(join(root, 'dist/index.js'))};
    const matrix = (rows, columns) => ({ data: new Float32Array(rows * columns).fill(1), shape: [rows, columns] });
    const context = await createContext({ device: 'cuda', math: 'bf16' });
    const { c } = await kernels.gemm({ a: matrix(300, 400), b: matrix(400, 300) }, { context });
    console.log(c.data[7]);`;

  it('headfirst info says which cuBLAS is used, or why none', () => {
    expect(cublas({})).toMatch(/^cuBLASLt 13\.99\.7 \(.+libemulated_cublasLt\.so\)$/);
    expect(cublas({ HEADFIRST_CUBLAS: 'off' })).toMatch(
      /^none \(HEADFIRST_CUBLAS=off\): .+ our own tensor-core kernel, the slower way$/,
    );
    expect(cublas({ HEADFIRST_CUBLAS_DIR: '/nowhere' })).toMatch(
      /^none \(.*libemulated_cublasLt.+HEADFIRST_CUBLAS_DIR may name the folder that holds it\)/,
    );
  });

  it('HEADFIRST_PROFILE=1 prints the time by name when the process ends', () => {
    const { stdout, stderr } = node({ HEADFIRST_PROFILE: '1' }, '--input-type=module', '-e', program);
    expect(stdout.trim()).toBe('400');
    expect(stderr).toMatch(/^headfirst profile, cuda:0$/m);
    expect(stderr).toMatch(/^pack rows +2 +\d+\.\d{3} +\d+\.\d%$/m);
    expect(stderr).toMatch(/^gemm \(cuBLAS\) 300x400x300 to float32 +1 /m);
    expect(stderr).not.toMatch(/^gemm +\d/m);
  });

  it('HEADFIRST_CUBLAS=off: the same product by our own kernel', () => {
    const { stdout, stderr } = node(
      { HEADFIRST_PROFILE: '1', HEADFIRST_CUBLAS: 'off' },
      '--input-type=module',
      '-e',
      program,
    );
    expect(stdout.trim()).toBe('400');
    expect(stderr).toMatch(/^gemm +1 /m);
    expect(stderr).not.toContain('cuBLAS');
  });

  it('without it nothing is printed', () =>
    expect(node({}, '--input-type=module', '-e', program).stderr).toBe(''));
});
