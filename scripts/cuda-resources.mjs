// Records what every CUDA kernel takes (registers, stack, spills, from ptxas), and how many mma.sync or wgmma
// its PTX has, in native/backends/cuda/resources.json.
//   npm run cuda:resources [-- file.cu…]
// It needs nvcc but no GPU. Files are named after a change that no kernel of another file sees: then only
// those are compiled. test/cuda/resources.test.ts holds the record against the sources and the rules.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = fileURLToPath(new URL('..', import.meta.url));
const record = join(root, 'native/backends/cuda/resources.json');
const nvcc = process.env.CUDACXX ?? 'nvcc';

/** Files under native/, relative to it, whose names end so. */
function sources(pattern) {
  const all = readdirSync(join(root, 'native'), { recursive: true });
  return all.filter((name) => pattern.test(name)).sort();
}

/** The code of a file: what is left without comments and with white space as the compiler sees it. */
function code(file) {
  const text = readFileSync(join(root, 'native', file), 'utf8');
  return text
    .replace(/^\s*\/\/.*$/gm, '')
    .replace(/\s\/\/ .*$/gm, '')
    .replace(/\s+/g, ' ');
}

/** Of everything that a kernel is compiled from. Comments and layout do not count. */
export function sourceHash() {
  const hash = createHash('sha256');
  const kernelSources = sources(/^(core|runtime|ops|backends\/cuda)\/.*\.(cu|h)$/);
  const seenByKernels = kernelSources.filter((name) => !/\/(cpu|reference)\//.test(name));
  for (const name of seenByKernels) hash.update(name).update(code(name));
  return hash.digest('hex');
}

/** 'gemm_kernel, tf32, 64 rows' of a mangled name: the kernel and what tells its instances apart. */
function kernelName(mangled) {
  const [, name, rest] = /([a-z][a-z_]*_kernel)(.*)/.exec(mangled);
  const math = /4MathE(\d)/.exec(rest);
  const shape = /BlockShapeILi(\d+)/.exec(rest);
  const factor = /6FactorE(\d)/.exec(rest);
  const kind = /14ActivationKindE(\d)/.exec(rest);
  const dims = /^ILi(\d+)E/.exec(rest);
  return [
    name,
    math && ['exact', 'tf32', 'bf16'][Number(math[1])],
    shape && `${shape[1]} rows`,
    dims && `D ${dims[1]}`,
    factor && ['one', 'product', 'same id', 'gather'][Number(factor[1])],
    kind && ['gelu', 'gelu_new', 'silu_gate', 'relu'][Number(kind[1])],
    kind && /ELb1E/.test(rest) && 'to bf16',
  ]
    .filter(Boolean)
    .join(', ');
}

const ARCHITECTURES = ['arch=compute_80,code=sm_80', 'arch=compute_90a,code=sm_90a'];

/** Compiles a file with its intermediate files in `folder`; what ptxas says. */
async function ptxas(file, folder) {
  const { stderr } = await run(
    nvcc,
    [
      '-std=c++20',
      '-O3',
      '-DNDEBUG',
      '-DHEADFIRST_CUDA_ARCHITECTURES=""',
      `-I${join(root, 'native')}`,
      '-Xptxas=-v',
      '--keep',
      '--keep-dir',
      folder,
      ...ARCHITECTURES.flatMap((code) => ['-gencode', code]),
      '-c',
      join(root, 'native', file),
      '-o',
      join(folder, 'out.o'),
    ],
    { maxBuffer: 1 << 28 },
  );
  return stderr;
}

/** The kernels that ptxas reports on, with what each takes. */
function kernelsIn(report) {
  const kernels = [];
  for (const line of report.split('\n')) {
    const entry = /Compiling entry function '(\w+)' for '(\w+)'/.exec(line);
    if (entry) kernels.push({ kernel: kernelName(entry[1]), mangled: entry[1], architecture: entry[2] });
    const current = kernels.at(-1);
    if (!current) continue;
    const memory = /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line);
    if (memory && current.stack === undefined) {
      current.stack = Number(memory[1]);
      current.spills = Number(memory[2]) + Number(memory[3]);
    }
    const used = /Used (\d+) registers/.exec(line);
    if (used) current.registers = Number(used[1]);
  }
  return kernels;
}

/** How many instructions for the tensor cores a kernel's PTX has. */
function countMma({ mangled, architecture }, ptx) {
  const own = ptx.find((text) => text.includes(`.target ${architecture}`)) ?? '';
  const body = own.split(`.entry ${mangled}(`)[1]?.split('.entry ')[0] ?? '';
  return (body.match(/\b(mma\.sync|wgmma\.mma_async)\b/g) ?? []).length;
}

async function measure(file) {
  const folder = mkdtempSync(join(tmpdir(), 'headfirst-ptxas-'));
  try {
    const kernels = kernelsIn(await ptxas(file, folder));
    const ptx = readdirSync(folder)
      .filter((name) => name.endsWith('.ptx'))
      .map((name) => readFileSync(join(folder, name), 'utf8'));
    return kernels.map((entry) => {
      const { mangled: _, ...taken } = entry;
      return { file: basename(file), ...taken, mma: countMma(entry, ptx) };
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The record as it is committed: a kernel a line. */
function write(version, kernels) {
  const lines = kernels.map((k) => `  ${JSON.stringify(k)}`).join(',\n');
  writeFileSync(
    record,
    `{\n "nvcc": "${version}",\n "sources": "${sourceHash()}",\n "kernels": [\n${lines}\n ]\n}\n`,
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const all = sources(/\.cu$/);
  const wanted = process.argv.slice(2);
  const files = wanted.length > 0 ? all.filter((file) => wanted.includes(basename(file))) : all;
  const { stdout } = await run(nvcc, ['--version']);
  const known = new Set(all.map((file) => basename(file)));
  const renewed = new Set(files.map((file) => basename(file)));
  const before = JSON.parse(readFileSync(record, 'utf8')).kernels;
  const kernels = before.filter((k) => known.has(k.file) && !renewed.has(k.file));
  const queue = [...files];
  await Promise.all(
    Array.from({ length: Math.min(2, availableParallelism()) }, async () => {
      while (queue.length > 0) {
        const file = queue.shift();
        kernels.push(...(await measure(file)));
        process.stderr.write(`${file}\n`);
      }
    }),
  );
  const key = (k) => `${k.file} ${k.kernel} ${k.architecture}`;
  kernels.sort((a, b) => (key(a) < key(b) ? -1 : 1));
  write(/release (\S+),/.exec(stdout)[1], kernels);
}
