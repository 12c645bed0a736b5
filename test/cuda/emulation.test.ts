/**
 * The emulated CUDA machine finds planted mistakes (test/emulation/planted.cc), in any order of threads, and
 * passes the same kernels without them.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const program = fileURLToPath(new URL('../../build/emulation/planted', import.meta.url));

/** Runs one of the list; what it said, and the signal that ended it. */
function run(name: string, seed: number) {
  const { stdout, signal } = spawnSync(program, [name], {
    encoding: 'utf8',
    env: { ...process.env, HEADFIRST_EMULATION_SEED: String(seed) },
  });
  return { said: stdout.trim(), signal };
}

const CORRECT = ['product', 'exchange', 'uploads', 'matrices'];

const READ_TOO_EARLY = /race on shared word|read before anything wrote it/;
/** Each mistake, and what the machine says of it. */
const MISTAKES: readonly (readonly [string, RegExp])[] = [
  [
    'a read of what another warp loads, without a barrier of the block',
    /race on shared word|before the asynchronous copy|read before anything wrote it/,
  ],
  ['a read of what another lane writes, without a barrier of the warp', READ_TOO_EARLY],
  ['fragments of what other lanes write, without a barrier of the warp', READ_TOO_EARLY],
  [
    'a matrix row that is not at a multiple of 16 bytes',
    /ldmatrix_x4 of a row at shared byte \d+, which is not a multiple of 16/,
  ],
  [
    'a read of an asynchronous copy that was not waited for',
    /before the asynchronous copy to it was waited for/,
  ],
  [
    'an index past the end of a piece of shared memory',
    /shared index out of bounds: byte \d+ of a piece of 1152 bytes/,
  ],
  ['a read of a word that nothing wrote', /read before anything wrote it/],
  ['a barrier that only one of two warps reaches', /waits at a barrier that 32 of 64 threads never reach/],
  ['an mma that only half a warp reaches', /waits in mma_tf32 for lanes of its warp that do something else/],
  ['fragments that belong to other lanes', /wrong result/],
  ['an operand of the tf32 product that is not rounded', /was not rounded with to_tf32/],
];

describe.each([1, 2, 3])('order of threads %i', (seed) => {
  it.each(CORRECT)('passes: %s', (name) => expect(run(name, seed).said).toBe('ok'));
  it.each(MISTAKES)('finds: %s', (name, message) => expect(run(name, seed).said).toMatch(message));
});

describe('device memory is closed to', () => {
  it.each(['host code that writes to device memory', 'an index past the end of device memory'])(
    '%s',
    (name) => expect(run(name, 1)).toEqual({ said: '', signal: 'SIGSEGV' }),
  );
});
