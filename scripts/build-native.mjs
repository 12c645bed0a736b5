// Configures and builds the addon with cmake-js; does nothing but a quick check when it is up to date.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
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
if (!existsSync(`${root}/build/CMakeCache.txt`)) run('configure');
run('build', '--parallel', String(availableParallelism()));
