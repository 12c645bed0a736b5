/** Every op on its case file's benchmark shapes, checked against the reference before it is timed. */
import { allCases } from '../test/cases/index.js';
import type { CaseArgs, OpCase, OpCases } from '../test/cases/define.js';
import {
  derivedArgs,
  entry,
  hasEntry,
  isTensorField,
  prepare,
  relativeError,
  runCase,
} from '../test/helpers/kernels.js';
import { Random } from '../test/helpers/random.js';
import type { BackendName, KernelResult, NativeMath, NativeOp } from '../src/core/addon/contract.js';
import { measure } from './harness.js';
import { bound, type Settings } from './types.js';

/**
 * Above this the plain reference would take longer than the benchmark: a small case of the op is checked
 * instead.
 */
const VERIFY_FLOPS = 2e8;
const SEED = 17;

/** Our error may be twice the naive float32 evaluation's plus 1e-6, as in the tests. */
export function verify(op: NativeOp, args: CaseArgs, backend: BackendName, math: NativeMath = 'fp32'): void {
  const [expected, naive, ours] = (['reference64', 'reference32', backend] as const).map((b) =>
    runCase(op, args, b, { math }),
  ) as [KernelResult, KernelResult, KernelResult];
  for (const field of op.fields) {
    if ((field.kind !== 'out' && field.kind !== 'inout') || field.dtype === 'uint8' || !expected[field.name])
      continue;
    const error = relativeError(ours[field.name]!, expected[field.name]!);
    const allowed =
      field.dtype === 'int32' ? 0 : 2 * relativeError(naive[field.name]!, expected[field.name]!) + 1e-6;
    if (!(error <= allowed))
      throw new Error(
        `${op.name}: ${field.name} is wrong on ${backend}: relative error ${error.toExponential(1)}, allowed ${allowed.toExponential(1)}; nothing was timed`,
      );
  }
}

/** The forward call and, where there are, its backward and jvp calls. */
export function calls(
  cases: OpCases,
  test: OpCase,
  backend: BackendName,
): { op: NativeOp; args: CaseArgs }[] {
  const random = new Random(SEED);
  const forward = entry(cases.op);
  const args = test.args(random);
  const list = [{ op: forward, args }];
  const derived = [`${cases.op}_backward`, `${cases.op}_jvp`].filter(hasEntry);
  if (derived.length === 0) return list;
  const result = runCase(forward, args, backend);
  for (const name of derived) {
    const extra = name.endsWith('_backward') ? (test.backward?.(random) ?? {}) : {};
    const more = derivedArgs(entry(name), args, result, (shape) => random.normal(shape), extra);
    for (const field of entry(name).fields)
      if (field.kind === 'inout' && more[field.name] === true && isTensorField(field)) {
        const { shape } = args[field.name.slice(2)] as { shape: readonly number[] };
        more[field.name] = { data: new Float64Array(shape.reduce((a, b) => a * b, 1)), shape };
      }
    list.push({ op: entry(name), args: more });
  }
  return list;
}

export const opNames = (): string[] => allCases.map((cases) => cases.op);

export async function benchOps(
  wanted: (op: string) => boolean,
  { backend, threads, limits, peak, rates, report }: Settings,
): Promise<void> {
  for (const cases of allCases) {
    if (!wanted(cases.op)) continue;
    const checked = new Set<string>();
    for (const test of cases.bench) {
      const { math = 'fp32' } = test;
      if (math !== 'fp32' && !rates.bf16Flops) continue;
      for (const { op, args } of calls(cases, test, backend)) {
        const prepared = prepare(op, args, backend).args;
        const cost = op.cost(prepared);
        if (cost.flops <= VERIFY_FLOPS || math !== 'fp32') verify(op, args, backend, math);
        else if (!checked.has(op.name)) {
          for (const small of cases.cases.slice(0, 2))
            for (const call of calls(cases, small, backend)) verify(call.op, call.args, backend);
          for (const name of [cases.op, `${cases.op}_backward`, `${cases.op}_jvp`]) checked.add(name);
        }
        const workspace = op.workspaceBytes(prepared, { backend, threads });
        const timing = await measure(
          `${op.name} ${test.name}`,
          () => op.runSync(prepared, { backend, threads, math }),
          limits,
          () => peak(math),
        );
        const { seconds, by } = bound(timing.peak, rates, cost.flops, cost.bytes);
        report({
          group: 'op',
          name: op.name,
          shape: test.name,
          ...timing,
          flops: cost.flops,
          bytes: cost.bytes,
          workspaceBytes: workspace,
          roofline: seconds / timing.median,
          bound: by,
        });
      }
    }
  }
}
