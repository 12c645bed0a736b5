/**
 * The record of what kernels take (npm run cuda:resources): up to date, no spills, tensor cores where they
 * are promised, within a block's means.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

import { sourceHash } from '../../scripts/cuda-resources.mjs';

const text = readFileSync(
  fileURLToPath(new URL('../../native/backends/cuda/resources.json', import.meta.url)),
  'utf8',
);
const record = JSON.parse(text) as {
  sources: string;
  kernels: {
    file: string;
    kernel: string;
    architecture: string;
    stack: number;
    spills: number;
    registers: number;
    mma: number;
  }[];
};

/** Kernels that keep something in local memory, and why. */
const local: Record<string, string> = {
  'rope.cu rope_kernel': 'the float64 sincos of the CUDA library keeps a table for huge arguments',
  'sketch.cu random_kernel': 'the same, for normal numbers',
};

describe('the record of kernel resources', () => {
  it('belongs to the sources as they are: npm run cuda:resources', () =>
    expect(record.sources).toBe(sourceHash()));

  it.each(['sm_80', 'sm_90a'])('%s: no spills, no local arrays', (architecture) => {
    const kernels = record.kernels.filter((k) => k.architecture === architecture);
    expect(kernels.length).toBeGreaterThan(60);
    for (const k of kernels) {
      expect(k.spills, `${k.file} ${k.kernel}: spilled bytes`).toBe(0);
      if (!local[`${k.file} ${k.kernel}`]) expect(k.stack, `${k.file} ${k.kernel}: bytes of stack`).toBe(0);
    }
  });

  it.each([
    ['gemm.cu', 'gemm_kernel'],
    ['attention.cu', 'forward_kernel'],
    ['attention.cu', 'd_q_kernel'],
    ['attention.cu', 'd_kv_kernel'],
    ['attention.cu', 'jvp_kernel'],
    ['gram.cu', 'gram_tile_kernel'],
    ['outer_products.cu', 'outer_kernel'],
    ['linear_policy_gradient.cu', 'logits_kernel'],
  ])('%s: %s runs on mma.sync in tf32 and bf16, and not in exact float32', (file, kernel) => {
    const all = record.kernels.filter((k) => k.file === file && k.kernel.startsWith(`${kernel}, `));
    for (const math of ['exact', 'tf32', 'bf16']) {
      const some = all.filter((k) => k.kernel.includes(`, ${math}`));
      expect(some.length, math).toBeGreaterThan(0);
      for (const k of some)
        math === 'exact' ? expect(k.mma, k.kernel).toBe(0) : expect(k.mma, k.kernel).toBeGreaterThan(0);
    }
  });

  it.each(['wide_logits.cu', 'wide_gram.cu'])('%s runs on wgmma on Hopper', (file) => {
    const [kernel] = record.kernels.filter(
      (k) => k.file === file && k.kernel.startsWith('wide_') && k.architecture === 'sm_90a',
    );
    expect(kernel!.mma).toBeGreaterThan(0);
  });

  it.each([
    ['flash_attention.cu', 'forward_kernel'],
    ['flash_attention_backward.cu', 'd_q_kernel'],
    ['flash_attention_backward.cu', 'd_kv_kernel'],
  ])('%s: %s runs on mma.sync', (file, kernel) => {
    const all = record.kernels.filter((k) => k.file === file && k.kernel.startsWith(`${kernel}, D `));
    expect(all.length).toBe(8);
    for (const k of all) expect(k.mma, k.kernel).toBeGreaterThan(0);
  });
});
