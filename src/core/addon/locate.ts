/** Where the native addon may lie, and what is wrong with one that does not load. Loads nothing itself. */
import { closeSync, existsSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { type CodedError, codedError } from '../../errors.js';

const require = createRequire(import.meta.url);

/**
 * The package's own folder: the nearest one above this file with a package.json (dist and the benchmark's
 * build lie at different depths).
 */
export const root: string = (() => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json')) && dirname(folder) !== folder) folder = dirname(folder);
  return folder;
})();
export const packageVersion: string = (
  JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
).version;

/** What a file's first bytes say it was made for. */
interface Binary {
  readonly platform: 'linux' | 'darwin' | 'win32';
  readonly arch: string;
  /** Bytes that its own table of contents needs. */
  readonly bytes: number;
}

function firstBytes(path: string, count: number): Buffer {
  const file = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(count);
    return bytes.subarray(0, readSync(file, bytes, 0, count, 0));
  } finally {
    closeSync(file);
  }
}

const ELF = 0x7f454c46;
const MACH_O = 0xfeedfacf;
const MZ = 0x5a4d;
const ELF_MACHINES: Readonly<Record<number, string>> = {
  0x3e: 'x64',
  0xb7: 'arm64',
  0x03: 'ia32',
  0x28: 'arm',
  0xf3: 'riscv64',
  0x15: 'ppc64',
  0x16: 's390x',
};
const MACH_O_MACHINES: Readonly<Record<number, string>> = { 0x01000007: 'x64', 0x0100000c: 'arm64' };
const PE_MACHINES: Readonly<Record<number, string>> = { 0x8664: 'x64', 0xaa64: 'arm64', 0x14c: 'ia32' };

const machineName = (known: Readonly<Record<number, string>>, code: number): string =>
  known[code] ?? `machine 0x${code.toString(16)}`;

/** Undefined: no program's format that we know. */
function readBinary(path: string): Binary | undefined {
  const head = firstBytes(path, 1024);
  if (head.length < 64) return undefined;
  if (head.readUInt32BE(0) === ELF) return readElf(head);
  if (head.readUInt32LE(0) === MACH_O)
    return { platform: 'darwin', arch: machineName(MACH_O_MACHINES, head.readUInt32LE(4)), bytes: 0 };
  if (head.readUInt16LE(0) === MZ) {
    const headerAt = head.readUInt32LE(60);
    if (headerAt + 6 > head.length) return undefined;
    const machine = head.readUInt16LE(headerAt + 4);
    return { platform: 'win32', arch: machineName(PE_MACHINES, machine), bytes: 0 };
  }
  return undefined;
}

/** Only of 64-bit little-endian files is the length known: their section table comes last. */
function readElf(head: Buffer): Binary {
  const is64Bit = head[4] === 2;
  const isLittleEndian = head[5] === 1;
  const machine = head[5] === 2 ? head.readUInt16BE(18) : head.readUInt16LE(18);
  const sectionTable = Number(head.readBigUInt64LE(40));
  const sectionBytes = head.readUInt16LE(58) * head.readUInt16LE(60);
  return {
    platform: 'linux',
    arch: machineName(ELF_MACHINES, machine),
    bytes: is64Bit && isLittleEndian ? sectionTable + sectionBytes : 0,
  };
}

/**
 * The C library of this Node.js: a binary for one does not load in the other. Read from the program's own
 * interpreter.
 */
function isMusl(): boolean {
  if (process.platform !== 'linux') return false;
  try {
    return firstBytes(process.execPath, 4096).includes('/ld-musl-');
  } catch {
    return false;
  }
}

/** 'linux-x64', 'linux-x64-musl', 'darwin-arm64' …: the name of this machine's platform package. */
const platformName = (): string => `${process.platform}-${process.arch}${isMusl() ? '-musl' : ''}`;
export const platformPackage = (): string => `@headfirst/${platformName()}`;

export interface Candidate {
  readonly source: string;
  /** Absent: there is no such file; `problem` says so. */
  readonly path?: string;
  readonly problem?: string;
}

