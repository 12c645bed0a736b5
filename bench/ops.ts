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
import { bound, type Line, type Settings } from './types.js';

/**
 * Above this the plain reference would take longer than the benchmark: a small case of the op is checked
 * instead.
 */
const VERIFY_FLOPS = 2e8;
const SEED = 17;

/** Our error may be twice the naive float32 evaluation's plus 1e-6, as in the tests. */
export function verify(op: NativeOp, args: CaseArgs, backend: BackendName, math: NativeMath = 'fp32'): void {
  const expected: KernelResult = runCase(op, args, 'reference64', { math });
  const naive: KernelResult = runCase(op, args, 'reference32', { math });
  const ours: KernelResult = runCase(op, args, backend, { math });
  for (const field of op.fields) {
    const isOutput = field.kind === 'out' || field.kind === 'inout';
    const exact = expected[field.name];
    if (!isOutput || field.dtype === 'uint8' || !exact) continue;
    const error = relativeError(ours[field.name]!, exact);
    const rounding = 2 * relativeError(naive[field.name]!, exact) + 1e-6;
    const allowed = field.dtype === 'int32' ? 0 : rounding;
    if (!(error <= allowed))
      throw new Error(
        `${op.name}: ${field.name} is wrong on ${backend}: relative error ${error.toExponential(1)}, allowed ` +
          `${allowed.toExponential(1)}; nothing was timed`,
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

export async function benchOps(wanted: (op: string) => boolean, settings: Settings): Promise<void> {
  for (const cases of allCases) {
    if (!wanted(cases.op)) continue;
    const checked = new Set<string>();
    for (const test of cases.bench) {
      if (test.math === 'bf16' && !settings.rates.bf16Flops) continue;
      for (const call of calls(cases, test, settings.backend))
        settings.report(await benchCall(cases, test, call, checked, settings));
    }
  }
}

type Call = ReturnType<typeof calls>[number];

/** Checks one call and times it. `checked`: entry points whose small cases have been checked. */
async function benchCall(
  cases: OpCases,
  test: OpCase,
  { op, args }: Call,
  checked: Set<string>,
  { backend, threads, limits, peak, rates }: Settings,
): Promise<Line> {
  const { math = 'fp32', name: shape } = test;
  const prepared = prepare(op, args, backend).args;
  const { flops, bytes } = op.cost(prepared);
  if (flops <= VERIFY_FLOPS || math !== 'fp32') verify(op, args, backend, math);
  else if (!checked.has(op.name)) verifySmall(cases, backend, checked);

  const workspaceBytes = op.workspaceBytes(prepared, { backend, threads });
  const timing = await measure(
    `${op.name} ${shape}`,
    () => op.runSync(prepared, { backend, threads, math }),
    limits,
    () => peak(math),
  );
  const { seconds, by } = bound(timing.peak, rates, flops, bytes);
  return {
    group: 'op',
    name: op.name,
    shape,
    ...timing,
    flops,
    bytes,
    workspaceBytes,
    roofline: seconds / timing.median,
    bound: by,
  };
}

/** Checks all entry points of an op on its first two cases. */
function verifySmall(cases: OpCases, backend: BackendName, checked: Set<string>): void {
  for (const small of cases.cases.slice(0, 2))
    for (const { op, args } of calls(cases, small, backend)) verify(op, args, backend);
  for (const entryPoint of [cases.op, `${cases.op}_backward`, `${cases.op}_jvp`]) checked.add(entryPoint);
}
