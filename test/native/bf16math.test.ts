/**
 * bf16 math on the CPU: products by AVX512_BF16. With operands that are bfloat16 numbers already they are as
 * exact as float32's, so every case and invariant of gemm has to hold; with others they are those of the
 * rounded operands.
 */
import { spawnSync } from 'node:child_process';
import { beforeAll, describe, expect, it } from 'vitest';

import { type Context, createContext, Model, policyGradient, type Sample, Tensor } from '../../src/index.js';
import { addon } from '../../src/core/addon/addon.js';
import type { CaseArgs } from '../cases/define.js';
import { gemm } from '../cases/linear/gemm.js';
import { gemmPack } from '../cases/linear/gemm_pack.js';
import { golden, goldenFamilies } from '../helpers/files.js';
import { entry, numbers, relativeError, runCase } from '../helpers/kernels.js';
import { Random, type RealTensor } from '../helpers/random.js';
import { seedOf } from '../helpers/parity.js';

/** The nearest bfloat16, the test's own way: 8 significant bits. */
function round(value: number): number {
  if (value === 0 || !Number.isFinite(value)) return value;
  const unit = 2 ** (Math.floor(Math.log2(Math.abs(value))) - 7);
  const steps = value / unit;
  const near = Math.round(steps);
  return (Math.abs(steps - Math.trunc(steps)) === 0.5 ? 2 * Math.round(steps / 2) : near) * unit;
}
const rounded = (args: CaseArgs): CaseArgs => ({
  ...args,
  a: roundedTensor(args['a'] as RealTensor),
  b: roundedTensor(args['b'] as RealTensor),
});
const roundedTensor = (t: RealTensor): RealTensor => ({
  ...t,
  data: t.data.map((x) => round(Math.fround(x))),
});

const bf16 = { math: 'bf16' } as const;
const op = entry('gemm');

