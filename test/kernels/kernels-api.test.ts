/**
 * kernels.<op> and kernels.<op>Sync: both ways of calling agree, arrays in use are leased, nothing grows,
 * calls are cheap.
 */
import { once } from 'node:events';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';

import { createContext, kernels } from '../../src/index.js';
import { addon } from '../../src/core/addon/addon.js';
import type { KernelArgs, KernelResult, NativeOp } from '../../src/core/addon/contract.js';
import { packedCall } from '../../src/kernels/pack.js';
import { allCases } from '../cases/index.js';
import { entry, prepare } from '../helpers/kernels.js';
import { Random } from '../helpers/random.js';

const matrix = (rows: number, columns: number, value = 1) => ({
  data: new Float32Array(rows * columns).fill(value),
  shape: [rows, columns],
});
const code = (call: () => unknown): string | undefined => {
  try {
    call();
    return undefined;
  } catch (error) {
    return (error as { code: string }).code;
  }
};
const { best } = addon.cpu; // what calls without a backend take: HEADFIRST_ISA may lower it
const bytes = (result: KernelResult) =>
  Object.fromEntries(
    Object.entries(result).map(([name, view]) => [
      name,
      Buffer.from(view.data.buffer as ArrayBuffer).toString('base64'),
    ]),
  );

describe('every op', () => {
  it('has an asynchronous and a synchronous function of its own name', () => {
    expect(Object.keys(kernels).sort()).toEqual(
      addon.ops.flatMap(({ name }) => [name, `${name}Sync`]).sort(),
    );
  });
  it.each(allCases.map((cases) => [cases.op, cases] as const))(
    '%s: packed, general and asynchronous calls give the same bits',
    async (name, cases) => {
      const op: NativeOp = entry(name);
      using context = await createContext({ threads: 1 });
      let packed = 0;
      for (const test of cases.cases.slice(0, 4)) {
        const args = () => prepare(op, test.args(new Random(7)), best).args;
        const expected = bytes(op.runSync(args(), { backend: best, threads: 1 }));
        const fast = packedCall(op)(args());
        if (fast !== undefined) {
          ++packed;
          expect(bytes(fast)).toEqual(expected);
        }
        const call = (
          kernels as unknown as Record<string, (args: KernelArgs, options: object) => Promise<KernelResult>>
        )[name]!;
        expect(bytes(await call(args(), { context }))).toEqual(expected);
      }
      expect(packed, 'no case took the packed way').toBeGreaterThan(0);
    },
  );
  it('words mistakes alike in both ways of calling', async () => {
    const bad = { a: matrix(2, 3), b: matrix(4, 2), c: matrix(2, 2) };
    expect(code(() => kernels.gemmSync(bad))).toBe('ERR_SHAPE');
    await expect(kernels.gemm(bad)).rejects.toMatchObject({ code: 'ERR_SHAPE' });
    expect(code(() => kernels.gemmSync({ ...bad, b: matrix(3, 2), alhpa: 1 } as never))).toBe(
      'ERR_INVALID_ARG',
    );
    expect(code(() => kernels.gemmSync({ ...bad, b: { data: new Float32Array(5), shape: [3, 2] } }))).toBe(
      'ERR_SHAPE',
    );
    expect(
      code(() => kernels.gemmSync({ ...bad, b: { data: new Float32Array(6), shape: [3, 2], offset: 1 } })),
    ).toBe('ERR_SHAPE');
    expect(code(() => kernels.gemmSync({ ...bad, b: { data: new Float64Array(6), shape: [3, 2] } }))).toBe(
      'ERR_DTYPE',
    );
    expect(code(() => kernels.gemmSync(undefined as never))).toBe('ERR_INVALID_ARG');
  });
});

it('what is missing or misshapen is named, not the output whose size would follow from it', () => {
  const said = (args: object) => {
    try {
      kernels.gemmSync(args as never);
    } catch (error) {
      return (error as Error).message;
    }
    return '';
  };
  expect(said({})).toBe('gemm: a of shape (M K) is required, got nothing');
  expect(said({ a: matrix(2, 3) })).toBe('gemm: b of shape (K N) is required, got nothing');
  expect(said({ a: new Float32Array(6), b: matrix(3, 2) })).toBe(
    'gemm: a must have 2 dimensions (M K), got 1',
  );
});

