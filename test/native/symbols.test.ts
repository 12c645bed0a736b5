/**
 * Files compiled once per instruction set export no weak symbol: the linker keeps one copy of those, perhaps
 * the AVX-512 one, and would run it on a machine without (docs/architecture.md).
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const objects = fileURLToPath(new URL('../../build/CMakeFiles/', import.meta.url));
const folderOf = (set: string): string => join(objects, `headfirst_${set}.dir/native`);
const sets = ['cpu_base', 'cpu_avx2', 'cpu_avx512'].filter((set) => existsSync(folderOf(set)));
const nm = spawnSync('nm', ['--version']).status === 0;

it.skipIf(!nm || sets.length === 0)(
  'no weak symbols (skipped without nm or without a build from source)',
  () => {
    for (const set of sets) {
      const names = readdirSync(folderOf(set), { recursive: true, encoding: 'utf8' });
      const files = names.filter((name) => name.endsWith('.o')).map((name) => join(folderOf(set), name));
      expect(files.length, set).toBeGreaterThan(10);
      const { stdout, status } = spawnSync('nm', ['-A', ...files], { encoding: 'utf8', maxBuffer: 1 << 28 });
      expect(status).toBe(0);
      expect(
        stdout.split('\n').filter((line) => / [WVu] /.test(line)),
        set,
      ).toEqual([]);
    }
  },
);
