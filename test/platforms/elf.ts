/** Reads what the loader of Linux reads of a 64-bit little-endian shared library. */
import { readFileSync } from 'node:fs';

export interface LoadingFacts {
  /** Names that the library defines for others, sorted. */
  readonly exported: readonly string[];
  /** Versions of symbols that it needs: 'GLIBC_2.17', for example. */
  readonly neededVersions: readonly string[];
  /** Whether it asks for a stack that can run code; a library that says nothing does ask. */
  readonly hasExecutableStack: boolean;
}

interface Section {
  readonly type: number;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
  /** What sh_info counts: entries of a table of versions. */
  readonly entries: number;
}

const DYNAMIC_SYMBOLS = 11;
const NEEDED_VERSIONS = 0x6ffffffe;
const STACK_SEGMENT = 0x6474e551;
const EXECUTABLE = 1;

/** @throws an Error when the file is no such library. */
export function loadingFacts(path: string): LoadingFacts {
  const file = readFileSync(path);
  const isElf = file.length > 64 && file.readUInt32BE(0) === 0x7f454c46;
  if (!isElf || file[4] !== 2 || file[5] !== 1) throw new Error(`${path}: is not a 64-bit ELF file`);
  const sections = sectionsOf(file);
  return {
    exported: exportedNames(file, sections).sort(),
    neededVersions: neededVersions(file, sections),
    hasExecutableStack: hasExecutableStack(file),
  };
}

function sectionsOf(file: Buffer): Section[] {
  const table = Number(file.readBigUInt64LE(40));
  const width = file.readUInt16LE(58);
  const count = file.readUInt16LE(60);
  return Array.from({ length: count }, (_, i) => {
    const at = table + i * width;
    return {
      type: file.readUInt32LE(at + 4),
      offset: Number(file.readBigUInt64LE(at + 24)),
      size: Number(file.readBigUInt64LE(at + 32)),
      link: file.readUInt32LE(at + 40),
      entries: file.readUInt32LE(at + 44),
    };
  });
}

function textAt(file: Buffer, at: number): string {
  return file.toString('latin1', at, file.indexOf(0, at));
}

function exportedNames(file: Buffer, sections: readonly Section[]): string[] {
  const symbols = sections.find(({ type }) => type === DYNAMIC_SYMBOLS);
  if (!symbols) return [];
  const names = sections[symbols.link]!.offset;
  const found: string[] = [];
  for (let at = symbols.offset; at < symbols.offset + symbols.size; at += 24) {
    const isLocal = file[at + 4]! >> 4 === 0;
    const isDefined = file.readUInt16LE(at + 6) !== 0;
    if (isDefined && !isLocal) found.push(textAt(file, names + file.readUInt32LE(at)));
  }
  return found;
}

function neededVersions(file: Buffer, sections: readonly Section[]): string[] {
  const table = sections.find(({ type }) => type === NEEDED_VERSIONS);
  if (!table) return [];
  const names = sections[table.link]!.offset;
  const found = new Set<string>();
  let library = table.offset;
  for (let i = 0; i < table.entries; ++i) {
    const count = file.readUInt16LE(library + 2);
    let version = library + file.readUInt32LE(library + 8);
    for (let j = 0; j < count; ++j) {
      found.add(textAt(file, names + file.readUInt32LE(version + 8)));
      version += file.readUInt32LE(version + 12);
    }
    library += file.readUInt32LE(library + 12);
  }
  return [...found];
}

function hasExecutableStack(file: Buffer): boolean {
  const table = Number(file.readBigUInt64LE(32));
  const width = file.readUInt16LE(54);
  const count = file.readUInt16LE(56);
  for (let i = 0; i < count; ++i) {
    const at = table + i * width;
    if (file.readUInt32LE(at) === STACK_SEGMENT) return (file.readUInt32LE(at + 4) & EXECUTABLE) !== 0;
  }
  return true;
}
