// `npm run build:platforms [-- target…]`: the addon for lines of npm/platforms.json, compiled here by zig c++
// (docs/platforms.md). It goes to build/platforms/<target>/headfirst.node.
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { prepareZig, run } from './platforms/zig.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const platforms = JSON.parse(readFileSync(join(root, 'npm/platforms.json'), 'utf8'));

function build(target, zigPrograms) {
  const folder = join(root, 'build/platforms', target);
  const { ZIG_GLOBAL_CACHE_DIR: shared = join(root, '.cache/zig-objects') } = process.env;
  const env = { ...process.env, ZIG_GLOBAL_CACHE_DIR: shared, ZIG_LOCAL_CACHE_DIR: shared };
  mkdirSync(shared, { recursive: true });
  const options = {
    CMAKE_TOOLCHAIN_FILE: join(root, 'cmake/zig.cmake'),
    CMAKE_BUILD_TYPE: 'Release',
    CMAKE_LIBRARY_OUTPUT_DIRECTORY: folder,
    CMAKE_RUNTIME_OUTPUT_DIRECTORY: folder,
    HEADFIRST_ZIG_BIN: zigPrograms,
    HEADFIRST_TARGET: target,
    HEADFIRST_CUDA: 'OFF',
    HEADFIRST_WERROR: 'ON',
  };
  const defined = Object.entries(options).map(([name, value]) => `-D${name}=${value}`);
  if (!existsSync(join(folder, 'CMakeCache.txt')))
    run('cmake', ['-S', root, '-B', folder, '--log-level=WARNING', ...defined], { env });
  run('cmake', ['--build', folder, '--target', 'headfirst', '--parallel', String(availableParallelism())], {
    env,
  });
}

const { positionals } = parseArgs({ allowPositionals: true });
const targets = positionals.length > 0 ? positionals : Object.keys(platforms);
const unknown = targets.find((target) => platforms[target] === undefined);
if (unknown !== undefined) {
  const known = Object.keys(platforms).join(', ');
  process.stderr.write(`build-platforms: there is no target '${unknown}'; there are ${known}\n`);
  process.exit(2);
}
const zigPrograms = prepareZig(root, platforms);
for (const target of targets) build(target, zigPrograms);
