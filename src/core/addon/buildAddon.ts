/**
 * Builds the addon from the shipped sources with plain CMake: no network, no install script. The repository's
 * own build uses cmake-js.
 */
import { spawnSync, type SpawnSyncReturns, type StdioOptions } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

import { fail } from '../../errors.js';
import { localAddon, root } from './locate.js';

const INSTALL =
  'install CMake 3.20 or newer, make and a C++20 compiler (Debian: apt-get install cmake make g++; ' +
  'Alpine: apk add cmake make g++; macOS: xcode-select --install and brew install cmake)';

/** How cmake says that there is no compiler or no make. */
const NO_COMPILER =
  /CMAKE_CXX_COMPILER|CMAKE_MAKE_PROGRAM|compiler is broken|is not able to compile a simple test program/;

interface BuildOptions {
  /** Files compiled at a time. Default: one per processor. */
  readonly jobs?: number;
  /** The CUDA kernels, too. Default: where a GPU and nvcc are found. */
  readonly cuda?: boolean;
}

/**
 * The path of the addon. @throws ERR_UNSUPPORTED without CMake or a compiler, ERR_IO when compiling fails.
 */
export function buildNative({ jobs = availableParallelism(), cuda }: BuildOptions = {}): string {
  const build = join(root, 'build');
  configure(build, cuda);
  // Compiling is long and shows its progress.
  const compiled = cmake(
    ['--build', build, '--target', 'addons', '--parallel', String(jobs)],
    ['ignore', 2, 2],
  );
  if (compiled.status !== 0)
    fail(
      'ERR_IO',
      'headfirst build: compiling failed (see above); with little memory try --jobs 1; ' +
        'GCC 11 or Clang 14 is the oldest compiler',
    );
  return localAddon();
}

function configure(build: string, cuda: boolean | undefined): void {
  const wantsCuda = cuda === undefined ? 'AUTO' : cuda ? 'ON' : 'OFF';
  // Configuring is quiet, and its output a diagnosis.
  const { status, stdout, stderr } = cmake(
    [
      '-S',
      root,
      '-B',
      build,
      '-DCMAKE_BUILD_TYPE=Release',
      `-DHEADFIRST_CUDA=${wantsCuda}`,
      `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${join(build, 'Release')}`,
    ],
    ['ignore', 'pipe', 'pipe'],
  );
  if (status === 0) return;
  const output = `${stdout ?? ''}${stderr ?? ''}`;
  if (NO_COMPILER.test(output))
    fail('ERR_UNSUPPORTED', `headfirst build: no working C++ compiler or make was found; ${INSTALL}`);
  const firstError = /CMake Error[\s\S]*/.exec(output)?.[0].slice(0, 800) ?? output.slice(-800);
  fail('ERR_IO', `headfirst build: cmake could not configure ${build}: ${firstError.trim()}`);
}

function cmake(args: readonly string[], stdio: StdioOptions): SpawnSyncReturns<string> {
  const child = spawnSync('cmake', args, { cwd: root, encoding: 'utf8', stdio });
  if ((child.error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT')
    fail('ERR_UNSUPPORTED', `headfirst build: cmake was not found; ${INSTALL}`);
  return child;
}
