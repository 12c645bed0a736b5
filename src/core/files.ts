/**
 * Files that are either whole or not there: synced writes, directories replaced in one step, errors that name
 * the path.
 */
import { type FileHandle, mkdir, open, readdir, readFile, realpath, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';

import { fail, hasCode } from '../errors.js';

const REMEDIES: Readonly<Record<string, string>> = {
  ENOENT: 'check the path',
  ENOTDIR: 'a part of the path is a file, not a directory',
  EISDIR: 'a file is needed there, not a directory',
  EACCES: 'check its permissions',
  EPERM: 'check its permissions',
  EROFS: 'the file system is read-only; choose another directory',
  ENOSPC: 'the disk is full; free space or choose another directory',
  EDQUOT: 'the disk quota is used up; free space or choose another directory',
  EBUSY: 'it is a mount point or in use; give a directory below it',
  EXDEV: 'it is a mount point; give a directory below it',
};

/**
 * Runs `work`; a system error in it becomes ERR_IO: `<caller>: cannot <action> <path>: <system's words>;
 * <remedy>`.
 */
export async function io<T>(
  caller: string,
  action: string,
  path: string,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { code, syscall, message } = error as NodeJS.ErrnoException;
    if (syscall === undefined || code === undefined) throw error;
    const remedy = REMEDIES[code] ?? 'check the path and the disk';
    return fail('ERR_IO', `${caller}: cannot ${action} ${path}: ${message.split(',')[0]}; ${remedy}`, error);
  }
}

/** The file's bytes, or undefined when there is none. */
export async function readIfPresent(caller: string, path: string): Promise<Buffer | undefined> {
  try {
    return await io(caller, 'read', path, () => readFile(path));
  } catch (error) {
    const absent =
      hasCode(error, 'ERR_IO') && ((error as Error).cause as NodeJS.ErrnoException).code === 'ENOENT';
    if (absent) return undefined;
    throw error;
  }
}

/** Writes all of `bytes`: write() may take fewer than it is given. */
export async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await file.write(bytes, done);
    done += bytesWritten;
  }
}

/**
 * Creates `path` through a temporary name: it appears whole and on disk, or not at all, and an older file
 * survives a failure.
 */
export async function writeFileAtomically(
  caller: string,
  path: string,
  write: (file: FileHandle) => Promise<void>,
): Promise<void> {
  const temporary = temporaryName(path);
  try {
    const file = await io(caller, 'write', path, () => open(temporary, 'wx'));
    try {
      await io(caller, 'write', path, () => write(file));
      await io(caller, 'write', path, () => file.sync());
    } finally {
      await file.close();
    }
    await io(caller, 'write', path, () => rename(temporary, path));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
}

/** How a directory is replaced. */
interface Replacement {
  /** A file that says whose the directory is. One without it is somebody else's, and refused. */
  readonly marker: string;
  /** Names of files that are written anew. All others move over from the old directory. */
  readonly owned: RegExp;
  readonly write: (temporary: string) => Promise<void>;
}

/**
 * Fills a fresh directory with `write` and puts it in `directory`'s place. Until everything is on disk an
 * existing directory stays as it is.
 */
export async function replaceDirectory(
  caller: string,
  directory: string,
  { marker, owned, write }: Replacement,
): Promise<void> {
  // A symbolic link keeps pointing to the same place.
  const target = await realpath(directory).catch(() => resolve(directory));
  const temporary = temporaryName(target);
  try {
    const existing = await io(caller, 'write', directory, () => entriesFor(target));
    if (existing && existing.length > 0 && !existing.includes(marker))
      fail(
        'ERR_INVALID_ARG',
        `${caller}: ${directory} holds other files and no ${marker}; give a new or empty directory`,
      );
    await io(caller, 'write', directory, () => mkdir(temporary));
    await write(temporary);
    await io(caller, 'write', directory, async () => {
      await syncDirectory(temporary);
      if (existing) {
        const kept = existing.filter((name) => !owned.test(name));
        await exchange(target, temporary, kept);
      } else {
        await rename(temporary, target);
      }
      await syncDirectory(dirname(target));
    });
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
    throw error;
  }
}

/** Names in a directory, undefined when there is none; its parents are made. */
async function entriesFor(target: string): Promise<string[] | undefined> {
  await mkdir(dirname(target), { recursive: true });
  return readdir(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
}

/** Puts `fresh` in the place of `target`; files that are `kept` move over. */
async function exchange(target: string, fresh: string, kept: readonly string[]): Promise<void> {
  const old = temporaryName(target);
  await rename(target, old);
  try {
    await rename(fresh, target);
  } catch (error) {
    await rename(old, target);
    throw error;
  }
  for (const name of kept) await rename(join(old, name), join(target, name));
  await rm(old, { recursive: true, force: true });
}

function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}-${Math.random().toString(36).slice(2)}.tmp`);
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
