/**
 * Safetensors files: 8 bytes header length (little-endian), a JSON header { name: { dtype, shape,
 * data_offsets } }, then the numbers without gaps (https://github.com/huggingface/safetensors). Only headers
 * are read here: the engine maps the numbers itself.
 */
import { open, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { io, readIfPresent, writeAll, writeFileAtomically } from '../../core/files.js';
import { fail } from '../../errors.js';
import type { RealArray } from '../../core/addon/contract.js';

/** Bytes per number of every dtype the format knows, so that any file can be checked. */
const BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
} as const;
export type SafetensorsDtype = keyof typeof BYTES;

export interface TensorEntry {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly path: string;
  /** Of the first number, from the file's beginning. */
  readonly offset: number;
  readonly bytes: number;
}

/** As in the format's reference implementation: a longer header is an attack or garbage. */
const MAX_HEADER_BYTES = 100_000_000;
const REMEDY = 'the file is damaged or incomplete; copy or download it again';

/**
 * A file's tensors by name.
 * @throws ERR_IO (missing, truncated, not safetensors, ranges that overlap, leave gaps or reach past the
 * end), ERR_DTYPE (unknown dtype),
 *   ERR_SHAPE (shape and byte range disagree); each names the file and the tensor.
 */
export async function readSafetensorsHeader(
  path: string,
  caller = 'safetensors',
): Promise<Map<string, TensorEntry>> {
  const { header, dataStart, dataBytes } = await readHeader(path, caller);
  const tensors = new Map<string, TensorEntry>();
  for (const [name, value] of Object.entries(header))
    if (name !== '__metadata__')
      tensors.set(
        name,
        checkEntry(`${caller}: ${path}: tensor '${name}'`, name, value, path, dataStart, dataBytes),
      );

  let end = dataStart;
  let previous = '';
  for (const { name, offset, bytes } of [...tensors.values()].sort(
    (a, b) => a.offset - b.offset || a.bytes - b.bytes,
  )) {
    if (offset < end)
      fail('ERR_IO', `${caller}: ${path}: tensors '${previous}' and '${name}' overlap; ${REMEDY}`);
    if (offset > end)
      fail(
        'ERR_IO',
        `${caller}: ${path}: ${offset - end} bytes before tensor '${name}' belong to no tensor; ${REMEDY}`,
      );
    end = offset + bytes;
    previous = name;
  }
  if (end !== dataStart + dataBytes)
    fail(
      'ERR_IO',
      `${caller}: ${path}: ${dataStart + dataBytes - end} bytes after the last tensor '${previous}' belong to ` +
        `none; ${REMEDY}`,
    );
  return tensors;
}

async function readHeader(
  path: string,
  caller: string,
): Promise<{ header: object; dataStart: number; dataBytes: number }> {
  return io(caller, 'read', path, async () => {
    const file = await open(path, 'r');
    try {
      const size = (await file.stat()).size;
      const prefix = Buffer.alloc(8);
      if ((await file.read(prefix, 0, 8, 0)).bytesRead < 8)
        fail(
          'ERR_IO',
          `${caller}: ${path} has ${size} bytes, fewer than a safetensors file begins with; ${REMEDY}`,
        );
      const length = prefix.readBigUInt64LE();
      if (length > MAX_HEADER_BYTES || length > size - 8)
        fail(
          'ERR_IO',
          `${caller}: ${path} is truncated or not a safetensors file: it announces a header of ${length} bytes ` +
            `and has ${size} bytes; ${REMEDY}`,
        );
      const bytes = Buffer.alloc(Number(length));
      for (let done = 0; done < bytes.length; ) {
        const { bytesRead } = await file.read(bytes, done, bytes.length - done, 8 + done);
        if (bytesRead === 0) fail('ERR_IO', `${caller}: ${path} became shorter while it was read; ${REMEDY}`);
        done += bytesRead;
      }
      return {
        header: parseHeader(bytes, path, caller),
        dataStart: 8 + bytes.length,
        dataBytes: size - 8 - bytes.length,
      };
    } finally {
      await file.close();
    }
  });
}

