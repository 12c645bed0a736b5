/** Text of files: UTF-8, in blocks of whole lines, so that a file may be larger than the longest string. */
import { constants, isUtf8 } from 'node:buffer';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import type { Readable } from 'node:stream';

import { fail } from '../errors.js';
import { io } from './files.js';

const LINE_FEED = 0x0a;
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);
const REMEDY = "save it as UTF-8, for example by iconv -f FROM -t UTF-8 or an editor's 'save with encoding'";

/** Lines that follow each other in a file. */
interface LineBlock {
  /** Of its first line, from 1. */
  readonly number: number;
  readonly lines: readonly string[];
}

/**
 * A text file's lines. A name that ends in .gz is decompressed, a byte order mark is left out.
 * @throws ERR_IO naming the file: it cannot be read, is damaged, is no UTF-8, or has a line that is too long.
 */
export async function* readLines(caller: string, path: string): AsyncGenerator<LineBlock, void, undefined> {
  let number = 1;
  let isFirst = true;
  const blockOf = (bytes: Buffer): LineBlock => {
    const whole = isFirst ? withoutMark(caller, path, bytes) : bytes;
    isFirst = false;
    const lines = decode(caller, path, whole, number).split('\n');
    const block = { number, lines };
    number += lines.length;
    return block;
  };
  let pending: Buffer[] = [];
  let size = 0;
  for await (const chunk of chunksOf(caller, path)) {
    const end = chunk.lastIndexOf(LINE_FEED);
    if (end >= 0) {
      const whole = chunk.subarray(0, end);
      yield blockOf(size === 0 ? whole : Buffer.concat([...pending, whole]));
      pending = [];
      size = 0;
    }
    const rest = chunk.subarray(end + 1);
    size += rest.length;
    if (size > constants.MAX_STRING_LENGTH)
      fail(
        'ERR_IO',
        `${caller}: ${path}:${number} is a line of more than ${constants.MAX_STRING_LENGTH} bytes, the longest text ` +
          'that there can be; put one row on a line',
      );
    pending.push(rest);
  }
  if (size > 0) yield blockOf(Buffer.concat(pending));
}

/** Files up to this size are read in one go. */
const SMALL = 1 << 27;

/** A file's bytes as they come. */
async function* chunksOf(caller: string, path: string): AsyncGenerator<Buffer, void, undefined> {
  const { size } = await io(caller, 'read', path, () => stat(path));
  if (size <= SMALL && !path.endsWith('.gz')) {
    yield await io(caller, 'read', path, () => readFile(path));
    return;
  }
  const source = createReadStream(path, { highWaterMark: 1 << 22 });
  const chunks = path.endsWith('.gz') ? unpacked(source) : source;
  const iterator = chunks[Symbol.asyncIterator]() as AsyncIterator<Buffer, void>;
  try {
    for (;;) {
      const { value, done } = await io(caller, 'read', path, () => iterator.next());
      if (done === true) return;
      yield value as Buffer;
    }
  } catch (error) {
    if ((error as { code?: string }).code === 'ERR_IO') throw error;
    fail('ERR_IO', `${caller}: ${path} cannot be read (${(error as Error).message})`, error);
  } finally {
    source.destroy();
  }
}

function unpacked(source: Readable): Readable {
  const { createGunzip } = process.getBuiltinModule('node:zlib');
  const gunzip = createGunzip({ chunkSize: 1 << 20 });
  source.on('error', (error) => gunzip.destroy(error));
  return source.pipe(gunzip);
}

/** The beginning of a file without its byte order mark. @throws ERR_IO for the mark of UTF-16. */
function withoutMark(caller: string, path: string, bytes: Buffer): Buffer {
  const [first, second] = bytes;
  const isMarked = (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff);
  if (isMarked || first === 0 || second === 0)
    fail('ERR_IO', `${caller}: ${path} is UTF-16, not UTF-8; ${REMEDY}`);
  return bytes.subarray(0, 3).equals(BYTE_ORDER_MARK) ? bytes.subarray(3) : bytes;
}

/** `number`: of the first line. @throws ERR_IO for bytes that are no UTF-8, naming the line. */
function decode(caller: string, path: string, bytes: Buffer, number: number): string {
  if (isUtf8(bytes)) return bytes.toString('utf8');
  let line = number;
  for (let begin = 0; begin < bytes.length; ++line) {
    const found = bytes.indexOf(LINE_FEED, begin);
    const end = found < 0 ? bytes.length : found;
    if (!isUtf8(bytes.subarray(begin, end))) break;
    begin = end + 1;
  }
  return fail('ERR_IO', `${caller}: ${path}:${line} is not UTF-8, perhaps Latin-1; ${REMEDY}`);
}

/** The text of a whole file's bytes. @throws ERR_IO as readLines. */
function textOf(caller: string, path: string, bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return decode(caller, path, withoutMark(caller, path, buffer), 1);
}

/** @throws ERR_IO naming the path when it is not a JSON object. */
export function parseJson(caller: string, path: string, bytes: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(textOf(caller, path, bytes));
  } catch (error) {
    fail(
      'ERR_IO',
      `${caller}: ${path} is not JSON (${(error as Error).message}); correct it or download it again`,
      error,
    );
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    fail('ERR_IO', `${caller}: ${path} must be a JSON object; correct it or download it again`);
  return value as Record<string, unknown>;
}
