/**
 * `headfirst verify [op…]`: the accuracy rule on two cases of every op, for every backend that this machine
 * runs.
 */
import { addon } from '../src/core/addon/addon.js';
import { onHardware } from '../src/core/addon/runs.js';
import type { BackendName } from '../src/core/addon/contract.js';
import type { OpCases } from '../test/cases/define.js';
import { allCases } from '../test/cases/index.js';
import { calls, verify } from './ops.js';

const json = process.argv.includes('--json');
const wanted = process.argv.slice(2).filter((a) => a !== '--json');
const unknown = wanted.find((name) => !allCases.some((cases) => cases.op === name));
if (unknown) {
  process.stderr.write(`headfirst: verify: there is no op '${unknown}'\n`);
  process.exit(2);
}
const backends: BackendName[] = [
  ...addon.cpu.backends,
  ...(addon.cuda.devices.length > 0 ? ['cuda' as const] : []),
];
interface Result {
  readonly op: string;
  readonly backend: BackendName;
  /** Absent: the op is right. */
  readonly problem?: string;
}

/** What is wrong with the op, on two of its cases. */
function problemOf(cases: OpCases, backend: BackendName): string | undefined {
  try {
    for (const test of cases.cases.slice(0, 2))
      for (const { op, args } of calls(cases, test, backend)) verify(op, args, backend);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

const results: Result[] = [];
for (const cases of allCases) {
  const { op } = cases;
  if (wanted.length > 0 && !wanted.includes(op)) continue;
  for (const backend of backends) {
    const problem = problemOf(cases, backend);
    results.push({ op, backend, ...(problem ? { problem } : {}) });
    if (!json) process.stdout.write(`${op.padEnd(24)} ${backend.padEnd(8)} ${problem ?? 'ok'}\n`);
  }
}
if (json) {
  const described = results.map((result) =>
    result.backend === 'cuda' ? { ...result, onHardware: onHardware(result.op) } : result,
  );
  process.stdout.write(`${JSON.stringify({ cuda: addon.cuda, results: described })}\n`);
} else if (!backends.includes('cuda')) process.stdout.write(`cuda not checked: ${addon.cuda.reason}\n`);
if (results.some((r) => r.problem)) process.exitCode = 1;
