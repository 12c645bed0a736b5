// A vitest reporter for npm run test:gpu. It writes what passed on which GPU to bench/results, and to
// native/backends/cuda/runs.json, from where `headfirst info` and createContext({ device: 'auto' }) learn
// that the kernels have run on hardware. Commit both.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** What a program prints; nothing where it fails. */
function output(command, ...args) {
  try {
    const options = { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] };
    return execFileSync(command, args, options).trim();
  } catch {
    return '';
  }
}

function commit() {
  const changes = output('git', 'status', '--porcelain') ? ' with changes' : '';
  return process.env.HEADFIRST_COMMIT ?? `${output('git', 'rev-parse', '--short', 'HEAD')}${changes}`;
}

const isPassed = (test) => test.state === 'passed';
const writeJson = (file, value) => writeFileSync(file, `${JSON.stringify(value, null, 1)}\n`);

export default class {
  onTestRunEnd(modules) {
    const { cuda, ops, version } = createRequire(import.meta.url)(
      join(root, 'build/Release/headfirst_cuda.node'),
    );
    const device = cuda.devices[0];
    if (!device) return;
    const tests = modules.flatMap((module) =>
      [...module.children.allTests()].map((test) => ({
        file: module.moduleId.split('/').at(-1),
        name: test.fullName,
        state: test.result().state,
      })),
    );
    const rows = [...new Set(ops.map((op) => op.op))];
    const testsOf = (op) =>
      tests.filter((test) => test.file === 'kernels.test.ts' && test.name.startsWith(`${op} >`));
    const passed = rows.filter((op) => testsOf(op).length > 0 && testsOf(op).every(isPassed));
    const run = {
      date: new Date().toISOString(),
      gpu: device.name,
      computeCapability: device.computeCapability,
      driver: output('nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader'),
      commit: commit(),
      version,
      passed,
      failed: rows.filter((op) => !passed.includes(op)),
    };
    const folder = process.env.OUT ?? join(root, 'bench/results');
    mkdirSync(folder, { recursive: true });
    writeJson(join(folder, `${run.date.slice(0, 10)}-gpu-parity.json`), { ...run, tests });
    const record = join(root, 'native/backends/cuda/runs.json');
    const { runs } = JSON.parse(readFileSync(record, 'utf8'));
    writeJson(record, { runs: [...runs, run] });
    process.stdout.write(`${device.name}: ${passed.length} of ${rows.length} ops passed\n`);
  }
}
