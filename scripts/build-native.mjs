// Configures and builds the addon with cmake-js; does nothing but a quick check when it is up to date.
//   node scripts/build-native.mjs [--warnings-are-errors]
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

// Tests are strict. A demo is not: it may meet a compiler that knows warnings which ours does not.
const wantsStrict = process.argv.includes('--warnings-are-errors');
const cacheFile = `${root}/build/CMakeCache.txt`;
const cache = existsSync(cacheFile) ? readFileSync(cacheFile, 'utf8') : undefined;
const isStrict = cache?.includes('HEADFIRST_WERROR:BOOL=ON') === true;
if (cache === undefined || (wantsStrict && !isStrict))
  run('configure', `--CDHEADFIRST_WERROR=${wantsStrict ? 'ON' : 'OFF'}`);
run('build', '--parallel', String(availableParallelism()));
