/**
 * Somebody else's project: an empty folder that installs the packed tarball without network or install
 * scripts and uses it.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { kernelTypes } from '../../scripts/generate-kernel-types.mjs';
import { addon } from '../../src/core/addon/addon.js';
import { platformPackage } from '../../src/core/addon/locate.js';
import { nodeProblem } from '../../src/core/addon/node.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'headfirst-consumer-'));
const project = join(folder, 'project');
const modules = join(project, 'node_modules');
const environment = {
  ...process.env,
  HEADFIRST_POISON: undefined,
  HEADFIRST_VALIDATE: undefined,
  NODE_OPTIONS: '',
};

interface Outcome {
  readonly status: number | null;
  readonly output: string;
  readonly errors: string;
}
function run(
  command: string,
  args: readonly string[],
  { cwd = project, env = {} }: { cwd?: string; env?: Record<string, string> } = {},
): Outcome {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    env: { ...environment, ...env },
    timeout: 100_000,
  });
  return { status, output: stdout, errors: stderr };
}
/** Runs an ES module in the project and returns what it printed. */
function script(text: string, options: { env?: Record<string, string>; name?: string } = {}): string {
  const file = join(project, options.name ?? 'script.mjs');
  writeFileSync(file, text);
  const { status, output, errors } = run(process.execPath, [file], options);
  if (status !== 0) throw new Error(`exit ${status}\n${output}\n${errors}`);
  return output.trim();
}
const npm = (args: readonly string[], cwd: string) =>
  execFileSync('npm', [...args], {
    cwd,
    encoding: 'utf8',
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 110_000,
  });
const pack = (directory: string): string =>
  join(
    folder,
    (
      JSON.parse(npm(['pack', '--json', '--ignore-scripts', '--pack-destination', folder], directory)) as {
        filename: string;
      }[]
    )[0]!.filename
      .replace('@', '')
      .replace('/', '-'),
  );

let tarball: string;

beforeAll(() => {
  if (!existsSync(join(root, 'dist/index.js'))) npm(['run', '--silent', 'build:ts'], root);
  mkdirSync(project);
  tarball = pack(root);
  const platform = pack(
    execFileSync(process.execPath, [join(root, 'scripts/make-platform-package.mjs')], {
      encoding: 'utf8',
    }).trim(),
  );
  // Dependencies come as tarballs of what is installed here, so that neither a network nor a filled npm cache
  // is needed.
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean }>;
  };
  const dependencies: Record<string, string> = {
    headfirst: `file:${tarball}`,
    [platformPackage()]: `file:${platform}`,
  };
  for (const [path, { dev }] of Object.entries(lock.packages)) {
    if (path === '' || dev) continue;
    const name = path.split('node_modules/').at(-1)!;
    const file = join(folder, `${name.replace('/', '-')}.tar`);
    execFileSync('tar', [
      '-cf',
      file,
      '--exclude=./node_modules',
      '--transform',
      's,^\\.,package,',
      '-C',
      join(root, path),
      '.',
    ]);
    dependencies[name] = `file:${file}`;
  }
  writeFileSync(
    join(project, 'package.json'),
    JSON.stringify({ name: 'consumer', private: true, dependencies }),
  );
  npm(['install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock'], project);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the tarball', () => {
  it('is small and has no build folder, and every file that its sources include', () => {
    expect(statSync(tarball).size).toBeLessThan(30e6);
    const files = new Set(
      execFileSync('tar', ['-tf', tarball], { encoding: 'utf8' })
        .split('\n')
        .map((name) => name.replace('package/', '')),
    );
    expect(
      [...files].filter((name) => /^(build|node_modules|test)\//.test(name) || name.endsWith('.node')),
    ).toEqual([]);
    const missing: string[] = [];
    for (const name of files) {
      if (!/^(native|binding)\/.*\.(cc|h|inc|cu|cuh)$/.test(name)) continue;
      for (const [, included] of readFileSync(join(root, name), 'utf8').matchAll(/#include "([^"]+)"/g)) {
        if (included!.startsWith('emulation/')) continue; // test/emulation: only a checkout builds the emulated device
        const near = name.replace(/[^/]*$/, included!);
        if (
          ![near, `native/${included}`, `binding/${included}`, `native/include/${included}`].some((path) =>
            files.has(path),
          )
        )
          missing.push(`${name}: ${included}`);
      }
    }
    expect(missing).toEqual([]);
  });
  it('configures from its shipped sources, offline, with its own dependencies', () => {
    const copy = join(folder, 'configured');
    const { status, errors } = run('cmake', ['-S', join(modules, 'headfirst'), '-B', copy]);
    expect(errors).toBe('');
    expect(status).toBe(0);
  });
});

