/**
 * Every op once on the GPU in every math, on small cases and one that spans several blocks: what
 * compute-sanitizer runs (scripts/gpu-run.sh), which slows kernels a hundredfold. Without vitest. `node
 * build/bench/test/cuda/sanitize.js [seconds [ops…]]` stops after that many seconds and says what it left
 * out.
 */
import { addon } from '../../src/core/addon/addon.js';
import type { NativeMath } from '../../src/core/addon/contract.js';
import { allCases } from '../cases/index.js';
import type { CaseArgs, OpCase, OpCases } from '../cases/define.js';
import { detours } from '../helpers/detours.js';
import { entry, prepare, runCase } from '../helpers/kernels.js';
import { pairs } from '../helpers/pairs.js';
import { callsOf } from '../helpers/parity.js';
import { Random } from '../helpers/random.js';

const [limit = '25', ...ops] = process.argv.slice(2);

interface Call {
  readonly label: string;
  readonly name: string;
  readonly args: CaseArgs;
}
const size = (args: CaseArgs) =>
  Object.values(args).reduce(
    (sum: number, value) => sum + (typeof value === 'object' ? value.data.length : 0),
    0,
  );

/**
 * Two of the smallest cases with any work, one from the middle, and the largest that a slowed-down GPU can
 * take.
 */
function chosen(cases: OpCases): OpCase[] {
  const sized = cases.cases
    .map((test) => ({ test, args: test.args(new Random(1)) }))
    .map(({ test, args }) => ({
      test,
      size: size(args),
      flops: entry(cases.op).cost(prepare(entry(cases.op), args, 'cuda').args).flops,
    }))
    .filter((c) => c.size > 8 && c.size < 2e5 && c.flops < 3e7)
    .sort((a, b) => a.size - b.size);
  return [...new Set([0, 1, Math.floor(sized.length / 2), sized.length - 1])].flatMap(
    (i) => sized[i]?.test ?? [],
  );
}

/** The products that only Hopper runs begin at sizes that no case has. */
function wide(): Call[] {
  const random = new Random(1);
  const [N, C, V] = [1030, 64, 300];
  const rows = {
    hidden: random.normal([N, C]),
    weight: random.normal([V, C], 0.2),
    targets: random.integers([N], 0, V),
    coefficients: random.normal([N]),
    entropy: true,
    lse: true,
    d_hidden: true,
    d_weight: true,
  };
  return [
    { label: 'wide', name: 'linear_policy_gradient', args: rows },
    {
      label: 'wide',
      name: 'token_gram',
      args: { ...pairs(random, [...Array<number>(30).fill(32), 7, 0, 129], 64, 64) },
    },
  ];
}
const roundabout = (): Call[] =>
  detours(new Random(2)).map(({ name, args }) => ({ label: name, name: 'gemm', args }));

const device = addon.cuda.devices.find((d) => d.problem === undefined);
if (!device) {
  process.stderr.write(`headfirst: sanitize: ${addon.cuda.reason}\n`);
  process.exit(1);
}
const calls: Call[] = [
  ...allCases.flatMap((cases) =>
    chosen(cases).flatMap((test) => callsOf(cases, test).map((call) => ({ label: test.name, ...call }))),
  ),
  ...wide(),
  ...roundabout(),
];
let done = 0;
// The maths outside: should time run out, every op has run in at least one.
const all = (['bf16', 'fp32', 'tf32'] as NativeMath[]).flatMap((math) =>
  calls.filter((call) => ops.length === 0 || ops.includes(call.name)).map((call) => ({ math, ...call })),
);
for (const { math, label, name, args } of all) {
  if (performance.now() > 1e3 * Number(limit)) break;
  try {
    runCase(entry(name), args, 'cuda', { math });
  } catch (error) {
    process.stdout.write(
      `${name}, ${label}, ${math}: ${error instanceof Error ? error.message : String(error)}\n`,
    );
    process.exitCode = 1;
  }
  ++done;
}
const next = all[done];
const rest = next ? `; not reached: ${next.name}, ${next.label}, ${next.math} and what follows` : '';
const seconds = (performance.now() / 1e3).toFixed(1);
process.stdout.write(`${done} of ${all.length} calls on ${device.name} in ${seconds} s${rest}\n`);
