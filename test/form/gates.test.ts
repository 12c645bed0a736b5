/**
 * Every gate for form bites: each is green on tidy files and red on a planted fault, in a checkout of its
 * own.
 */
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const CONFIGURATION = [
  '.clang-format',
  '.clang-tidy',
  '.gitignore',
  'biome.json',
  'knip.jsonc',
  'tsconfig.json',
];
const IN_CI = process.env['HEADFIRST_CI'] === '1';

const checkouts: string[] = [];
afterAll(() => {
  for (const directory of checkouts) rmSync(directory, { recursive: true, force: true });
});

/** A checkout with this project's configuration and the given files. */
function checkout(files: Record<string, string>): string {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'headfirst-form-')));
  checkouts.push(directory);
  for (const name of CONFIGURATION) cpSync(join(ROOT, name), join(directory, name));
  symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
  const whole = { 'package.json': packageFile({}), ...files };
  for (const [name, text] of Object.entries(whole)) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), text);
  }
  spawnSync('git', ['init', '--quiet'], { cwd: directory });
  return directory;
}

function packageFile(dependencies: Record<string, string>): string {
  return `${JSON.stringify({ name: 'planted', type: 'module', dependencies }, null, 2)}\n`;
}

interface Verdict {
  readonly status: number | null;
  readonly output: string;
}

function run(script: string, ...args: string[]): Verdict {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, 'scripts', script), ...args], {
    encoding: 'utf8',
  });
  return { status, output: stdout + stderr };
}

const lint = (gate: string, files: Record<string, string>) =>
  run('form.mjs', 'lint', '--root', checkout(files), '--only', gate);

const has = (program: string) => spawnSync(program, ['--version']).error === undefined;

describe('clang-format', () => {
  it('is green on a tidy file', () => {
    const { status, output } = lint('clang-format', { 'native/core/tidy.cc': 'int x = 1;\n' });
    expect(status, output).toBe(0);
  });

  it('is red on every kind of source', () => {
    const files = {
      'native/core/planted.cc': 'int  x = 1;\n',
      'native/ops/norm/cuda/planted.cu': 'void f() { for (int i = 0; i < 2; ++i) g(i); }\n',
      'native/ops/planted.inc': 'HF_OP(a,   b)\n',
      'binding/planted.h': 'int *x;\n',
      'test/emulation/planted.cc': 'int x;\n\n\n\nint y;\n',
    };
    const { status, output } = lint('clang-format', files);
    expect(status).toBe(1);
    for (const name of Object.keys(files)) expect(output).toContain(name);
  });
});

describe('biome', () => {
  it('is green on a tidy file', () => {
    const { status, output } = lint('biome', { 'src/tidy.ts': "export const x = 'tidy';\n" });
    expect(status, output).toBe(0);
  });

  it('is red on faults of every kind', () => {
    const planted = {
      format: 'export const x = "planted"\n',
      noUnusedImports: "import { join } from 'node:path';\n\nexport const x = 1;\n",
      noUnusedVariables: 'const x = 1;\n\nexport {};\n',
      noCommaOperator: 'export function f(g: () => void) {\n  g(), g();\n}\n',
      noAssignInExpressions: 'export function f(x: number) {\n  return (x = 1);\n}\n',
      noFloatingPromises: 'async function f() {\n  return 1;\n}\n\nexport function g() {\n  f();\n}\n',
      useImportType: "import { Stats } from 'node:fs';\n\nexport type X = Stats;\n",
      noImportCycles: "import { b } from './circle.js';\n\nexport const a = () => b();\n",
    };
    const files = Object.entries(planted).map(([rule, text]) => [`src/${rule}.ts`, text] as const);
    const circle = "import { a } from './noImportCycles.js';\n\nexport const b = (): number => a();\n";
    const { status, output } = lint('biome', { ...Object.fromEntries(files), 'src/circle.ts': circle });
    expect(status).toBe(1);
    const heads = output.split('\n').filter((line) => line.includes('━━'));
    for (const rule of Object.keys(planted)) {
      expect(heads.filter((head) => head.startsWith(`src/${rule}.ts`)).join('\n')).toContain(
        ` ${rule === 'format' ? 'format' : `lint/`}`,
      );
      expect(output).toContain(rule);
    }
  });
});

