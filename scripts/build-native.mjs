// Configures and builds the addon with cmake-js; does nothing but a quick check when it is up to date.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
const run = (...args) => {
  const { status } = spawnSync(process.execPath, [cmakeJs, ...args, '--log-level', 'warn'], {
    cwd: root,
    stdio: 'inherit',
  });
  if (status !== 0) process.exit(status ?? 1);
};
// A checkout is built by those who work on it: warnings are errors. A package builds itself without this
// script.
const WARNINGS = 'HEADFIRST_WERROR';
const cacheFile = `${root}/build/CMakeCache.txt`;
const configured = existsSync(cacheFile) && readFileSync(cacheFile, 'utf8').includes(`${WARNINGS}:BOOL=ON`);
if (!configured) run('configure', `--CD${WARNINGS}=ON`);
run('build', '--parallel', String(availableParallelism()));
