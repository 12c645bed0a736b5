// zig c++, the compiler of the platform packages: installed once into .cache/zig, where git does not look.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Runs a program; its failure is an error that says what was run. */
export function run(program, args, options = {}) {
  const { status, error, stdout } = spawnSync(program, args, {
    stdio: 'inherit',
    encoding: 'utf8',
    ...options,
  });
  if (error?.code === 'ENOENT') throw new Error(`${program} was not found; install it`);
  if (error) throw error;
  if (status !== 0) throw new Error(`'${[program, ...args].join(' ')}' ended with ${status}`);
  return stdout;
}

const versionOf = (zig) => spawnSync(zig, ['version'], { encoding: 'utf8' }).stdout?.trim();

/** The path of zig in the version that requirements.txt pins; pip brings it where it is missing. */
function installZig(root) {
  const requirements = join(root, 'scripts/platforms/requirements.txt');
  const [, wanted] = /^ziglang==(\S+)/m.exec(readFileSync(requirements, 'utf8'));
  const folder = join(root, '.cache/zig');
  const zig = join(folder, 'ziglang/zig');
  if (versionOf(zig) === wanted) return zig;
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--root-user-action=ignore'];
  run('python3', [...pip, '--no-deps', '--upgrade', '--target', folder, '-r', requirements]);
  const found = versionOf(zig);
  if (found !== wanted) throw new Error(`${zig}: expected zig ${wanted}, found ${found}; remove ${folder}`);
  return zig;
}

/** Writes the programs that cmake/zig.cmake names, one compiler for each target; the folder they lie in. */
export function prepareZig(root, platforms) {
  const zig = installZig(root);
  const folder = join(root, '.cache/zig/bin');
  mkdirSync(folder, { recursive: true });
  const program = (name, command) => {
    const path = join(folder, name);
    const text = `#!/bin/sh\nexec "${zig}" ${command} "$@"\n`;
    if (!existsSync(path) || readFileSync(path, 'utf8') !== text) writeFileSync(path, text);
    chmodSync(path, 0o755);
  };
  program('ar', 'ar');
  program('ranlib', 'ranlib');
  for (const [name, platform] of Object.entries(platforms))
    program(`c++-${name}`, `c++ -target ${platform.zig}`);
  return folder;
}
