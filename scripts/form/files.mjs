// Which files of a checkout the gates for form look at.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

// Written by a script or taken from a run: nobody edits them, so no rule of form applies to them.
const GENERATED = [
  'package-lock.json',
  'src/kernels/generated.ts',
  'docs/options.md',
  'native/backends/cuda/resources.json',
  'native/backends/cuda/runs.json',
  'native/cuda/resources.json',
  'native/cuda/runs.json',
  'bench/results/',
  'docs/examples/',
  'test/golden/',
  'test/fixtures/',
];

/** The files of the checkout at `root` that git tracks or would track, without generated ones. */
export function ownFiles(root) {
  const listed = spawnSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (listed.status !== 0) throw new Error(`git ls-files failed in ${root}: ${listed.stderr}`);
  const names = [...new Set(listed.stdout.split('\0'))].filter((name) => name !== '');
  const generated = (name) =>
    GENERATED.some((known) => name === known || (known.endsWith('/') && name.startsWith(known)));
  return names.filter((name) => !generated(name) && existsSync(join(root, name)));
}

const CPP_TREES = /^(native|binding|test)\//;
const CPP_NAMES = /\.(cc|h|cu|cuh|inc)$/;
const SCRIPT_NAMES = /\.(ts|mts|mjs)$/;

/** C++ and CUDA sources. */
export const isCpp = (name) => CPP_TREES.test(name) && CPP_NAMES.test(name);

/** TypeScript and JavaScript modules. */
export const isScript = (name) => SCRIPT_NAMES.test(name);
