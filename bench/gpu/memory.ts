/** Lines of memory-bound ops, each beside the copy that this run measured. */
import type { KernelArgs } from '../../src/core/addon/contract.js';
import { ids, matrix, numbers, positive, zeros } from './data.js';
import { ceilings, entry, type Line, median, op, share } from './measure.js';

function line(name: string, shape: string, args: () => KernelArgs, label = name): Line {
  return {
    name: `${label} ${shape}`,
    measure() {
      const given = args();
      const { bytes } = entry(name).cost(given);
      const seconds = op(name, given, 'fp32');
      const rate = bytes / median(seconds);
      const note = `${(rate / 1e12).toFixed(2)} TB/s${share(rate, ceilings.copy, 'copy bandwidth')}`;
      return { seconds, note };
    },
  };
}

const N = 16384;
const C = 4096;
const P = 1 << 27;
const VOCABULARY = 32768;

export const memoryLines: readonly Line[] = [
  line('norm', `${N} × ${C}`, () => ({ x: matrix(N, C), gain: numbers(C), bias: numbers(C) })),
  line('norm_backward', `${N} × ${C}`, () => ({
    x: matrix(N, C),
    gain: numbers(C),
    mean: numbers(N, 0.1),
    rstd: positive(N),
    d_y: matrix(N, C),
    d_x: zeros(N, C),
  })),
  line('activation', `${N} × ${C}`, () => ({ x: matrix(N, C), kind: 'gelu' }), 'activation gelu'),
  line(
    'activation_backward',
    `${N} × ${C}`,
    () => ({ x: matrix(N, C), d_y: matrix(N, C), kind: 'gelu' }),
    'activation_backward gelu',
  ),
  line('rope', `${N} × 32 × 128`, () => ({
    x: { data: numbers(N * C), shape: [N, 32, 128] },
    positions: Int32Array.from({ length: N }, (_, i) => i % 2048),
    inv_freq: Float64Array.from({ length: 64 }, (_, i) => 1e4 ** (-i / 64)),
  })),
  line('adamw', `${P}`, () => ({
    param: numbers(P),
    grad: numbers(P),
    exp_avg: numbers(P),
    exp_avg_sq: positive(P),
    step: 3,
  })),
  line('sum_of_squares', `${N * C}`, () => ({ x: numbers(N * C) })),
  line('reduce', `${N} × ${C}`, () => ({ x: matrix(N, C), y: zeros(C) })),
  line('reduce', `${N} × 768`, () => ({ x: matrix(N, 768), y: zeros(768) })),
  line('embedding', `${N} of ${VOCABULARY} × ${C}`, () => ({
    table: matrix(VOCABULARY, C),
    ids: ids(N, VOCABULARY),
  })),
  line('embedding_backward', `${N} of ${VOCABULARY} × ${C}`, () => ({
    ids: ids(N, VOCABULARY),
    d_y: matrix(N, C),
    d_table: zeros(VOCABULARY, C),
  })),
  line('row_dot', `${N} × ${C}`, () => ({ x: matrix(N, C), w: matrix(N, C), y: new Float64Array(N) })),
  line('classifier_gradient', '4096 × 50304', () => ({
    z: matrix(4096, 50304),
    lse: positive(4096),
    targets: ids(4096, 50304),
    scale: numbers(4096),
  })),
  line('sample_token', '1024 × 50304', () => ({
    logits: matrix(1024, 50304),
    streams: Int32Array.from({ length: 1024 }, (_, i) => i),
    counters: new Int32Array(1024),
  })),
  line('copy', `${N} × 32 × 128, heads apart`, () => ({
    x: { data: numbers(2 * N * C), shape: [N, 32, 128], strides: [2 * C, 256, 1] },
    y: zeros(N, 32, 128),
  })),
];