describe('comments', () => {
  const words = 'word '.repeat(30).trim();

  it('is red on comments that are too long, and on them alone', () => {
    const { status, output } = lint('comments', {
      'src/tidy.ts': '// A word.\nexport {};\n',
      'src/line.ts': `// ${words}\nexport {};\n`,
      'src/docstring.ts': `/** ${words} */\nexport const x = 1;\n`,
      'src/longer.ts': `/**\n * ${words}\n */\nexport const x = 1;\n`,
    });
    expect(status).toBe(1);
    const found = [...output.matchAll(/^(\S+): a comment is too long/gm)].map(([, name]) => name);
    expect(found.sort()).toEqual(['src/docstring.ts', 'src/line.ts', 'src/longer.ts']);
  });

  it('is wrapped by npm run format, and then green', () => {
    const directory = checkout({ 'src/planted.ts': `/** ${words} */\nexport const x = 1;\n` });
    expect(run('form.mjs', 'format', '--root', directory).status).toBe(0);
    expect(readFileSync(join(directory, 'src/planted.ts'), 'utf8').split('\n')).toHaveLength(6);
    expect(run('form.mjs', 'lint', '--root', directory, '--only', 'comments').status).toBe(0);
  });
});

describe('lengths', () => {
  const long = `// ${'x'.repeat(120)}\n`;

  it('is green up to one line in a hundred, and up to 500 lines', () => {
    const { status, output } = lint('lengths', { 'src/tidy.ts': '\n'.repeat(499) + long });
    expect(status, output).toBe(0);
  });

  it('is red when more lines of a tree are long', () => {
    const trees = ['src', 'native', 'binding', 'test', 'bench', 'scripts', 'examples'];
    const ending = (tree: string) => (tree === 'native' || tree === 'binding' ? 'cc' : 'mjs');
    const files = trees.map((tree) => [`${tree}/planted.${ending(tree)}`, '\n'.repeat(90) + long]);
    const { status, output } = lint('lengths', Object.fromEntries(files) as Record<string, string>);
    expect(status).toBe(1);
    for (const tree of trees) expect(output).toContain(`${tree}: 1 of 92 lines`);
  });

  it('judges the prose of documentation, not its tables and code', () => {
    const prose = 'A line of words. '.repeat(10).trim();
    const table = `| ${prose} |\n\n\`\`\`\n${prose}\n\`\`\`\n`;
    expect(lint('lengths', { 'docs/tidy.md': table }).status).toBe(0);
    expect(lint('lengths', { 'docs/planted.md': `${table}\n${prose}\n` }).status).toBe(1);
  });

  it('is red on a file of more than 500 lines, code, script or prose', () => {
    const names = [
      'native/core/planted.cc',
      'docs/planted.md',
      'CONTRIBUTING.md',
      'CMakeLists.txt',
      'cmake/planted.cmake',
      'bench/peers/planted.py',
      'test/golden/generate.py',
      'scripts/planted.sh',
    ];
    const files = names.map((name) => [name, '\n'.repeat(501)]);
    const { status, output } = lint('lengths', Object.fromEntries(files) as Record<string, string>);
    expect(status).toBe(1);
    for (const name of names) expect(output).toContain(`${name} has 501 lines`);
  });

  it('judges the files of the top folder, too', () => {
    const prose = 'A line of words. '.repeat(10).trim();
    const { status, output } = lint('lengths', { 'README.md': `${prose}\n` });
    expect(status).toBe(1);
    expect(output).toContain('the top folder: 1 of 2 lines');
  });

  it('leaves generated files alone', () => {
    expect(lint('lengths', { 'src/kernels/generated.ts': long.repeat(600) }).status).toBe(0);
  });
});

