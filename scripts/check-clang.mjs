// `npm run check:clang`: clang reads every source of the build with our warnings as errors, and generates
// nothing. g++ builds the addon; this keeps it compiling without warnings for those who have clang.
//   node scripts/check-clang.mjs [--root DIR] [--build DIR] [--no-cache] [--if-installed] [FILE…]
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { checkAll, compilations, database, missing, output, versionOf } from './form/compilation.mjs';

// The first that knows as much of C++20 as the sources use.
const OLDEST = 14;

// What needs a newer clang than Debian's. Of the emulated machine only: users never build it.
const NEEDS = new Map([['test/emulation/hardware.cc', { version: 15, what: '_Float16 on x86' }]]);

const home = join(dirname(fileURLToPath(import.meta.url)), '..');
const { values, positionals } = parseArgs({
  allowPositionals: true,
  allowNegative: true,
  options: {
    root: { type: 'string', default: home },
    build: { type: 'string' },
    cache: { type: 'boolean', default: true },
    'if-installed': { type: 'boolean', default: false },
  },
});
const root = resolve(values.root);
const build = resolve(values.build ?? database(root));
const program = process.env.CLANGXX ?? 'clang++';

const HOW = 'install clang, or name one in CLANGXX';
const version = await versionOf(program, HOW, values['if-installed']);
const major = Number(/version (\d+)/.exec(version)?.[1]);
if (!(major >= OLDEST)) missing(`clang ${OLDEST} or later is needed: ${HOW}`, values['if-installed']);

const WARNINGS = ['-Wall', '-Wextra', '-Werror', '-fsyntax-only'];
async function check({ file, directory, options }) {
  const { status, text } = await output(program, [...options, ...WARNINGS], { cwd: directory });
  return status === 0 ? '' : text || `${file}: ${program} ended with ${status}`;
}

const begin = performance.now();
const entries = compilations(root, build, positionals).filter(({ file }) => {
  const need = NEEDS.get(file);
  if (need === undefined || major >= need.version) return true;
  console.log(
    `left out: ${file} needs ${need.what}, which clang has from ${need.version} on; this is ${major}`,
  );
  return false;
});
const results = await checkAll({
  root,
  name: 'clang',
  tool: version + WARNINGS.join(' '),
  cache: values.cache,
  entries,
  check,
});
const problems = [...new Set(results.filter((text) => text !== ''))];
for (const text of problems) console.log(text.trim());
const good = problems.length === 0 && results.length > 0;
const seconds = ((performance.now() - begin) / 1000).toFixed(1);
console.log(
  `${good ? 'good' : 'RED '} clang: ${results.length} compilations, ${problems.length} with warnings, ${seconds} s`,
);
process.exit(good ? 0 : 1);
