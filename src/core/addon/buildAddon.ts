/**
 * Builds the addon from the shipped sources with plain CMake: no network, no install script. The repository's
 * own build uses cmake-js.
 */
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

import { fail } from '../../errors.js';
import { root } from './locate.js';

const INSTALL =
  'install CMake 3.20 or newer, make and a C++20 compiler (Debian: apt-get install cmake make g++; Alpine: apk add cmake make g++; macOS: xcode-select --install and brew install cmake)';

/**
 * @returns the path of the addon. @throws ERR_UNSUPPORTED without CMake or a compiler, ERR_IO when compiling
 * fails.
 */
export function buildNative({
  jobs = availableParallelism(),
  cuda = true,
}: {
  readonly jobs?: number;
  readonly cuda?: boolean;
} = {}): string {
  const build = join(root, 'build');
  const cmake = (...args: string[]) => {
    // Configuring is quiet and its output a diagnosis; compiling is long and shows its progress.
    const child = spawnSync('cmake', args, {
      cwd: root,
      encoding: 'utf8',
      stdio: args[0] === '--build' ? ['ignore', 2, 2] : ['ignore', 'pipe', 'pipe'],
    });
    if ((child.error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT')
      fail('ERR_UNSUPPORTED', `headfirst build: cmake was not found; ${INSTALL}`);
    return child;
  };
  const configured = cmake(
    '-S',
    root,
    '-B',
    build,
    '-DCMAKE_BUILD_TYPE=Release',
    `-DHEADFIRST_CUDA=${cuda ? 'AUTO' : 'OFF'}`,
    `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${join(build, 'Release')}`,
  );
  if (configured.status !== 0) {
    const text = `${configured.stdout ?? ''}${configured.stderr ?? ''}`;
    if (
      /CMAKE_CXX_COMPILER|CMAKE_MAKE_PROGRAM|compiler is broken|is not able to compile a simple test program/.test(
        text,
      )
    )
      fail('ERR_UNSUPPORTED', `headfirst build: no working C++ compiler or make was found; ${INSTALL}`);
    fail(
      'ERR_IO',
      `headfirst build: cmake could not configure ${build}: ${/CMake Error[^]*/.exec(text)?.[0].slice(0, 800).trim() ?? text.slice(-800).trim()}`,
    );
  }
  if (cmake('--build', build, '--parallel', String(jobs)).status !== 0)
    fail(
      'ERR_IO',
      `headfirst build: compiling failed (see above); with little memory try --jobs 1; GCC 11 or Clang 14 is the oldest compiler`,
    );
  return join(build, 'Release/headfirst.node');
}