function parseHeader(bytes: Buffer, path: string, caller: string): object {
  const text = bytes.toString('utf8');
  let header: unknown;
  try {
    header = JSON.parse(text);
  } catch (error) {
    fail(
      'ERR_IO',
      `${caller}: ${path}: the header is not JSON (${(error as Error).message}); ${REMEDY}`,
      error,
    );
  }
  if (typeof header !== 'object' || header === null || Array.isArray(header))
    fail('ERR_IO', `${caller}: ${path}: the header is not a JSON object; ${REMEDY}`);
  // JSON.parse keeps the last of two equal keys without a word.
  const seen = new Set<string>();
  let depth = 0;
  let last = '';
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]:]/g)) {
    if (token === '{' || token === '[') ++depth;
    else if (token === '}' || token === ']') --depth;
    else if (token === ':' && depth === 1) {
      const name = JSON.parse(last) as string;
      if (seen.has(name))
        fail('ERR_IO', `${caller}: ${path}: tensor '${name}' appears twice in the header; ${REMEDY}`);
      seen.add(name);
    } else last = token;
  }
  return header;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function checkEntry(
  what: string,
  name: string,
  value: unknown,
  path: string,
  dataStart: number,
  dataBytes: number,
): TensorEntry {
  const {
    dtype,
    shape,
    data_offsets: range,
  } = (value ?? {}) as { dtype?: unknown; shape?: unknown; data_offsets?: unknown };
  if (typeof dtype !== 'string' || !Object.hasOwn(BYTES, dtype))
    fail(
      'ERR_DTYPE',
      `${what} has dtype ${JSON.stringify(dtype)}, known are ${Object.keys(BYTES).join(', ')}; save it as F32, ` +
        'BF16 or F16',
    );
  if (!Array.isArray(shape) || !shape.every(isCount))
    fail('ERR_SHAPE', `${what} has shape ${JSON.stringify(shape)}, which is not a list of sizes; ${REMEDY}`);
  if (!Array.isArray(range) || range.length !== 2 || !range.every(isCount) || range[0]! > range[1]!)
    fail(
      'ERR_IO',
      `${what} has data_offsets ${JSON.stringify(range)}, which are not [begin, end]; ${REMEDY}`,
    );
  const [begin, end] = range as [number, number];
  if (end > dataBytes)
    fail(
      'ERR_IO',
      `${what} ends at byte ${dataStart + end}, but the file has ${dataStart + dataBytes} bytes: it is ` +
        'truncated; copy or download it again',
    );
  const bytes = shape.reduce((a: number, b: number) => a * b, BYTES[dtype as SafetensorsDtype]);
  if (bytes !== end - begin)
    fail(
      'ERR_SHAPE',
      `${what} of shape [${shape.join(', ')}] and dtype ${dtype} needs ${bytes} bytes, got ${end - begin}; ${REMEDY}`,
    );
  return { name, dtype: dtype as SafetensorsDtype, shape, path, offset: dataStart + begin, bytes };
}

/**
 * All tensors of a Hugging Face directory: model.safetensors, or the shards that model.safetensors.index.json
 * lists.
 */