describe('arrays in use by a job', () => {
  const n = 400;
  it('may be read by others, not written; and what it writes is its own', async () => {
    const a = matrix(n, n);
    const b = matrix(n, n);
    const c = matrix(n, n, 0);
    const busy = expect.objectContaining({
      code: 'ERR_BUSY',
      message: expect.stringContaining('pending job of gemm'),
    });
    const job = kernels.gemm({ a, b, c }); // in the default context, from the call on
    expect(code(() => kernels.gemmSync({ a: matrix(n, n), b, c }))).toBe('ERR_BUSY');
    const results = await Promise.allSettled([job, kernels.gemm({ a, b })]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled']);

    using context = await createContext({ threads: 1 });
    const first = kernels.gemm({ a, b, c }, { context });
    await expect(kernels.gemm({ a, b, c }, { context })).rejects.toEqual(busy);
    await expect(kernels.gemm({ a: c, b }, { context })).rejects.toEqual(busy);
    expect(code(() => kernels.gemmSync({ a: matrix(n, n), b, c }))).toBe('ERR_BUSY');
    expect(code(() => kernels.gemmSync({ a: b, b, c: a }))).toBe('ERR_BUSY');
    const { c: out } = await first;
    expect(out).toBe(c);
    expect(c.data[0]).toBe(n);
    expect(code(() => kernels.gemmSync({ a, b, c }))).toBeUndefined(); // free again
  });
  it('may be dropped by the caller, and a cancelled job gives them back', async () => {
    using context = await createContext({ threads: 1 });
    const c = matrix(n, n);
    const controller = new AbortController();
    const long = 20_000; // the first job is still at work when the last one is aborted
    const jobs = [long, n, n, n, n, n, n, n].map((K) =>
      kernels.gemm({ a: matrix(n, K), b: matrix(K, n) }, { context, signal: controller.signal }),
    );
    const last = kernels.gemm(
      { a: matrix(n, n), b: matrix(n, n), c },
      { context, signal: controller.signal },
    );
    setImmediate(() => controller.abort(new Error('enough')));
    const settled = await Promise.allSettled([...jobs, last]);
    expect(settled.at(-1)).toMatchObject({ status: 'rejected', reason: { message: 'enough' } });
    expect(code(() => kernels.gemmSync({ a: matrix(n, n), b: matrix(n, n), c }))).toBeUndefined();
  });
  it('must not be shared, detached or resizable', async () => {
    const shared = { data: new Float32Array(new SharedArrayBuffer(16)), shape: [2, 2] };
    const detached = matrix(2, 2);
    structuredClone(detached.data.buffer, { transfer: [detached.data.buffer] });
    const resizable = {
      data: new Float32Array(
        new (ArrayBuffer as unknown as new (length: number, options: object) => ArrayBuffer)(16, {
          maxByteLength: 32,
        }),
      ),
      shape: [2, 2],
    };
    for (const a of [shared, detached, resizable])
      await expect(kernels.gemm({ a: a as never, b: matrix(2, 2) })).rejects.toMatchObject({
        code: 'ERR_INVALID_ARG',
      });
    for (const a of [shared, detached])
      expect(code(() => kernels.gemmSync({ a: a as never, b: matrix(2, 2), c: matrix(2, 2) }))).toMatch(
        /ERR_INVALID_ARG|ERR_SHAPE/,
      );
  });
});

describe('cost', () => {
  it('10,000 create, run, dispose cycles in a worker do not grow', async () => {
    const code = `
      const { parentPort, workerData } = require('node:worker_threads');
      require('node:v8').setFlagsFromString('--expose-gc');
      const gc = require('node:vm').runInNewContext('gc');
      const module = { exports: {} };
      process.dlopen(module, workerData);
      const addon = module.exports, gemm = addon.ops.find((op) => op.name === 'gemm');
      const m = () => ({ data: new Float32Array(64), shape: [8, 8] });
      (async () => {
        const after = [];
        for (let i = 0; i < 10000; ++i) {
          const context = new addon.Context({ threads: 1 });
          await gemm.run(context, { a: m(), b: m() }).promise;
          addon.Tensor.from(context, new Float32Array(1024), [32, 32]).dispose();
          context.dispose();
          if ((i + 1) % 2500 === 0) { gc(); await new Promise(setImmediate); after.push(process.memoryUsage().rss); }
        }
        parentPort.postMessage(after);
      })();`;
    const worker = new Worker(code, {
      eval: true,
      workerData: fileURLToPath(new URL('../../build/Release/headfirst.node', import.meta.url)),
    });
    const [after] = (await once(worker, 'message')) as [number[]];
    await worker.terminate();
    process.stderr.write(
      `worker cycles: ${after.map((rss) => (rss / 2 ** 20).toFixed(1)).join(' → ')} MiB resident\n`,
    );
    expect(after.at(-1)! - after[0]!).toBeLessThan(16 * 2 ** 20); // 7,500 cycles: less than 2.2 KiB each, a less than a context takes
  });
  it('a synchronous call costs little over the kernel', () => {
    const args = { a: matrix(1, 1), b: matrix(1, 1), c: matrix(1, 1) };
    const time = () => {
      const begin = performance.now();
      for (let i = 0; i < 2000; ++i) kernels.gemmSync(args);
      return ((performance.now() - begin) * 1000) / 2000;
    };
    const least = Math.min(...Array.from({ length: 15 }, time));
    process.stderr.write(`kernels.gemmSync 1×1×1: ${least.toFixed(2)} µs a call\n`);
    expect(least).toBeLessThan(12); // the aim is 3 over the kernel on an idle machine; this one may be busy
  });
});
