// Configures and builds the addon with cmake-js; does nothing but a quick check when it is up to date.
//   node scripts/build-native.mjs [--cuda] [--tests]
//     --cuda    the CUDA kernels, too, which otherwise are built where there is a GPU and nvcc
//     --tests   what the tests need: every instruction set, the emulated device, warnings are errors.
//               In CI (HEADFIRST_CI=1) that includes the CUDA kernels.
// HEADFIRST_ISAS=all builds the CPU kernels for other machines, too (cmake/isas.cmake).
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values: asked } = parseArgs({
  options: { cuda: { type: 'boolean', default: false }, tests: { type: 'boolean', default: false } },
});
const root = fileURLToPath(new URL('..', import.meta.url));
const build = join(root, 'build');

function run(program, ...args) {
  const { status } = spawnSync(program, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

/** What the options of CMakeLists.txt have to be; one that is not named stays as it is. */
function wantedOptions() {
  const wanted = {};
  if (process.env.HEADFIRST_ISAS) wanted.HEADFIRST_ISAS = process.env.HEADFIRST_ISAS;
  if (asked.cuda || (asked.tests && process.env.HEADFIRST_CI === '1')) wanted.HEADFIRST_CUDA = 'ON';
  if (!asked.tests) return wanted;
  return { HEADFIRST_ISAS: 'all', ...wanted, HEADFIRST_TESTS: 'ON', HEADFIRST_WERROR: 'ON' };
}

/** What they are, by CMake's own record; undefined before the first time. */
function presentOptions() {
  const record = join(build, 'CMakeCache.txt');
  if (!existsSync(record)) return undefined;
  const lines = readFileSync(record, 'utf8').matchAll(/^(HEADFIRST_\w+):\w+=(.*)$/gm);
  return Object.fromEntries([...lines].map(([, name, value]) => [name, value]));
}

// Whoever builds for the first time wants to see something soon: kernels for this machine.
const FIRST = { HEADFIRST_ISAS: 'native' };

const wanted = wantedOptions();
const present = presentOptions();
const isConfigured =
  present !== undefined && Object.entries(wanted).every(([name, value]) => present[name] === value);
if (!isConfigured) {
  const options = present === undefined ? { ...FIRST, ...wanted } : wanted;
  const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
  const definitions = Object.entries(options).map(([name, value]) => `--CD${name}=${value}`);
  run(process.execPath, cmakeJs, 'configure', '--log-level', 'warn', ...definitions);
}

run(
  'cmake',
  ...['--build', build, '--config', 'Release', '--parallel', String(availableParallelism())],
  ...['--target', asked.tests ? 'all' : 'addons'],
);
