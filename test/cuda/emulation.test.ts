/**
 * The emulated CUDA machine finds planted mistakes, in any order of threads, and passes the same kernels
 * without them.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const program = fileURLToPath(new URL('../../build/emulation/planted', import.meta.url));
const run = (name: string, seed: number) => {
  const { stdout, signal } = spawnSync(program, [name], {
    encoding: 'utf8',
    env: { ...process.env, HEADFIRST_EMULATION_SEED: String(seed) },
  });
  return { said: stdout.trim(), signal };
};

describe.each([1, 2, 3])('order of threads %i', (seed) => {
  it.each(['product', 'exchange', 'uploads', 'matrices'])('passes: %s', (name) =>
    expect(run(name, seed).said).toBe('ok'),
  );
  it.each([
    ['missing barrier', /race on shared word|before the asynchronous copy|read before anything wrote it/],
    ['missing warp barrier', /race on shared word|read before anything wrote it/],
    ['matrices without a warp barrier', /race on shared word|read before anything wrote it/],
    ['matrix row not aligned', /ldmatrix_x4 of a row at shared byte \d+, which is not a multiple of 16/],
    ['missing wait', /before the asynchronous copy to it was waited for/],
    ['shared index out of bounds', /shared index out of bounds: byte \d+ of a piece of 1152 bytes/],
    ['unwritten word', /read before anything wrote it/],
    ['divergent barrier', /waits at a barrier that 32 of 64 threads never reach/],
    ['half a warp in mma', /waits in mma_tf32 for lanes of its warp that do something else/],
    ['wrong fragment lane', /wrong result/],
    ['operand not rounded', /was not rounded with to_tf32/],
  ] as const)('finds: %s', (name, message) => expect(run(name, seed).said).toMatch(message));
});

describe('device memory', () => {
  it.each(['device memory on the host', 'global index out of bounds'])('is closed: %s', (name) =>
    expect(run(name, 1)).toEqual({ said: '', signal: 'SIGSEGV' }),
  );
});
