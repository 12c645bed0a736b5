/** No arrow upwards and no circle, in TypeScript (type-only imports included) and in C++ and CUDA. */
import { describe, expect, it } from 'vitest';
import {
  type Arrow,
  columnOf,
  columnProblems,
  cycles,
  importsOf,
  includesOf,
  layeringProblems,
  NATIVE_LAYERS,
  readSources,
  TYPESCRIPT_LAYERS,
} from './layers.js';

describe('src', () => {
  const sources = readSources(['src'], /\.ts$/);
  const imports = importsOf(sources);

  it('imports only from rooms below', () => {
    expect(imports.length).toBeGreaterThan(300);
    expect(layeringProblems(TYPESCRIPT_LAYERS, sources.keys(), imports)).toEqual([]);
  });

  it('has no circle of imports', () => {
    expect(cycles(imports)).toEqual([]);
  });

  it('keeps the paper’s own study out of the index', () => {
    const users = imports.filter(({ to }) => to.startsWith('src/research/')).map(({ from }) => from);
    expect(users.filter((from) => !/^src\/(research|cli)\//.test(from))).toEqual([]);
  });
});

describe('native and binding', () => {
  const sources = readSources(['native', 'binding'], /\.(h|cc|cu|inc)$/);
  const includes = includesOf(sources);
  const shared = (file: string): boolean =>
    columnOf(file) === undefined && !file.startsWith('native/include/');

  it('includes only from rooms below', () => {
    expect(includes.length).toBeGreaterThan(300);
    const arrows = includes.filter(({ from, to }) => shared(from) && shared(to));
    expect(layeringProblems(NATIVE_LAYERS, [...sources.keys()].filter(shared), arrows)).toEqual([]);
  });

  it('keeps every backend to itself, and engines out of it', () => {
    expect(columnProblems(includes)).toEqual([]);
    const engines = /^(native\/(model|policy|ntk|analysis|capi)|binding)\//;
    const upwards = includes.filter(({ from, to }) => columnOf(from) !== undefined && engines.test(to));
    expect(upwards).toEqual([]);
  });

  it('has no circle of includes', () => {
    expect(cycles(includes)).toEqual([]);
  });
});

describe('the check itself', () => {
  const plant = (from: string, text: string): Arrow[] => {
    const sources = new Map([
      ['src/core/low.ts', ''],
      ['src/cli/high.ts', ''],
      ['native/core/low.h', ''],
      ['native/model/high.h', ''],
      ['native/ops/norm/cpu/norm.h', ''],
      [from, text],
    ]);
    return from.startsWith('src') ? importsOf(sources) : includesOf(sources);
  };

  it('is red on an import upwards, type-only or re-exported', () => {
    for (const line of [
      "import { a } from '../cli/high.js';",
      "import type { A } from '../cli/high.js';",
      "export * from '../cli/high.js';",
      "const a = await import('../cli/high.js');",
    ]) {
      const arrows = plant('src/core/low.ts', line);
      expect(layeringProblems(TYPESCRIPT_LAYERS, [], arrows), line).toEqual([
        'src/core/low.ts may not use src/cli/high.ts',
      ]);
    }
  });

  it('is red on an include upwards, on a column seen from outside, and on a file without a room', () => {
    const upwards = plant('native/core/low.h', '#include "model/high.h"');
    expect(layeringProblems(NATIVE_LAYERS, [], upwards)).toHaveLength(1);
    const across = plant('native/model/high.h', '#include "ops/norm/cpu/norm.h"');
    expect(columnProblems(across)).toHaveLength(1);
    expect(layeringProblems(NATIVE_LAYERS, ['native/attic/old.h'], [])).toHaveLength(1);
  });

  it('is red on a circle', () => {
    const circle = [
      { from: 'a', to: 'b' },
      { from: 'b', to: 'c' },
      { from: 'c', to: 'a' },
      { from: 'c', to: 'd' },
    ];
    expect(cycles(circle).map((group) => group.sort())).toEqual([['a', 'b', 'c']]);
    expect(cycles(circle.slice(0, 2))).toEqual([]);
  });
});