export async function readCheckpointTensors(
  directory: string,
  caller = 'safetensors',
): Promise<Map<string, TensorEntry>> {
  const files = await io(caller, 'read', directory, () => readdir(directory));
  if (files.includes('model.safetensors'))
    return readSafetensorsHeader(join(directory, 'model.safetensors'), caller);
  const indexPath = join(directory, 'model.safetensors.index.json');
  const index = await readIfPresent(caller, indexPath);
  if (!index) return failWithoutWeights(caller, directory, files);

  const weightMap = parseWeightMap(caller, indexPath, index);
  const tensors = new Map<string, TensorEntry>();
  for (const shard of new Set(Object.values(weightMap))) {
    const path = join(directory, shardName(caller, indexPath, shard));
    for (const [name, entry] of await readSafetensorsHeader(path, caller)) {
      const other = tensors.get(name);
      if (other)
        fail(
          'ERR_IO',
          `${caller}: tensor '${name}' is in both ${other.path} and ${entry.path}; ` +
            'remove the shard that does not belong here',
        );
      tensors.set(name, entry);
    }
  }
  for (const [name, shard] of Object.entries(weightMap)) {
    if (tensors.get(name)?.path === join(directory, shard as string)) continue;
    fail(
      'ERR_IO',
      `${caller}: ${indexPath} puts tensor '${name}' into ${String(shard)}, which does not hold it; ${REMEDY}`,
    );
  }
  return tensors;
}

function failWithoutWeights(caller: string, directory: string, files: readonly string[]): never {
  const pickle = files.find((file) => /^pytorch_model.*\.bin(\.index\.json)?$/.test(file));
  const remedy = pickle
    ? `${pickle} is a pickle: save the model with safe_serialization=True`
    : 'check the path, or download the weights';
  return fail(
    'ERR_IO',
    `${caller}: ${directory} has neither model.safetensors nor model.safetensors.index.json; ${remedy}`,
  );
}

/** Which shard holds each tensor, as the index says. */
function parseWeightMap(caller: string, path: string, index: Buffer): Record<string, unknown> {
  let parsed: { weight_map?: unknown };
  try {
    parsed = JSON.parse(index.toString('utf8')) as { weight_map?: unknown };
  } catch (error) {
    return fail('ERR_IO', `${caller}: ${path} is not JSON (${(error as Error).message}); ${REMEDY}`, error);
  }
  const map = parsed.weight_map;
  if (typeof map !== 'object' || map === null)
    fail('ERR_IO', `${caller}: ${path} has no weight_map; ${REMEDY}`);
  return map as Record<string, unknown>;
}

/** A shard lies beside the index: a name with a path in it is refused. */
function shardName(caller: string, indexPath: string, shard: unknown): string {
  if (typeof shard === 'string' && shard === basename(shard) && shard.endsWith('.safetensors')) return shard;
  return fail(
    'ERR_IO',
    `${caller}: ${indexPath} names ${JSON.stringify(shard)}, which is not a .safetensors file beside it; ` +
      REMEDY,
  );
}

// ---- writing ----------------------------------------------------------------------------------------------

/** F64 is for models computed in double: their checkpoints continue bit for bit. */
export type StoredDtype = 'F64' | 'F32' | 'BF16' | 'F16';

export interface TensorToWrite {
  readonly name: string;
  readonly shape: readonly number[];
  /** Called once, when its turn comes: one tensor is in memory at a time. */
  read(): Promise<RealArray>;
}

/** Numbers converted at a time. */
const CHUNK = 1 << 20;

/** Writes one file atomically. @throws ERR_IO naming the path, ERR_DTYPE when a number is beyond float16. */
export function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  dtype: StoredDtype,
  caller = 'safetensors',
): Promise<void> {
  return writeFileAtomically(caller, path, async (file) => {
    // 'format' is what transformers insists on.
    const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
    let offset = 0;
    for (const { name, shape } of tensors) {
      const bytes = shape.reduce((a, b) => a * b, BYTES[dtype]);
      header[name] = { dtype, shape, data_offsets: [offset, offset + bytes] };
      offset += bytes;
    }
    const json = Buffer.from(JSON.stringify(header));
    // Spaces up to a multiple of 8, so that mapped numbers are aligned.
    const start = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
    start.writeBigUInt64LE(BigInt(start.length - 8));
    json.copy(start, 8);
    await writeAll(file, start);
    for (const { name, read } of tensors) {
      const data = await read();
      for (let begin = 0; begin < data.length; begin += CHUNK) {
        const part = encode(data.subarray(begin, begin + CHUNK), dtype);
        if (!part)
          fail(
            'ERR_DTYPE',
            `${caller}: tensor '${name}' has numbers beyond float16's ±65504; save as BF16 or F32`,
          );
        await writeAll(file, part);
      }
    }
  });
}