describe('a consumer', () => {
  const GEMM =
    'const r = kernels.gemmSync({ a: { data: Float32Array.of(1, 2), shape: [1, 2] }, b: { data: ' +
    'Float32Array.of(3, 4), shape: [2, 1] } }); console.log(r.c.data[0]);';
  it('imports', () => expect(script(`import { kernels } from 'headfirst'; ${GEMM}`)).toBe('11'));
  it('requires', () => {
    expect(script(`const { kernels } = require('headfirst'); ${GEMM}`, { name: 'script.cjs' })).toContain(
      '11',
    );
    expect(script(`console.log(require('headfirst/native').include)`, { name: 'script.cjs' })).toContain(
      join(modules, 'headfirst/native/include'),
    );
  });
  it('computes an NTK Gram matrix', () => {
    const output = script(`
      import { Model, createContext, ntk } from 'headfirst';
      const context = await createContext({ threads: 1 });
      const config = {
        model_type: 'gpt',
        vocab_size: 13,
        hidden_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 16,
        max_position_embeddings: 8,
      };
      const model = await Model.fromConfig(config, { context, seed: 1 });
      const samples = [
        { inputIds: [1, 2, 3], scoreFrom: 1 },
        { inputIds: [4, 5], scoreFrom: 1 },
      ];
      const { kernel, shape } = await ntk.gram(model, samples);
      console.log(JSON.stringify([shape, kernel[0] > 0, Math.abs(kernel[1] - kernel[2]) < 1e-9]));`);
    expect(output).toBe('[[2,2],true,true]');
  });
  it('computes a large spectrum in a thread of its own, whatever the entry is', () => {
    const body =
      'const n = 70; analysis.spectrum({ data: Float64Array.from({ length: n * n }, (_, i) => Number(i % (n + 1) ' +
      '=== 0)), shape: [n, n] }).then((s) => console.log(s.rank, s.trace));';
    expect(script(`import { analysis } from 'headfirst'; ${body}`)).toBe('70 70');
    expect(script(`const { analysis } = require('headfirst'); ${body}`, { name: 'script.cjs' })).toContain(
      '70 70',
    );
    expect(
      run(process.execPath, ['--input-type=module', '-e', `import { analysis } from 'headfirst'; ${body}`])
        .output,
    ).toBe('70 70\n');
  });
  it('runs in a worker thread and beside a second copy of the package', () => {
    cpSync(join(modules, 'headfirst'), join(project, 'second/node_modules/headfirst'), { recursive: true });
    cpSync(join(modules, platformPackage()), join(project, 'second/node_modules', platformPackage()), {
      recursive: true,
    });
    const output = script(`
      import { Worker } from 'node:worker_threads';
      import * as first from 'headfirst';
      import * as second from './second/node_modules/headfirst/dist/index.js';
      const m = (data, shape) => ({ data: Float32Array.from(data), shape });
      const product = async ({ kernels }) => {
        const { c } = await kernels.gemm({ a: m([1, 2], [1, 2]), b: m([3, 4], [2, 1]) });
        return c.data[0];
      };
      console.log(first.kernels !== second.kernels, await product(first), await product(second));
      const code = \`import('headfirst').then(async ({ kernels }) => {
        const m = (d, shape) => ({ data: Float32Array.from(d), shape });
        const { c } = await kernels.gemm({ a: m([1, 2], [1, 2]), b: m([3, 4], [2, 1]) });
        require('node:worker_threads').parentPort.postMessage(c.data[0]);
      })\`;
      const worker = new Worker(code, { eval: true });
      worker.on('message', (value) => console.log('worker', value));`);
    expect(output).toBe('true 11 11\nworker 11');
  });
  it('exits cleanly with jobs in flight', () => {
    const output = script(`
      import { kernels } from 'headfirst';
      const n = 700, m = () => ({ data: new Float32Array(n * n).fill(1), shape: [n, n] });
      for (let i = 0; i < 50; ++i) kernels.gemm({ a: m(), b: m() });
      setTimeout(() => { console.log('leaving'); process.exit(0); }, 20);`);
    expect(output).toBe('leaving');
  });
  it('type-checks strictly, the declarations included', () => {
    writeFileSync(
      join(project, 'use.ts'),
      `
      import { createContext, kernels, Model, ntk, type GemmArgs, type Sample } from 'headfirst';
      import { addonPath, include } from 'headfirst/native';
      const d = { data: new Float32Array(2), shape: [1, 2] };
      const args: GemmArgs = { a: d, b: { data: new Float32Array(2), shape: [2, 1] } };
      const c = kernels.gemmSync(args).c.data;
      // @ts-expect-error there is no such argument
      kernels.gemmSync({ ...args, alhpa: 1 });
      // @ts-expect-error indices are int32
      kernels.token_gramSync({ d, offsets: new Float32Array(3) });
      export async function use(dir: string, samples: Sample[]): Promise<number> {
        using context = await createContext();
        const model = await Model.fromPretrained(dir, { context });
        const { gram } = await kernels.token_gram({ d, offsets: Int32Array.of(0, 1) }, { context });
        const { kernel } = await ntk.gram(model, samples);
        const words = include.length + (addonPath ?? '').length;
        return kernel[0]! + gram.data[0]! + Number(c[0]) + words;
      }`,
    );
    writeFileSync(
      join(project, 'tsconfig.json'),
      JSON.stringify({
        compilerOptions: {
          target: 'es2022',
          lib: ['es2023', 'esnext.disposable'],
          module: 'nodenext',
          moduleResolution: 'nodenext',
          strict: true,
          noEmit: true,
          skipLibCheck: false,
          types: ['node'],
          typeRoots: [join(root, 'node_modules/@types')],
        },
        files: ['use.ts'],
      }),
    );
    const { status, output } = run(process.execPath, [
      join(root, 'node_modules/typescript/bin/tsc'),
      '-p',
      '.',
    ]);
    expect(output).toBe('');
    expect(status).toBe(0);
  });
});

