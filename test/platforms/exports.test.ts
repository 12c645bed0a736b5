/**
 * What an addon shows to the process that loads it: the documented exports alone, no executable stack, and,
 * in a platform package, no symbol that an old glibc lacks.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';

import { addon, loadedPath } from '../../src/core/addon/addon.js';
import { loadingFacts } from './elf.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const EXPORTS = ['headfirst_api', 'napi_register_module_v1', 'node_api_module_get_api_version_v1'];
const isLinux = process.platform === 'linux';

it.skipIf(!isLinux)('this addon exports what docs/linking.md names and nothing else (ELF only)', () => {
  const { exported, hasExecutableStack } = loadingFacts(loadedPath);
  expect(exported).toEqual(EXPORTS);
  expect(hasExecutableStack).toBe(false);
});

const isX64Linux = isLinux && process.arch === 'x64';
it.skipIf(!isX64Linux)('this addon runs the instruction sets that Linux lists in /proc/cpuinfo', () => {
  const [, line = ''] = /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8')) ?? [];
  const flags = new Set(line.trim().split(' '));
  const hasAll = (...names: string[]) => names.every((name) => flags.has(name));
  const hasAvx2 = hasAll('avx2', 'fma', 'f16c', 'bmi2');
  const hasAvx512 = hasAvx2 && hasAll('avx512f', 'avx512bw', 'avx512vl', 'avx512dq');
  const expected = ['base', ...(hasAvx2 ? ['avx2'] : []), ...(hasAvx512 ? ['avx512'] : [])];
  expect(addon.cpu.backends).toEqual(expected);
});

/** Numbers of 'GLIBC_2.17'; other versions do not count. */
function glibcVersion(name: string): [number, number] {
  const [, major, minor] = /^GLIBC_(\d+)\.(\d+)/.exec(name) ?? [];
  return [Number(major ?? 0), Number(minor ?? 0)];
}

describe('built by npm run build:platforms', () => {
  for (const target of ['linux-x64', 'linux-arm64', 'linux-x64-musl', 'linux-arm64-musl']) {
    const path = join(root, 'build/platforms', target, 'headfirst.node');
    it.skipIf(!existsSync(path))(`${target} (skipped where build/platforms has none)`, () => {
      const { exported, hasExecutableStack, neededVersions } = loadingFacts(path);
      expect(exported).toEqual(EXPORTS);
      expect(hasExecutableStack).toBe(false);
      const tooNew = neededVersions.filter((name) => {
        const [major, minor] = glibcVersion(name);
        return major > 2 || (major === 2 && minor > 28);
      });
      expect(tooNew).toEqual([]);
      expect(gzipSync(readFileSync(path)).length).toBeLessThan(4e6);
    });
  }
});
