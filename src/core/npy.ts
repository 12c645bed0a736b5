/**
 * NumPy's .npy, version 1.0 (numpy.org/doc/stable/reference/generated/numpy.lib.format.html): the magic
 * string '\x93NUMPY', two version bytes, the header's length as u16, a Python dict in ASCII padded with
 * spaces and a newline to a multiple of 64 bytes, then the numbers, here little-endian float64 in C order.
 * numpy.load(file) reads it.
 */
import { writeAll, writeFileAtomically } from './files.js';

/** Bytes before the header: magic string, version, length. */
const PREFIX = 10;

export function npyBytes(data: Float64Array, shape: readonly number[]): Uint8Array {
  // A Python tuple of one number ends with a comma.
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const dict = `{'descr': '<f8', 'fortran_order': False, 'shape': ${tuple}, }`;
  const whole = Math.ceil((PREFIX + dict.length + 1) / 64) * 64;
  const header = Buffer.from(`${dict.padEnd(whole - PREFIX - 1)}\n`, 'latin1');
  const prefix = Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, header.length & 255, header.length >> 8]);
  return Buffer.concat([prefix, header, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]);
}

/** @throws ERR_IO naming the path. */
export const writeNpy = (
  caller: string,
  file: string,
  data: Float64Array,
  shape: readonly number[],
): Promise<void> => writeFileAtomically(caller, file, (handle) => writeAll(handle, npyBytes(data, shape)));