/** Writes model.safetensors, or above `maxShardBytes` shards and their index, as transformers names them. */
export async function writeCheckpointTensors(
  directory: string,
  tensors: readonly TensorToWrite[],
  dtype: StoredDtype,
  maxShardBytes: number,
  caller = 'safetensors',
): Promise<void> {
  const shards: TensorToWrite[][] = [[]];
  let shardBytes = 0;
  let totalBytes = 0;
  for (const tensor of tensors) {
    const bytes = tensor.shape.reduce((a, b) => a * b, BYTES[dtype]);
    if (shardBytes > 0 && shardBytes + bytes > maxShardBytes) {
      shards.push([]);
      shardBytes = 0;
    }
    shards.at(-1)!.push(tensor);
    shardBytes += bytes;
    totalBytes += bytes;
  }
  if (shards.length === 1)
    return writeSafetensors(join(directory, 'model.safetensors'), tensors, dtype, caller);
  const weightMap: Record<string, string> = {};
  const number = (n: number) => String(n).padStart(5, '0');
  for (const [i, shard] of shards.entries()) {
    const file = `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
    for (const { name } of shard) weightMap[name] = file;
    await writeSafetensors(join(directory, file), shard, dtype, caller);
  }
  const index = { metadata: { total_size: totalBytes }, weight_map: weightMap };
  await writeFileAtomically(caller, join(directory, 'model.safetensors.index.json'), (file) =>
    writeAll(file, Buffer.from(`${JSON.stringify(index, null, 2)}\n`)),
  );
}

/**
 * Little-endian bytes in `dtype`, rounded to nearest even; undefined when a finite number has no finite
 * float16.
 */
function encode(data: RealArray, dtype: StoredDtype): Uint8Array | undefined {
  if (dtype === 'F64') {
    const double = data instanceof Float64Array ? data : Float64Array.from(data);
    return new Uint8Array(double.buffer, double.byteOffset, double.byteLength);
  }
  const single = data instanceof Float32Array ? data : Float32Array.from(data);
  if (dtype === 'F32') return new Uint8Array(single.buffer, single.byteOffset, single.byteLength);
  const bits = new Uint32Array(single.buffer, single.byteOffset, single.length);
  const out = new Uint16Array(single.length);
  if (dtype === 'BF16') {
    for (let i = 0; i < out.length; ++i) out[i] = bfloat16(bits[i]!);
  } else {
    for (let i = 0; i < out.length; ++i) {
      out[i] = float16(bits[i]!);
      if ((out[i]! & 0x7fff) === 0x7c00 && Number.isFinite(single[i]!)) return undefined;
    }
  }
  return new Uint8Array(out.buffer);
}

/** float32 bits to bfloat16 bits; a NaN stays one. */
function bfloat16(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/**
 * float32 bits to float16 bits: numbers too large become infinity, numbers below 2⁻¹⁴ are rounded to
 * multiples of 2⁻²⁴.
 */
function float16(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) {
    // Rebias the exponent from 127 to 15, then drop 13 bits; a carry out of the fraction raises the exponent
    // as it should.
    const rebased = magnitude - 0x38000000;
    return sign | ((rebased + 0xfff + ((rebased >>> 13) & 1)) >>> 13);
  }
  const shift = 126 - (magnitude >>> 23);
  if (shift > 24) return sign;
  const fraction = (magnitude & 0x7fffff) | 0x800000;
  const half = 2 ** (shift - 1);
  return sign | ((fraction + half - 1 + ((fraction >>> shift) & 1)) >>> shift);
}