describe('knip', () => {
  const index = "export { used } from './part.js';\n";

  it('is green where everything is used', () => {
    const { status, output } = lint('knip', {
      'src/index.ts': index,
      'src/part.ts': 'export const used = 1;\n',
    });
    expect(status, output).toBe(0);
  });

  it('is red on what nobody uses', () => {
    const { status, output } = lint('knip', {
      'src/index.ts': index,
      'src/part.ts': 'export const used = 1;\nexport const unusedExport = 2;\n',
      'src/unusedFile.ts': 'export {};\n',
      'package.json': packageFile({ zod: '4.6.7' }),
    });
    expect(status).toBe(1);
    for (const name of ['unusedExport', 'src/unusedFile.ts', 'zod']) expect(output).toContain(name);
  });
});

// ---- gates that compile -----------------------------------------------------------------------------------

const FLAGS = [
  '-std=c++20',
  '-Wall',
  '-Wextra',
  '-DNAPI_VERSION=8',
  '-DNODE_ADDON_API_CPP_EXCEPTIONS_ALL',
  `-I${ROOT}/native`,
  `-I${ROOT}/binding`,
  `-isystem ${ROOT}/node_modules/node-addon-api`,
  `-isystem ${ROOT}/node_modules/node-api-headers/include`,
].join(' ');

/** A checkout whose compilation database has these sources. */
function compiled(files: Record<string, string>): string {
  const directory = checkout(files);
  const entries = Object.keys(files).map((name) => ({
    directory,
    file: join(directory, name),
    command: `c++ ${FLAGS} -o planted.o -c ${join(directory, name)}`,
  }));
  mkdirSync(join(directory, 'build'), { recursive: true });
  writeFileSync(join(directory, 'build/compile_commands.json'), JSON.stringify(entries));
  return directory;
}

