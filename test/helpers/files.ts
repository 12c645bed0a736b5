/** Directories and hand-made safetensors files for tests. */
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';

const goldenRoot = fileURLToPath(new URL('../golden', import.meta.url));

/** The directories that test/golden/generate.py has made: one per family and variant. */
export const goldenFamilies = readdirSync(goldenRoot).filter((name) =>
  existsSync(join(goldenRoot, name, 'golden.json')),
);
export const golden = (name: string) => join(goldenRoot, name);

/** Material that is not in the repository: tests that use it skip, and say why, where it is absent. */
const sharedRoot = fileURLToPath(new URL('../../../shared/data', import.meta.url));
export const sharedData = (name: string) => join(sharedRoot, name);
export const withoutSharedData = !existsSync(sharedRoot);
export const needsSharedData = withoutSharedData ? ' (skipped: ../shared/data is not on this machine)' : '';

const temporaryRoot = mkdtempSync(join(tmpdir(), 'headfirst-test-'));
afterAll(() => rmSync(temporaryRoot, { recursive: true, force: true }));

/** A fresh directory, gone when the test file is done. */
export const temporaryDirectory = (): string => mkdtempSync(join(temporaryRoot, 'd'));

/** A copy of a golden checkpoint to damage. */
export function goldenCopy(name: string): string {
  const directory = join(temporaryDirectory(), name);
  cpSync(golden(name), directory, { recursive: true });
  return directory;
}

export const readJson = (path: string) => JSON.parse(readFileSync(path, 'utf8')) as Record<string, any>;
export function editJson(path: string, edit: (value: Record<string, any>) => void): void {
  const value = readJson(path);
  edit(value);
  writeFileSync(path, JSON.stringify(value));
}

export interface RawTensor {
  dtype: string;
  shape: number[];
  data: Uint8Array;
}

/** The file by hand, without the library's own code; `header` changes the header before it is written. */
export function writeRaw(
  path: string,
  tensors: Record<string, RawTensor>,
  header: (header: Record<string, any>) => Record<string, any> | string = (h) => h,
): void {
  const entries: Record<string, unknown> = {};
  let offset = 0;
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    entries[name] = { dtype, shape, data_offsets: [offset, offset + data.length] };
    offset += data.length;
  }
  const edited = header(entries);
  const text = Buffer.from(typeof edited === 'string' ? edited : JSON.stringify(edited));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(path, Buffer.concat([length, text, ...Object.values(tensors).map((t) => t.data)]));
}

export function readRaw(path: string): Record<string, RawTensor> {
  const bytes = readFileSync(path);
  const start = 8 + Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.subarray(8, start).toString('utf8')) as Record<string, any>;
  delete header['__metadata__'];
  const tensors: Record<string, RawTensor> = {};
  for (const [name, { dtype, shape, data_offsets: range }] of Object.entries(header)) {
    const data = Uint8Array.from(bytes.subarray(start + range[0], start + range[1]));
    tensors[name] = { dtype, shape, data };
  }
  return tensors;
}

/** A file's tensors changed in place. */
export function editRaw(
  path: string,
  // biome-ignore lint/suspicious/noConfusingVoidType: an edit in place returns nothing
  edit: (tensors: Record<string, RawTensor>) => Record<string, RawTensor> | void,
): void {
  const tensors = readRaw(path);
  writeRaw(path, edit(tensors) ?? tensors);
}

export const float32 = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);
