// Plants one small fault after the other in a copy of the checkout and expects a test to turn red each time:
// the proof that the tests bite. `npm run check:mutants [-- --only TEXT] [--list FILE]`.
//
// The faults are listed in test/mutants/*.json: { name, file, find, replace, tests, only? }. `find` must
// stand in the file exactly once; `tests` are the test files that should notice, `only` a pattern of names
// within them. A fault in C++ is compiled before its
// tests run. The run begins with the same tests on the unchanged copy, which must be green.
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
const copy = join(root, 'build/mutants');

/** Every listed fault; those of one list (`cpu` for test/mutants/cpu.json), or all. */
export function listedMutants(only) {
  const folder = join(root, 'test/mutants');
  const lists = readdirSync(folder).filter((name) => name.endsWith('.json'));
  return lists
    .filter((name) => only === undefined || name === `${only}.json`)
    .sort()
    .flatMap((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')));
}

/** The file's text with the fault in it. @throws when `find` is not there exactly once. */
export function planted({ file, find, replace }) {
  const text = readFileSync(join(root, file), 'utf8');
  const count = text.split(find).length - 1;
  if (count !== 1)
    throw new Error(`${file}: ${JSON.stringify(find)} stands there ${count} times, expected once`);
  return text.replace(find, () => replace);
}

const isNative = (file) => /^(native|binding)\//.test(file);

function run(program, args, options = {}) {
  return spawnSync(program, args, { cwd: copy, encoding: 'utf8', maxBuffer: 1 << 28, ...options });
}

/** A copy of what git tracks and of what is new, beside the checkout's own node_modules. */
function makeCopy() {
  mkdirSync(copy, { recursive: true });
  const listing = spawnSync('git', ['ls-files', '-co', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  });
  const files = listing.stdout.split('\n').filter((file) => file !== '' && existsSync(join(root, file)));
  const wanted = new Set(files);
  for (const folder of ['src', 'native', 'binding', 'test']) {
    const inCopy = existsSync(join(copy, folder)) ? readdirSync(join(copy, folder), { recursive: true }) : [];
    const isStale = (file) => /\.\w+$/.test(file) && !wanted.has(file);
    for (const file of inCopy.map((name) => `${folder}/${name}`).filter(isStale)) rmSync(join(copy, file));
  }
  for (const file of files) {
    const target = join(copy, file);
    const isSame = existsSync(target) && readFileSync(target).equals(readFileSync(join(root, file)));
    if (isSame) continue; // keeps its time stamp, so that nothing is compiled again
    mkdirSync(dirname(target), { recursive: true });
    cpSync(join(root, file), target);
  }
  if (!existsSync(join(copy, 'node_modules')))
    symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
}

/** Builds the CPU addon of the copy; undefined when it compiled, else what the compiler said. */
function build() {
  if (!existsSync(join(copy, 'build/CMakeCache.txt'))) {
    const cmakeJs = join(root, 'node_modules/cmake-js/bin/cmake-js');
    const { status, stdout, stderr } = run(process.execPath, [
      cmakeJs,
      'configure',
      '--CDHEADFIRST_CUDA=OFF',
    ]);
    if (status !== 0) return stdout + stderr;
  }
  const { status, stdout, stderr } = run('cmake', ['--build', 'build', '--target', 'headfirst', '-j', '2']);
  return status === 0 ? undefined : stdout + stderr;
}

/** The first failing test's name, or undefined when all are green. */
function firstFailure(tests, only) {
  const vitest = join(root, 'node_modules/vitest/vitest.mjs');
  const { status, stdout, stderr, signal } = run(
    process.execPath,
    [vitest, 'run', '--bail=1', ...(only ? ['-t', only] : []), ...tests],
    {
      timeout: 600_000,
    },
  );
  if (status === 0) return undefined;
  const failed = /(?:FAIL|×)\s+(.+)/.exec(stdout + stderr)?.[1] ?? `ended by ${signal ?? `status ${status}`}`;
  return failed.trim();
}

function check(mutant) {
  const target = join(copy, mutant.file);
  const original = readFileSync(target);
  try {
    writeFileSync(target, planted(mutant));
    const complaint = isNative(mutant.file) ? build() : undefined;
    return complaint === undefined
      ? firstFailure(mutant.tests, mutant.only)
      : `does not compile: ${complaint.slice(-300)}`;
  } finally {
    writeFileSync(target, original);
  }
}

function main() {
  const { values } = parseArgs({ options: { only: { type: 'string' }, list: { type: 'string' } } });
  const isWanted = ({ name, file }) => values.only === undefined || `${name} ${file}`.includes(values.only);
  const mutants = listedMutants(values.list).filter(isWanted);
  for (const mutant of mutants) planted(mutant);
  makeCopy();
  const complaint = build();
  if (complaint !== undefined) throw new Error(`the unchanged copy does not compile:\n${complaint}`);
  const allTests = [...new Set(mutants.flatMap(({ tests }) => tests))];
  const before = firstFailure(allTests);
  if (before !== undefined) throw new Error(`red before any fault was planted: ${before}`);

  const survivors = [];
  for (const mutant of mutants) {
    const started = performance.now();
    const failure = check(mutant);
    const seconds = ((performance.now() - started) / 1000).toFixed(0);
    const isCaught = failure !== undefined && !failure.startsWith('does not compile');
    if (!isCaught) survivors.push(mutant.name);
    console.log(`${isCaught ? 'red     ' : 'SURVIVED'} ${mutant.name} (${mutant.file}), ${seconds} s`);
    console.log(`         ${failure ?? `green: ${mutant.tests.join(' ')}`}`);
  }
  console.log(`${mutants.length - survivors.length} of ${mutants.length} planted faults turned a test red`);
  process.exitCode = survivors.length === 0 ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
