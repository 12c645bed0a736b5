// `npm run lint:tidy`: clang-tidy with .clang-tidy over every source of the build.
//   node scripts/tidy.mjs [--root DIR] [--build DIR] [--no-cache] [--if-installed] [FILE…]
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { checkAll, compilations, database, missing, output, versionOf } from './form/compilation.mjs';

// The first that has checks which are queries over the syntax tree, as .clang-tidy defines some.
const OLDEST = 23;

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
const config = join(root, '.clang-tidy');
const program = process.env.CLANG_TIDY ?? 'clang-tidy';

const HOW = 'pip install -r .ci/requirements.txt, or name one in CLANG_TIDY';
const mayBeMissing = values['if-installed'];
const version = await versionOf(program, HOW, mayBeMissing);
const major = Number(/version (\d+)/.exec(version)?.[1]);
if (!(major >= OLDEST)) missing(`clang-tidy ${OLDEST} or later is needed: ${HOW}`, mayBeMissing);

async function check({ file, directory, options }) {
  const own = ['--quiet', '--experimental-custom-checks', `--config-file=${config}`, join(root, file)];
  // Warnings of the compiler itself are for check-clang.mjs.
  const { status, text } = await output(program, [...own, '--', ...options, '-w'], { cwd: directory });
  // A check that cannot be read is a warning only, and red all the same.
  const good = status === 0 && !/(warning|error):|\[clang-tidy-config\]/.test(text);
  return good ? '' : text || `${file}: clang-tidy ended with ${status}`;
}

const begin = performance.now();
const results = await checkAll({
  root,
  name: 'tidy',
  tool: version + readFileSync(config, 'utf8'),
  cache: values.cache,
  entries: compilations(root, build, positionals, { oncePerFile: true }),
  check,
});

// A header is looked at with every file that includes it: each of its findings is printed once.
const findings = new Map();
for (const text of results) {
  for (const finding of text.split(/\n(?=\S+?:\d+:\d+: (?:warning|error):)/)) {
    const clean = finding.replace(/^\d+ warnings?.*$|^Suppressed .*$|^Use -header-filter.*$/gm, '').trim();
    if (clean !== '') findings.set(clean.split('\n')[0], clean);
  }
}
for (const finding of findings.values()) console.log(finding);
const good = findings.size === 0 && results.length > 0;
const seconds = ((performance.now() - begin) / 1000).toFixed(1);
console.log(
  `${good ? 'good' : 'RED '} clang-tidy: ${results.length} files, ${findings.size} findings, ${seconds} s`,
);
process.exit(good ? 0 : 1);
