/**
 * `headfirst verify [op…]`: the accuracy rule on two cases of every op, for every backend that this machine
 * runs.
 */
import { addon } from '../src/core/addon/addon.js';
import { onHardware } from '../src/core/addon/runs.js';
import type { BackendName } from '../src/core/addon/contract.js';
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
const results: { op: string; backend: BackendName; problem?: string }[] = [];
for (const cases of allCases.filter((c) => wanted.length === 0 || wanted.includes(c.op)))
  for (const backend of backends) {
    let problem: string | undefined;
    try {
      for (const test of cases.cases.slice(0, 2))
        for (const { op, args } of calls(cases, test, backend)) verify(op, args, backend);
    } catch (error) {
      problem = (error as Error).message;
    }
    results.push({ op: cases.op, backend, ...(problem ? { problem } : {}) });
    if (!json) process.stdout.write(`${cases.op.padEnd(24)} ${backend.padEnd(8)} ${problem ?? 'ok'}\n`);
  }
if (json)
  process.stdout.write(
    `${JSON.stringify({ cuda: addon.cuda, results: results.map((r) => ({ ...r, ...(r.backend === 'cuda' ? { onHardware: onHardware(r.op) } : {}) })) })}\n`,
  );
else if (!backends.includes('cuda')) process.stdout.write(`cuda not checked: ${addon.cuda.reason}\n`);
if (results.some((r) => r.problem)) process.exitCode = 1;