const clangTidy = process.env['CLANG_TIDY'] ?? 'clang-tidy';
describe.skipIf(!IN_CI && !has(clangTidy))('clang-tidy (skipped: no clang-tidy 23 here)', () => {
  const tidy = (files: Record<string, string>) => run('tidy.mjs', '--root', compiled(files));
  const findings = ({ output }: Verdict, name: string) =>
    [...output.matchAll(/^(\S+?):(\d+):\d+: error: .*\[([\w-]+)/gm)]
      .filter(([, file]) => file === name)
      .map(([, , line, check]) => `${line} ${check}`);

  it('is green on tidy files, and lets the conversions of binding/ and the engines touch elements', () => {
    const sum = `#include <cstdint>

double sum(const double* numbers, int64_t n) {
  double s = 0;
  for (int64_t i = 0; i < n; ++i)
    s += numbers[i];
  return s;
}
`;
    const shape = `#include <cstdint>

struct View {
  int64_t shape[4];
  int64_t stride[4];
};
int64_t size(const View& view, const char* names) {
  int64_t n = 1;
  for (int i = 0, j = 0; i < 4; ++i, ++j)
    n *= view.shape[i] * view.stride[j];
  return names[0] == 'n' ? n : 0;
}
`;
    const { status, output } = tidy({
      'binding/tidy.cc': shape,
      'binding/numbers.cc': sum,
      'native/core/engine.cc': sum,
    });
    expect(status, output).toBe(0);
  });

  it('is red on faults of every kind', () => {
    const name = 'native/core/planted.cc';
    const verdict = tidy({
      [name]: `#include <string>
#include <utility>
void chain(int& a, int& b) {
  a = 1, b = 2;
}
void body(int* a, int n) {
  for (int i = 0, j = 0; i < n; ++i, ++j)
    a[i] = j, a[j] = i;
}
std::string moved(std::string a) {
  std::string b = std::move(a);
  return a + b;
}
double half(int a) {
  return a / 2;
}
int unused(int a) {
  return 1;
}
`,
    });
    expect(verdict.status).toBe(1);
    expect(findings(verdict, name)).toEqual(
      expect.arrayContaining([
        '4 custom-comma-chain',
        '8 custom-comma-body',
        '12 bugprone-use-after-move',
        '15 bugprone-integer-division',
        '17 misc-unused-parameters',
      ]),
    );
  });

  it('is red on every way to compute in binding/', () => {
    const name = 'binding/planted.cc';
    const ways = [
      'for (int i = 0; i < n; ++i) s += view.as<double>()[i];',
      's = view.as<double>()[1];',
      's = *view.as<double>();',
      's = indices[1];',
      's = numbers[1];',
      'for (double x : numbers) s += x;',
      's = std::accumulate(numbers.begin(), numbers.end(), 0.0);',
      's = array[1];',
    ];
    const verdict = tidy({
      [name]: `#include <numeric>
#include <vector>
#include <napi.h>
struct View {
  void* data;
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};
double planted(View view, const std::vector<double>& numbers, int n, const int* indices, Napi::Float32Array array) {
  double s = 0;
${ways.join('\n')}
  return s;
}
`,
    });
    expect(verdict.status).toBe(1);
    const found = new Set(findings(verdict, name).filter((finding) => finding.endsWith('custom-border')));
    expect([...found]).toEqual(ways.map((_, i) => `${13 + i} custom-border`));
  });

  it('is red on a sum planted in binding/ntk_gram.cc', () => {
    const name = 'binding/ntk_gram.cc';
    const source = readFileSync(join(ROOT, name), 'utf8');
    const sum = `
double planted(const hf::View& view, int64_t n) {
  double s = 0;
  for (int64_t i = 0; i < n; ++i) s += view.as<double>()[i];
  return s;
}
`;
    const verdict = tidy({ [name]: source + sum });
    expect(verdict.status).toBe(1);
    expect(findings(verdict, name)).toContain(`${source.split('\n').length + 3} custom-border`);
  });

  it('is red when a check cannot be read', () => {
    const directory = compiled({ 'native/core/tidy.cc': 'int x = 1;\n' });
    const config = join(directory, '.clang-tidy');
    writeFileSync(config, readFileSync(config, 'utf8').replace('hasOperatorName', 'hasNoSuchName'));
    expect(run('tidy.mjs', '--root', directory).status).toBe(1);
  });

  it('keeps what it said until the file or a header changes', () => {
    const directory = compiled({
      'native/core/planted.cc': '#include "planted.h"\nint g() {\n  return f(1);\n}\n',
    });
    const header = join(directory, 'native/core/planted.h');
    const verdict = () => run('tidy.mjs', '--root', directory).status;
    writeFileSync(header, '#pragma once\nint f(int a);\n');
    expect(verdict()).toBe(0);
    writeFileSync(header, '#pragma once\ninline int f(int a) {\n  return 1;\n}\n');
    expect(verdict()).toBe(1);
    expect(verdict()).toBe(1);
    writeFileSync(header, '#pragma once\nint f(int a);\n');
    expect(verdict()).toBe(0);
  });
});

const clang = process.env['CLANGXX'] ?? 'clang++';
describe.skipIf(!IN_CI && !has(clang))('clang (skipped: no clang here)', () => {
  const check = (text: string) =>
    run('check-clang.mjs', '--root', compiled({ 'native/core/planted.cc': text }));

  it('is green on a tidy file', () => {
    const { status, output } = check('int f(int a) {\n  return a;\n}\n');
    expect(status, output).toBe(0);
  });

  it('is red on a warning', () => {
    const { status, output } = check('int f(int a) {\n  return 1;\n}\n');
    expect(status).toBe(1);
    expect(output).toContain('unused-parameter');
  });
});

describe('warnings of the build', () => {
  const database = join(ROOT, 'build/compile_commands.json');

  it.skipIf(!IN_CI && !existsSync(database))('are errors, for every source of our own', () => {
    const entries = JSON.parse(readFileSync(database, 'utf8')) as { file: string; command: string }[];
    const own = entries.filter(({ file }) => !file.includes('/node_modules/'));
    const lenient = own.filter(({ command }) => !/(^| |=)-Werror( |$)/.test(command));
    expect(own.length).toBeGreaterThan(50);
    expect(lenient.map(({ file }) => file)).toEqual([]);
  });
});