/**
 * In the order they are tried. An override stands alone: what was asked for explicitly never falls back
 * silently.
 */
export function candidates(): Candidate[] {
  const override = process.env['HEADFIRST_ADDON'];
  if (override) return [fileCandidate('HEADFIRST_ADDON', resolve(override))];
  return [fileCandidate('local build', localAddon()), packageCandidate(platformPackage())];
}

/** What a local build leaves. The addon with CUDA kernels does all that the other one does. */
export function localAddon(): string {
  const [withCuda, without] = ['headfirst_cuda.node', 'headfirst.node'].map((name) =>
    join(root, 'build/Release', name),
  ) as [string, string];
  return existsSync(withCuda) ? withCuda : without;
}

const fileCandidate = (source: string, path: string): Candidate =>
  existsSync(path) ? { source, path } : { source, problem: `${path}: there is no such file` };

function packageCandidate(name: string): Candidate {
  const source = `platform package ${name}`;
  try {
    const folder = dirname(require.resolve(`${name}/package.json`));
    return { source, path: join(folder, 'headfirst.node') };
  } catch {
    return { source, problem: 'not installed' };
  }
}

/**
 * What a file's own head says is wrong with it. Asked before loading: a cut-off file does not fail to load,
 * it ends the process.
 */
export function damage(path: string): string | undefined {
  if (!existsSync(path)) return `${path}: there is no such file`;
  const binary = readBinary(path);
  if (!binary) return `${path}: is not a native addon (a damaged or foreign file)`;
  if (binary.platform !== process.platform || binary.arch !== process.arch)
    return (
      `${path}: was built for ${binary.platform}-${binary.arch}, ` +
      `this is ${process.platform}-${process.arch}`
    );
  const { size } = statSync(path);
  if (size < binary.bytes)
    return `${path}: is cut off: ${size} bytes of ${binary.bytes}; install or build it again`;
  return undefined;
}

/** One line: why `path` did not load, from the system's message. */
export function explain(path: string, message: string): string {
  const line = message.split('\n')[0]!.replace(`${path}: `, '');
  if (/GLIBC_|GLIBCXX_|CXXABI_/.test(line))
    return `${path}: needs a newer C or C++ library than this system has (${line})`;
  if (/libc\.musl|ld-musl|ld-linux|libc\.so\.6|libstdc\+\+|symbol not found/.test(line))
    return (
      `${path}: was built for ${isMusl() ? 'glibc' : 'musl'}, or a library it needs is missing; ` +
      `this is ${platformName()} (${line})`
    );
  return `${path}: ${line}`;
}

const isCheckout = (): boolean => existsSync(join(root, 'scripts/build-native.mjs'));

/** What builds the kernels that an addon may lack. */
export const commandsForTheRest = (): { cpu: string; cuda: string } =>
  isCheckout()
    ? { cpu: 'HEADFIRST_ISAS=all npm run build:native', cuda: 'npm run build:cuda (needs nvcc)' }
    : { cpu: 'npx headfirst build', cuda: 'npx headfirst build --cuda (needs nvcc)' };

/** The way out, for this place: a checkout builds through npm, an installed package by its own command. */
function remedy(): string {
  if (process.env['HEADFIRST_ADDON'])
    return 'Correct HEADFIRST_ADDON, or unset it to use the local build or the platform package.';
  const needs = 'needs CMake 3.20 or newer, make and a C++20 compiler; no network';
  if (isCheckout()) return `Build it in ${root} with: npm run build:native (${needs})`;
  return (
    `Install the platform package: npm install ${platformPackage()}@${packageVersion}\n` +
    `or build the shipped sources: npx headfirst build (${needs})`
  );
}

/** The one error when nothing loads. `causes`: one line per candidate. */
export function loadError(causes: readonly string[]): CodedError {
  const tried = causes.map((cause) => `  ${cause}`).join('\n');
  return codedError(
    'ERR_BACKEND_UNAVAILABLE',
    `headfirst: the native addon could not be loaded on ${platformName()} with Node.js ` +
      `${process.versions.node}. Tried:\n${tried}\n${remedy()}`,
  );
}