describe('the C interface', () => {
  it('gives another addon the same numbers', () => {
    const include = script("import { include } from 'headfirst/native'; console.log(include)");
    const headers = execFileSync(process.execPath, ['-p', "require('node-api-headers').include_dir"], {
      cwd: root,
      encoding: 'utf8',
    }).trim();
    const example = join(project, 'example.node');
    execFileSync(process.env['CXX'] ?? 'c++', [
      '-std=c++20',
      '-Wall',
      '-Wextra',
      '-Werror',
      '-Wno-missing-field-initializers',
      '-O1',
      '-shared',
      '-fPIC',
      `-I${include}`,
      `-I${headers}`,
      join(root, 'test/consumer/native/example.cc'),
      '-o',
      example,
      '-ldl',
    ]);
    const output = script(`
      import { createRequire } from 'node:module';
      import { kernels } from 'headfirst';
      import { addonPath } from 'headfirst/native';
      const example = createRequire(import.meta.url)('./example.node');
      const same = (x, y) => x.length === y.length && x.every((v, i) => v === y[i]) && x.some((v) => v !== 0);
      const f = (n, seed) => Float32Array.from({ length: n }, (_, i) => Math.sin(seed + i));
      console.log('open', JSON.stringify(example.open(addonPath)), example.facts());
      const a = f(12, 1), b = f(6, 2), c = new Float32Array(8);
      const matrix = (data, ...shape) => ({ data, shape });
      const product = kernels.gemmSync({ a: matrix(a, 4, 3), b: matrix(b, 3, 2), alpha: 0.5 });
      console.log('gemm', example.gemm(a, b, c), same(c, product.c.data));
      const d = f(20, 3), offsets = Int32Array.of(0, 2, 4), gram = new Float64Array(4);
      const tokens = kernels.token_gramSync({ a: matrix(a, 4, 3), d: matrix(d, 4, 5), offsets });
      console.log('token_gram', example.tokenGram(a, d, offsets, gram), same(gram, tokens.gram.data));
      const w = f(15, 4), coefficients = f(4, 5);
      const targets = Int32Array.of(0, 4, -100, 2);
      const logps = new Float32Array(4), dHidden = new Float32Array(12);
      const message = example.policyGradient(a, w, targets, coefficients, logps, dHidden);
      const js = kernels.linear_policy_gradientSync({
        hidden: matrix(a, 4, 3),
        weight: matrix(w, 5, 3),
        targets,
        coefficients,
        temperature: 2,
        d_hidden: true,
      });
      const equal = [same(logps, js.logps.data), same(dHidden, js.d_hidden.data)];
      console.log('linear_policy_gradient', message, ...equal);
      console.log(example.wrongShape());
      console.log(example.wrongName());`);
    const lines = output.split('\n');
    expect(lines[0]).toBe(`open "" 1 ${addon.version} ${addon.ops.length} M K none`);
    expect(lines.slice(1, 4)).toEqual([
      'gemm  true',
      'token_gram  true',
      'linear_policy_gradient  true true',
    ]);
    expect(lines[4]).toMatch(/^ERR_SHAPE: gemm: c has shape/);
    expect(lines[5]).toMatch(/^ERR_INVALID_ARG: gemm: .*none of the op's fields/);
  });
});

describe('what can be wrong with the binary', () => {
  const load = (env: Record<string, string>) =>
    run(process.execPath, ['--input-type=module', '-e', "import 'headfirst'"], { env });
  const broken = (name: string, bytes: Buffer): string => {
    const file = join(folder, name);
    writeFileSync(file, bytes);
    return file;
  };
  const native = () => readFileSync(join(root, 'build/Release/headfirst.node'));

  it.each([
    [
      'a damaged file',
      () => broken('damaged.node', Buffer.from('not a binary'.repeat(20))),
      /damaged\.node: is not a native addon/,
    ],
    [
      'a foreign processor',
      () => {
        const bytes = native();
        bytes.writeUInt16LE(process.arch === 'arm64' ? 0x3e : 0xb7, 18);
        return broken('foreign.node', bytes);
      },
      /foreign\.node: was built for linux-(arm64|x64), this is/,
    ],
    [
      'a cut-off file',
      () => broken('short.node', native().subarray(0, 5000)),
      /short\.node: is cut off: 5000 bytes of/,
    ],
    ['no file', () => join(folder, 'nothing.node'), /nothing\.node: there is no such file/],
  ] as const)('%s: one error with cause and remedy', (_, make, cause) => {
    const path = make();
    const { status, errors } = load({ HEADFIRST_ADDON: path });
    expect(status).toBe(1);
    expect(errors).toMatch(cause);
    expect(errors).toContain('ERR_BACKEND_UNAVAILABLE');
    expect(errors).toContain('Correct HEADFIRST_ADDON');
    const info = run(process.execPath, [join(modules, 'headfirst/dist/cli/main.js'), 'info'], {
      env: { HEADFIRST_ADDON: path },
    });
    expect(info.status).toBe(1);
    expect(info.errors).toMatch(cause);
    expect(info.errors).toMatch(
      /^headfirst: the native addon could not be loaded [\s\S]*\[ERR_BACKEND_UNAVAILABLE\]\n$/,
    );
    expect(info.errors).not.toMatch(/^ +at /m); // a message, no stack
  });
  it('headfirst info survives a binary that ends the process that loads it', () => {
    const source = join(folder, 'trap.cc');
    const trap = join(folder, 'trap.node');
    writeFileSync(source, '__attribute__((constructor)) static void die() { __builtin_trap(); }');
    execFileSync(process.env['CXX'] ?? 'c++', ['-shared', '-fPIC', source, '-o', trap]);
    const info = run(process.execPath, [join(modules, 'headfirst/dist/cli/main.js'), 'info'], {
      env: { HEADFIRST_ADDON: trap },
    });
    expect(info.status).toBe(1);
    expect(info.errors).toMatch(/trap\.node: loading it ends the process \(SIG(ILL|TRAP)\)/);
  });
  it("another package's addon is recognised", () => {
    const example = join(project, 'example.node');
    expect(load({ HEADFIRST_ADDON: example }).errors).toContain("is another package's addon");
  });
  it('without any binary every place is named, and the command that builds one', () => {
    const alone = join(folder, 'alone/node_modules');
    cpSync(join(modules, 'headfirst'), join(alone, 'headfirst'), { recursive: true });
    for (const name of readdirSync(modules).filter(
      (entry) => entry !== 'headfirst' && entry !== '@headfirst' && !entry.startsWith('.'),
    ))
      cpSync(join(modules, name), join(alone, name), {
        recursive: true,
        filter: (path) => !/echarts\/(dist|lib\/chart|i18n)/.test(path),
      });
    const { status, errors } = run(process.execPath, ['--input-type=module', '-e', "import 'headfirst'"], {
      cwd: join(folder, 'alone'),
    });
    expect(status).toBe(1);
    expect(errors).toContain('local build: ');
    expect(errors).toContain(`platform package ${platformPackage()}: not installed`);
    expect(errors).toContain(`npm install ${platformPackage()}@${addon.version}`);
    expect(errors).toContain('npx headfirst build');
    const main = join(alone, 'headfirst/dist/cli/main.js');
    const noCmake = run(process.execPath, [main, 'build'], { env: { PATH: '/nonexistent' } });
    expect(noCmake.errors).toMatch(/headfirst build: cmake was not found; install CMake/);
    const noCompiler = run(process.execPath, [main, 'build'], { env: { CXX: '/nonexistent/c++' } });
    expect(noCompiler.errors).toMatch(/no working C\+\+ compiler or make was found; install CMake/);
  });
});

it('an old Node.js gets one clear message', () => {
  expect(nodeProblem('18.20.4')).toMatch(/needs Node\.js \^20\.19\.0 or >=22\.12\.0, got 18\.20\.4/);
  for (const version of ['20.18.9', '21.7.0', '22.11.0']) expect(nodeProblem(version)).toBeDefined();
  for (const version of ['20.19.0', '22.12.0', '24.0.0']) expect(nodeProblem(version)).toBeUndefined();
});

it('src/kernels/generated.ts is what scripts/generate-kernel-types.mjs makes', () => {
  expect(
    readFileSync(join(root, 'src/kernels/generated.ts'), 'utf8'),
    'run: npm run build:kernel-types',
  ).toBe(kernelTypes(addon.ops));
});
