// The gates for form, those that take seconds: `npm run format` writes, `npm run lint` checks. What each one
// is for: docs/form.md.
//   node scripts/form.mjs lint|format [--root DIR] [--only GATE]
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { shortenTitles, wrapComments } from './form/comments.mjs';
import { isCpp, isScript, ownFiles } from './form/files.mjs';
import { lengthProblems } from './form/lines.mjs';

const home = join(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { root: { type: 'string', default: home }, only: { type: 'string' } },
});
const root = resolve(values.root);
const files = ownFiles(root);
const cppFiles = files.filter(isCpp);
const scriptFiles = files.filter(isScript);

/** Runs a program in the checkout; what it printed, and whether it was content. */
function run(program, args) {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (error) throw error;
  return { good: status === 0, output: `${stdout}${stderr}`.trim() };
}

// The program of a development dependency of this checkout, whatever the root is.
function binary(name, entry) {
  const folder = join(home, 'node_modules', name);
  return join(folder, JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).bin[entry]);
}

const clangFormat = (...args) => run(require('clang-format-node').clangFormatPath, [...args, ...cppFiles]);
const biome = (...args) => run(process.execPath, [binary('@biomejs/biome', 'biome'), ...args, '.']);

// Files whose comments are too long, with the text that they should have.
function unwrapped() {
  const found = new Map();
  for (const name of [...scriptFiles, ...cppFiles]) {
    const text = readFileSync(join(root, name), 'utf8');
    const wrapped = isScript(name) ? wrapComments(text) : shortenTitles(text);
    if (wrapped !== text) found.set(name, wrapped);
  }
  return found;
}

function wrap() {
  for (const [name, text] of unwrapped()) writeFileSync(join(root, name), text);
}

const list = (problems) => ({ good: problems.length === 0, output: problems.join('\n') });

const LINT = {
  'clang-format': () =>
    cppFiles.length === 0 ? list([]) : clangFormat('--dry-run', '-Werror', '--ferror-limit=1'),
  biome: () => biome('check', '--error-on-warnings', '--max-diagnostics=50'),
  comments: () =>
    list([...unwrapped().keys()].map((name) => `${name}: a comment is too long; npm run format wraps it`)),
  lengths: () => list(lengthProblems(root, files)),
  knip: () => run(process.execPath, [binary('knip', 'knip'), '--no-progress']),
};

const FORMAT = {
  // Biome runs again after the comments are wrapped: where a comment ends can decide where code breaks.
  biome: () => [biome('format', '--write'), wrap(), biome('format', '--write')].at(-1),
  // Until nothing changes: moving one line may move the trailing comments of its neighbours.
  'clang-format': () => {
    let last = { good: true, output: '' };
    for (let round = 0; round < 3 && !LINT['clang-format']().good; ++round) last = clangFormat('-i');
    return last;
  },
};

const gates = { lint: LINT, format: FORMAT }[positionals[0]];
if (gates === undefined || (values.only !== undefined && gates[values.only] === undefined)) {
  console.error('node scripts/form.mjs lint|format [--root DIR] [--only GATE]');
  process.exit(2);
}
let red = 0;
for (const [name, gate] of Object.entries(gates)) {
  if (values.only !== undefined && values.only !== name) continue;
  const begin = performance.now();
  const { good, output } = gate();
  const seconds = ((performance.now() - begin) / 1000).toFixed(1);
  if (!good) {
    ++red;
    console.log(output);
  }
  console.log(`${good ? 'good' : 'RED '} ${name.padEnd(12)} ${seconds} s`);
}
process.exit(red === 0 ? 0 : 1);