describe.skipIf(!addon.cpu.bf16Dot)('math bf16 on a processor with AVX512_BF16 (skipped without)', () => {
  it.each(gemm.cases)('$name', (test) => {
    const args = test.args(new Random(seedOf(test.name)));
    const exact = rounded(args);
    const [expected, naive] = (['reference64', 'reference32'] as const).map(
      (backend) => runCase(op, exact, backend)['c']!,
    );
    const ours = runCase(op, args, 'avx512', bf16)['c']!;
    expect(relativeError(ours, expected!)).toBeLessThanOrEqual(2 * relativeError(naive!, expected!) + 1e-6);
    expect(numbers(runCase(op, exact, 'avx512', bf16)['c']!), 'operands rounded before').toEqual(
      numbers(ours),
    );
    expect(numbers(runCase(op, args, 'avx512', { ...bf16, threads: 3 })['c']!), 'threads').toEqual(
      numbers(ours),
    );
    expect(numbers(runCase(op, args, 'avx512', { ...bf16, padRows: true })['c']!), 'padded rows').toEqual(
      numbers(ours),
    );
  });

  it.each([...gemm.invariants!, ...gemmPack.invariants!])('invariant: $name', (invariant) => {
    invariant.check(
      (name, args) => runCase(entry(name), args, 'avx512', bf16),
      new Random(seedOf(invariant.name)),
      'float32',
    );
  });

  it('subnormal operands are zeros, however they lie', () => {
    for (const layout of [undefined, 'columns', 'spread'] as const) {
      const a: RealTensor = {
        data: new Float64Array(40 * 20).fill(2 ** -126 - 2 ** -136),
        shape: [40, 20],
        ...(layout ? { layout } : {}),
      };
      const b: RealTensor = { data: new Float64Array(20 * 40).fill(2 ** 100), shape: [20, 40] };
      expect(
        numbers(runCase(op, { a, b }, 'avx512', bf16)['c']!).every((c) => c === 0),
        layout,
      ).toBe(true);
    }
  });

  it('refuses what gemm_pack made in another math', () => {
    const b = new Random(3).normal([16, 40]);
    const a = new Random(4).normal([2, 16]);
    const packed = { data: new Float64Array(64 + 4 * 16 * 64), shape: [64 + 4 * 16 * 64] };
    const panels = numbers(runCase(entry('gemm_pack'), { b, packed }, 'avx512')['packed']!);
    expect(() =>
      runCase(op, { a, b, packed_b: { data: panels, shape: [panels.length] } }, 'avx512', bf16),
    ).toThrow('in this math');
  });

  describe('an engine', () => {
    let context: Context;
    let plain: Context;
    beforeAll(async () => {
      [context, plain] = await Promise.all([
        createContext({ device: 'cpu', math: 'bf16', threads: 2 }),
        createContext({ device: 'cpu', threads: 1 }),
      ]);
    });
    const samples: Sample[] = [
      { inputIds: [3, 14, 15, 9, 26, 5, 35], scoreFrom: 2 },
      { inputIds: [8, 9, 7, 9], scoreFrom: 1 },
    ];
    const coefficients = Float32Array.from({ length: 8 }, (_, i) => Math.cos(i + 1));
    const distance = (actual: ArrayLike<number>, expected: ArrayLike<number>) =>
      relativeError(
        { data: Float64Array.from(actual), shape: [actual.length] },
        { data: Float64Array.from(expected), shape: [expected.length] },
      );

    it.each(goldenFamilies)('%s: gradients within 3 % of float32’s, and not the same', async (name) => {
      const gradients = async (c: Context) => {
        const model = await Model.fromPretrained(golden(name), { context: c });
        await model.accumulateGradients(samples, { loss: 'clip', advantages: coefficients });
        return (
          await Promise.all(model.parameters().map(async (p) => [...(await model.getGradient(p.name))]))
        ).flat();
      };
      const error = distance(await gradients(context), await gradients(plain));
      expect(error).toBeLessThan(0.03);
      expect(error).toBeGreaterThan(1e-4);
    });

    it.each(goldenFamilies)(
      '%s: scores what it sampled with the probabilities it was sampled from',
      async (name) => {
        const model = await Model.fromPretrained(golden(name), { context });
        const prompts = [
          [3, 1, 4],
          [1, 5],
          [9, 2, 6, 5],
        ];
        const completions = await model.generate(prompts, {
          maxNewTokens: 16,
          numReturnSequences: 5,
          seed: 2,
          stop: [],
        });
        const { logps } = await model.logprobs({ inputIds: completions.map((c) => c.inputIds) });
        completions.forEach((c, i) =>
          c.logps.forEach((logp, t) =>
            expect(Math.abs(logps[i]!.at(t - c.logps.length)! - logp)).toBeLessThan(1e-5),
          ),
        );
      },
    );

    it('policyGradient: every output within 2 % of float32’s', async () => {
      const [N, C, V] = [70, 48, 400];
      const random = new Random(8);
      const hidden = Float32Array.from(random.normal([N, C]).data);
      const weight = Float32Array.from(random.normal([V, C]).data, (x) => 0.2 * x);
      const targets = random.integers([N], 0, V).data;
      const run = async (c: Context) => {
        const { gradHidden, gradWeight, logps, entropy } = await policyGradient({
          hidden: Tensor.from(c, hidden, [N, C]),
          weight: Tensor.from(c, weight, [V, C]),
          targets,
          coefficients: new Float32Array(N).fill(1 / N),
          gradHidden: true,
          gradWeight: true,
        });
        return [await gradHidden!.data(), await gradWeight!.data(), logps, entropy];
      };
      const exact = await run(plain);
      (await run(context)).forEach((output, i) =>
        expect(distance(output as Float32Array, exact[i] as Float32Array)).toBeLessThan(0.02),
      );
    });
  });
});

it.skipIf(addon.cuda.devices.length > 0)(
  'bf16 math on the CPU is not chosen by itself (skipped with a GPU)',
  async () => {
    await expect(createContext({ math: 'bf16' })).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining("ask for device 'cpu'") as string,
    });
  },
);

it('a context in bf16 math is refused where the kernels in use lack the instruction', () => {
  const source = `import { createContext } from '${new URL('../../dist/index.js', import.meta.url).href}'; await createContext({ device: 'cpu', math: 'bf16' }).then(() => console.log('made'), (e) => console.log(e.code, e.message))`;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', source], {
    encoding: 'utf8',
    env: { ...process.env, HEADFIRST_ISA: 'base' },
  });
  expect(stdout).toContain("ERR_UNSUPPORTED createContext: math 'bf16' on the CPU needs AVX512_BF16");
});
