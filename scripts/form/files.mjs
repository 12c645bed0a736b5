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
  'bench/results/',
  'docs/examples/',
  'docs/study/',
  'test/golden/',
];

// Lies among what it generates.
const HAND_WRITTEN = ['test/golden/generate.py'];

const isGenerated = (name) =>
  !HAND_WRITTEN.includes(name) &&
  GENERATED.some((known) => name === known || (known.endsWith('/') && name.startsWith(known)));

/** The files of the checkout at `root` that git tracks or would track, without generated ones. */
export function ownFiles(root) {
  const listed = spawnSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (listed.status !== 0) throw new Error(`git ls-files failed in ${root}: ${listed.stderr}`);
  const names = [...new Set(listed.stdout.split('\0'))].filter((name) => name !== '');
  return names.filter((name) => !isGenerated(name) && existsSync(join(root, name)));
}

const CPP_TREES = /^(native|binding|test)\//;
const CPP_NAMES = /\.(cc|h|cu|cuh|inc)$/;
const SCRIPT_NAMES = /\.(ts|mts|mjs)$/;

/** C++ and CUDA sources. */
export const isCpp = (name) => CPP_TREES.test(name) && CPP_NAMES.test(name);

/** TypeScript and JavaScript modules. */
export const isScript = (name) => SCRIPT_NAMES.test(name);
