// What the compilation database says about our own sources, and how a tool is run on each of them: as many at
// a time as there are processors, and again only when something that it saw has changed.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';

// Kernels of the CPU are compiled once per instruction set, from the same sources. Where one of them is
// enough, it is this one.
const USUAL_ISA = 'HF_ISA=cpu_avx2';

// nvcc's words mean nothing to clang. The same files are there once more as C++, for the emulated device.
const FOR_NVCC = /\s-Xcompiler[= ]/;

// The words of a command line as CMake writes them: quotes and backslashes as in a shell.
function wordsOf(command) {
  const found = command.match(/(?:\\.|"(?:\\.|[^"\\])*"|'[^']*'|[^\s"'\\])+/g) ?? [];
  return found.map((word) =>
    word
      .replace(/"((?:\\.|[^"\\])*)"|'([^']*)'/g, (_, double, single) => double ?? single)
      .replace(/\\(.)/g, '$1'),
  );
}

// The options of a command: without the compiler, a launcher before it, and what it would write. Whether
// warnings are errors is for the tool to say; some that g++ has a name for are unknown to clang.
function optionsOf(command) {
  const words = wordsOf(command);
  const options = [];
  for (let i = words.findIndex((word) => word.startsWith('-')); i < words.length; ++i) {
    if (words[i] === '-o') ++i;
    else if (words[i] !== '-Werror') options.push(words[i]);
  }
  return [...options, '-Wno-unknown-warning-option'];
}

/**
 * The folder with the compilation database of `root`: of a build that compiles every file by itself, for
 * every instruction set and with what the tests need. It is configured here, and never built.
 */
export function database(root) {
  if (!existsSync(join(root, 'CMakeLists.txt'))) return join(root, 'build');
  const folder = join(root, 'build/form');
  const options = {
    HEADFIRST_QUICK: 'OFF',
    HEADFIRST_TESTS: 'ON',
    HEADFIRST_ISAS: 'all',
    HEADFIRST_CUDA: 'OFF',
    CMAKE_BUILD_TYPE: 'Release',
  };
  const definitions = Object.entries(options).map(([name, value]) => `-D${name}=${value}`);
  const { status, stderr } = spawnSync('cmake', ['-S', root, '-B', folder, ...definitions], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`cmake could not configure ${folder}: ${stderr}`);
  return folder;
}

/**
 * Entries of `build`/compile_commands.json for files below `root`: the file relative to it, the folder that
 * the command runs in, and its options. With `oncePerFile`, one entry for each file; `wanted`: only these, if
 * any are named.
 */
export function compilations(root, build, wanted, { oncePerFile = false } = {}) {
  let entries;
  try {
    entries = JSON.parse(readFileSync(join(build, 'compile_commands.json'), 'utf8'));
  } catch (error) {
    throw new Error(`${build} has no compilation database (${error.message})`);
  }
  const names = new Set(wanted.map((name) => relative(root, resolve(name))));
  const chosen = new Map();
  for (const { file: path, directory, command } of entries) {
    const file = relative(root, resolve(directory, path));
    if (!/^(native|binding|test)\//.test(file) || (names.size > 0 && !names.has(file))) continue;
    if (FOR_NVCC.test(command)) continue;
    const key = oncePerFile ? file : `${file} ${command}`;
    if (chosen.has(key) && !command.includes(USUAL_ISA)) continue;
    chosen.set(key, { file, directory, options: optionsOf(command) });
  }
  return [...chosen.values()];
}

/** Runs `program`; its status and all that it printed. */
export function output(program, args, options = {}) {
  return new Promise((done, fail) => {
    const child = spawn(program, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    const read = (data) => {
      text += data;
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.on('error', fail);
    child.on('close', (status) => done({ status, text }));
  });
}

const texts = new Map();
function textOf(file) {
  if (!texts.has(file)) texts.set(file, existsSync(file) ? readFileSync(file, 'utf8') : undefined);
  return texts.get(file);
}

// Our own headers that `file` includes, and theirs.
function headersOf(file, folders, found = new Set()) {
  for (const [, name] of textOf(file).matchAll(/^[ \t]*#[ \t]*include[ \t]+"([^"]+)"/gm)) {
    const header = [dirname(file), ...folders]
      .map((folder) => join(folder, name))
      .find((path) => textOf(path) !== undefined);
    if (header === undefined || found.has(header)) continue;
    found.add(header);
    headersOf(header, folders, found);
  }
  return found;
}

// Names all that a tool sees of an entry: the tool, the options, the file, and our own headers that it
// includes.
function keyOf(root, tool, { file, options }) {
  const path = join(root, file);
  const folders = options.filter((word) => /^-I./.test(word)).map((word) => word.slice(2));
  const hash = createHash('sha256').update(tool).update(options.join('\0').replaceAll(root, ''));
  for (const name of [path, ...[...headersOf(path, folders)].sort()]) {
    hash.update(relative(root, name)).update('\0').update(textOf(name)).update('\0');
  }
  return hash.digest('hex');
}

/**
 * What `check` says about every entry, empty where it is content. `tool` names all that the verdict depends
 * on beside the sources; what was said before is kept in .cache/`name`.
 */
export async function checkAll({ root, name, tool, cache, entries, check }) {
  const folder = join(root, '.cache', name);
  mkdirSync(folder, { recursive: true });
  const results = new Array(entries.length);
  let next = 0;
  const worker = async () => {
    while (next < entries.length) {
      const index = next++;
      const kept = join(folder, keyOf(root, tool, entries[index]));
      if (cache && existsSync(kept)) {
        results[index] = readFileSync(kept, 'utf8');
      } else {
        results[index] = await check(entries[index]);
        writeFileSync(kept, results[index]);
      }
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  return results.map((text) => text.replaceAll(`${root}/`, ''));
}

/**
 * What `program` says of its version. Without it the process ends: quietly when it `mayBeMissing` and this is
 * not CI (HEADFIRST_CI=1), else with a complaint that says how to get it.
 */
export async function versionOf(program, how, mayBeMissing) {
  try {
    return (await output(program, ['--version'])).text;
  } catch {
    return missing(`${program} was not found: ${how}`, mayBeMissing);
  }
}

/** Ends the process because a tool is not there, or not the right one. */
export function missing(complaint, mayBeMissing) {
  const isExcused = mayBeMissing && process.env.HEADFIRST_CI !== '1';
  console.log(isExcused ? `left out: ${complaint}` : complaint);
  process.exit(isExcused ? 0 : 2);
}
