/**
 * `npm run bench:gpu [rows…]`: the hardware table, by device events where an op is timed and by the clock
 * around whole jobs. Ceilings are measured in the same run. Every line is printed, and the results file (in
 * bench/results or $OUT) rewritten, the moment it is measured; a line that fails is reported and the next
 * goes on. Random data beyond the L2 cache; medians of 20 calls, or as many as fit in 4 seconds and at least
 * 3, after those that warm up. `--peer torch` then runs bench/peers/gpu.py on the same rows; `--peer-results
 * FILE` reads the lines that it printed before. `--profile` runs every line a few times, without ceilings or
 * results: for HEADFIRST_PROFILE=1 and outside profilers.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { AdamW, type Context, createContext, Model, ntk, type Sample } from '../src/index.js';
import { addon } from '../src/core/addon/addon.js';
import { root } from '../src/core/addon/locate.js';
import type { ArrayView, KernelArgs, NativeMath } from '../src/core/addon/contract.js';
import { Random } from '../test/helpers/random.js';

interface Row {
  readonly name: string;
  readonly milliseconds: number;
  readonly spread: number;
  readonly samples: number;
  readonly note: string;
  /** The row of bench/peers/gpu.py that does the same. */
  readonly peer?: string;
}

/** A row to be: one line of output. */
interface Line {
  readonly name: string;
  readonly peer?: string;
  measure(): Measured | Promise<Measured>;
}
interface Measured {
  readonly seconds: readonly number[];
  readonly note: string;
}

/** One form of one row, as bench/peers/gpu.py prints it. */
interface PeerLine {
  readonly row: string;
  readonly form: string;
  readonly milliseconds?: number;
  readonly spread?: number;
  readonly samples?: number;
  readonly extraBytes?: number | null;
  /** Of its answer from that of the row's first form, relative in norm. */
  readonly difference?: number | null;
  readonly note?: string;
  readonly on: string;
  readonly error?: string;
  /** Its median over ours: above 1, ours is faster. None where we have no such row. */
  readonly ratio?: number;
}

const { values: options, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: {
    peer: { type: 'string' },
    'peer-results': { type: 'string' },
    profile: { type: 'boolean', default: false },
  },
});

const random = new Random(11);
/**
 * Pools of 2^24 cheap numbers, more than the L2 cache holds, from which all arrays are cut: making each
 * number anew in JavaScript would take longer than the benchmark. A Weyl sequence, about uniform in [−1, 1)
 * and not zero, times `scale`; for positive numbers its magnitudes plus 0.1; bits of bfloat16 are its upper
 * halves.
 */
const POOL = 1 << 24;
const pools = new Map<string, Float32Array | Uint16Array>();
function pool<T extends Float32Array | Uint16Array>(key: string, make: () => T): T {
  if (!pools.has(key)) pools.set(key, make());
  return pools.get(key) as T;
}
const uniform = (scale: number) =>
  pool(`uniform ${scale}`, () => {
    const out = new Float32Array(POOL);
    for (let i = 0, weyl = random.integer(1, 1 << 30); i < POOL; ++i)
      out[i] = ((weyl = (weyl + 0x9e3779b9) >>> 0) / 2147483648 - 1) * scale;
    return out;
  });
const magnitudes = () =>
  pool('positive', () => {
    const from = uniform(1),
      out = new Float32Array(POOL);
    for (let i = 0; i < POOL; ++i) out[i] = Math.abs(from[i]!) + 0.1;
    return out;
  });
const upperHalves = (scale: number) =>
  pool(`bfloat16 ${scale}`, () => {
    const from = new Uint32Array(uniform(scale).buffer),
      out = new Uint16Array(POOL);
    for (let i = 0; i < POOL; ++i) out[i] = from[i]! >>> 16;
    return out;
  });
function cut<T extends Float32Array | Uint16Array>(from: T, to: T): T {
  for (let begin = 0, at = random.integer(0, POOL); begin < to.length; at = 0) {
    const part = from.subarray(at, Math.min(POOL, at + to.length - begin));
    to.set(part as never, begin), (begin += part.length);
  }
  return to;
}
const numbers = (count: number, scale = 1): Float32Array => cut(uniform(scale), new Float32Array(count));
const positive = (count: number): Float32Array => cut(magnitudes(), new Float32Array(count));
const bfloat16s = (count: number, scale = 1): Uint16Array => cut(upperHalves(scale), new Uint16Array(count));
const matrix = (rows: number, columns: number, scale = 1): ArrayView => ({
  data: numbers(rows * columns, scale),
  shape: [rows, columns],
});
const zeros = (...shape: number[]): ArrayView => ({
  data: new Float32Array(shape.reduce((a, b) => a * b, 1)),
  shape,
}); // outputs
const transposed = ({ data, shape: [rows, columns] }: ArrayView): ArrayView => ({
  data,
  shape: [columns!, rows!],
  strides: [1, columns!],
});

const median = (times: readonly number[]) => [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)]!;
const SECONDS = 4;
/** Of calls that take `seconds` each. */
const samplesOf = (seconds: number) =>
  options.profile ? 3 : Math.max(3, Math.min(20, Math.floor(SECONDS / seconds)));
const entry = (name: string) => addon.ops.find((o) => o.name === name)!;
const timed = (name: string, args: KernelArgs, math: NativeMath) =>
  entry(name).deviceTimes(args, {
    backend: 'cuda',
    math,
    count: options.profile ? 3 : 20,
    maxSeconds: SECONDS,
  });
const op = (name: string, args: KernelArgs, math: NativeMath): number[] => [
  ...timed(name, args, math).seconds,
];
async function job(body: () => Promise<unknown>): Promise<number[]> {
  const once = async () => {
    const begin = performance.now();
    await body();
    return (performance.now() - begin) / 1e3;
  };
  await once(), await once();
  const count = samplesOf(await once()),
    times: number[] = [];
  for (let i = 0; i < count; ++i) times.push(await once());
  return times;
}
const teraflops = (flops: number, seconds: readonly number[]) =>
  `${(flops / median(seconds) / 1e12).toFixed(0)} TFLOP/s`;

const NEOX = {
  model_type: 'gpt_neox',
  vocab_size: 50304,
  hidden_size: 768,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  intermediate_size: 3072,
  max_position_embeddings: 2048,
  rotary_pct: 0.25,
  use_parallel_residual: true,
  hidden_act: 'gelu',
  layer_norm_eps: 1e-5,
  rotary_emb_base: 10000,
  tie_word_embeddings: false,
};
const tokens = (sequences: number, length: number): Sample[] =>
  Array.from({ length: sequences }, () => ({
    inputIds: Array.from({ length }, () => random.integer(0, NEOX.vocab_size)),
    scoreFrom: 1,
  }));
const context = (math: NativeMath): Promise<Context> => createContext({ device: 'cuda', math });

/** FLOP/s and bytes/s of this run: the first lines. 0 where they were not measured. */
const ceilings = { matmul: 0, copy: 0 };
const SIDE = 8192;
const ceilingLines: Line[] = [
  {
    name: `gemm ${SIDE}³, bf16`,
    peer: 'matmul',
    measure() {
      const seconds = op(
        'gemm',
        {
          a: { ...matrix(SIDE, SIDE), data: bfloat16s(SIDE * SIDE) },
          b: { ...matrix(SIDE, SIDE), data: bfloat16s(SIDE * SIDE) },
          c: zeros(SIDE, SIDE),
        },
        'bf16',
      );
      ceilings.matmul = (2 * SIDE ** 3) / median(seconds);
      return { seconds, note: `${teraflops(2 * SIDE ** 3, seconds)}, operands in bfloat16` };
    },
  },
  {
    name: 'copy 1 GiB',
    peer: 'copy',
    measure() {
      const count = 1 << 28,
        seconds = op('copy', { x: { data: numbers(count), shape: [1 << 15, 1, 1 << 13] } }, 'fp32');
      ceilings.copy = (8 * count) / median(seconds);
      return { seconds, note: `${(ceilings.copy / 1e12).toFixed(2)} TB/s` };
    },
  },
];

/** A memory-bound op beside the measured copy. */
const memory = (name: string, shape: string, args: () => KernelArgs, label = name): Line => ({
  name: `${label} ${shape}`,
  measure() {
    const given = args(),
      { bytes } = entry(name).cost(given),
      seconds = op(name, given, 'fp32'),
      rate = bytes / median(seconds);
    return {
      seconds,
      note: `${(rate / 1e12).toFixed(2)} TB/s${ceilings.copy ? `, ${((100 * rate) / ceilings.copy).toFixed(0)} % of copy bandwidth` : ''}`,
    };
  },
});

/** (M × K) (K × N) in every math, with float32 in memory, and once with bfloat16 there. */
const forms = ['bf16', 'bf16 in memory', 'tf32', 'fp32'] as const;
const products = (
  name: string,
  M: number,
  K: number,
  N: number,
  layout: 'forward' | 'input gradient' | 'weight gradient',
  more: () => KernelArgs = () => ({}),
  only: readonly (typeof forms)[number][] = forms,
): Line[] =>
  only.map((form) => ({
    name: `gemm ${name} ${M} × ${K} × ${N}, ${form}`,
    measure() {
      const make =
        form === 'bf16 in memory'
          ? (rows: number, columns: number): ArrayView => ({
              data: bfloat16s(rows * columns),
              shape: [rows, columns],
            })
          : (rows: number, columns: number) => matrix(rows, columns);
      // As the engine stores them: weights (outputs, inputs), activations by rows.
      const args = {
        a: layout === 'weight gradient' ? transposed(make(K, M)) : make(M, K),
        b: layout === 'forward' ? transposed(make(N, K)) : make(K, N),
        c: zeros(M, N),
        ...more(),
      };
      const seconds = op('gemm', args, form === 'bf16 in memory' ? 'bf16' : form),
        flops = 2 * M * K * N;
      return {
        seconds,
        note: `${teraflops(flops, seconds)}${form.startsWith('bf16') && ceilings.matmul ? `, ${((100 * flops) / median(seconds) / ceilings.matmul).toFixed(0)} % of the measured matmul rate` : ''}`,
      };
    },
  }));

function policyGradient(N: number, gradients: boolean): Line {
  const [H, V] = [4096, 131072];
  return {
    name: `policyGradient ${gradients ? 'forward + backward' : 'forward'}, bf16, M ${N}, H ${H}, V ${V}`,
    peer: gradients ? 'policyGradient' : 'policyGradientForward',
    measure() {
      const args = {
        hidden: matrix(N, H),
        weight: { data: bfloat16s(V * H, 0.02), shape: [V, H] },
        targets: Int32Array.from({ length: N }, () => random.integer(0, V)),
        coefficients: numbers(N),
        entropy_coefficients: numbers(N),
        entropy: zeros(N),
        max_prob: zeros(N),
        lse: zeros(N),
        ...(gradients ? { d_hidden: zeros(N, H), d_weight: zeros(V, H) } : {}),
      };
      const { seconds, workspaceBytes } = timed('linear_policy_gradient', args, 'bf16');
      return {
        seconds: [...seconds],
        note: `workspace ${(workspaceBytes / 1e6).toFixed(0)} MB; ${teraflops((gradients ? 6 : 2) * N * H * V, [...seconds])}`,
      };
    },
  };
}

async function onModel(body: (model: Model) => Promise<Measured>): Promise<Measured> {
  const device = await context('bf16');
  try {
    return await body(await Model.fromConfig(NEOX, { context: device, seed: 1 }));
  } finally {
    device.dispose();
  }
}

const [N, C] = [16384, 4096];
const ids = (count: number, below: number) =>
  Int32Array.from({ length: count }, () => random.integer(0, below));
const P = 1 << 27,
  VOCABULARY = 32768;

/** Each row of the table, of one line or several that belong together. */
const rows: Record<string, readonly Line[]> = {
  memory: [
    memory('norm', `${N} × ${C}`, () => ({ x: matrix(N, C), gain: numbers(C), bias: numbers(C) })),
    memory('norm_backward', `${N} × ${C}`, () => ({
      x: matrix(N, C),
      gain: numbers(C),
      mean: numbers(N, 0.1),
      rstd: positive(N),
      d_y: matrix(N, C),
      d_x: zeros(N, C),
    })),
    memory('activation', `${N} × ${C}`, () => ({ x: matrix(N, C), kind: 'gelu' }), 'activation gelu'),
    memory(
      'activation_backward',
      `${N} × ${C}`,
      () => ({ x: matrix(N, C), d_y: matrix(N, C), kind: 'gelu' }),
      'activation_backward gelu',
    ),
    memory('rope', `${N} × 32 × 128`, () => ({
      x: { data: numbers(N * C), shape: [N, 32, 128] },
      positions: Int32Array.from({ length: N }, (_, i) => i % 2048),
      inv_freq: Float64Array.from({ length: 64 }, (_, i) => 1e4 ** (-i / 64)),
    })),
    memory('adamw', `${P}`, () => ({
      param: numbers(P),
      grad: numbers(P),
      exp_avg: numbers(P),
      exp_avg_sq: positive(P),
      step: 3,
    })),
    memory('sum_of_squares', `${N * C}`, () => ({ x: numbers(N * C) })),
    memory('reduce', `${N} × ${C}`, () => ({ x: matrix(N, C), y: zeros(C) })),
    memory('reduce', `${N} × 768`, () => ({ x: matrix(N, 768), y: zeros(768) })),
    memory('embedding', `${N} of ${VOCABULARY} × ${C}`, () => ({
      table: matrix(VOCABULARY, C),
      ids: ids(N, VOCABULARY),
    })),
    memory('embedding_backward', `${N} of ${VOCABULARY} × ${C}`, () => ({
      ids: ids(N, VOCABULARY),
      d_y: matrix(N, C),
      d_table: zeros(VOCABULARY, C),
    })),
    memory('row_dot', `${N} × ${C}`, () => ({ x: matrix(N, C), w: matrix(N, C), y: new Float64Array(N) })),
    memory('classifier_gradient', `4096 × 50304`, () => ({
      z: matrix(4096, 50304),
      lse: positive(4096),
      targets: ids(4096, 50304),
      scale: numbers(4096),
    })),
    memory('sample_token', '1024 × 50304', () => ({
      logits: matrix(1024, 50304),
      streams: Int32Array.from({ length: 1024 }, (_, i) => i),
      counters: new Int32Array(1024),
    })),
    memory('copy', `${N} × 32 × 128, heads apart`, () => ({
      x: { data: numbers(2 * N * C), shape: [N, 32, 128], strides: [2 * C, 256, 1] },
      y: zeros(N, 32, 128),
    })),
  ],
  gemms: [
    ...products('square', SIDE, SIDE, SIDE, 'forward'),
    ...products('query, key, value', 16384, 768, 2304, 'forward'),
    ...products('attention output', 16384, 768, 768, 'forward'),
    ...products('MLP up', 16384, 768, 3072, 'forward'),
    ...products('MLP down', 16384, 3072, 768, 'forward'),
    ...products('MLP up, input gradient', 16384, 3072, 768, 'input gradient'),
    ...products('MLP up, weight gradient', 3072, 16384, 768, 'weight gradient'),
    // Two of them are what cuBLAS is slow at by itself (native/ops/linear/cuda/gemm.cu, Detour), the others
    // what they are compared with.
    ...products(
      'attention output, bias and residual',
      16384,
      768,
      768,
      'forward',
      () => ({ bias: numbers(768), residual: matrix(16384, 768) }),
      ['bf16 in memory'],
    ),
    ...products(
      'MLP down, bias and residual',
      16384,
      3072,
      768,
      'forward',
      () => ({ bias: numbers(768), residual: matrix(16384, 768) }),
      ['bf16 in memory'],
    ),
    ...products(
      'MLP up, weight gradient, added',
      3072,
      16384,
      768,
      'weight gradient',
      () => ({ accumulate: true }),
      ['bf16 in memory'],
    ),
    ...products(
      'MLP down, weight gradient, added',
      768,
      16384,
      3072,
      'weight gradient',
      () => ({ accumulate: true }),
      ['bf16 in memory'],
    ),
  ],
  policyGradient: [policyGradient(8192, true)],
  policyGradientForward: [policyGradient(16384, false)],
  tokenGram: [
    {
      name: 'token_gram n 1024 × T 32, d 4096, bf16',
      measure() {
        const [n, T, d] = [1024, 32, 4096],
          N = n * T;
        const seconds = op(
            'token_gram',
            {
              a: matrix(N, d),
              d: matrix(N, d),
              offsets: Int32Array.from({ length: n + 1 }, (_, i) => i * T),
            },
            'bf16',
          ),
          flops = 2 * d * N * N;
        return {
          seconds,
          note: `${teraflops(flops, seconds)}${ceilings.matmul ? `, ${((100 * flops) / median(seconds) / ceilings.matmul).toFixed(0)} % of the measured matmul rate` : ''}`,
        };
      },
    },
  ],
  gram: [
    {
      name: 'Gram of 64 × T 256, 160M NeoX, bf16',
      peer: 'gram',
      measure: () =>
        onModel(async (model) => {
          const x = tokens(64, 256),
            { flops } = await ntk.estimate(model, x);
          const seconds = await job(() => ntk.gram(model, x));
          return { seconds, note: teraflops(flops, seconds) };
        }),
    },
  ],
  train: [
    {
      name: 'training step, 160M NeoX, bf16, B 32 × T 512',
      peer: 'train',
      measure: () =>
        onModel(async (model) => {
          const optimizer = new AdamW(model);
          const samples = tokens(32, 512),
            coefficients = new Float32Array(32 * 511).fill(1 / (32 * 511));
          const seconds = await job(async () => {
            await model.accumulateGradients(samples, {
              loss: 'coefficients',
              coefficients,
              maxTokens: 32 * 512,
            });
            await optimizer.step({ learningRate: 1e-4 });
          });
          return { seconds, note: `${((32 * 512) / median(seconds)).toFixed(0)} tokens/s` };
        }),
    },
  ],
  sample: [
    {
      name: 'sampling, 160M NeoX, batch 256, 128 tokens',
      peer: 'sample',
      measure: () =>
        onModel(async (model) => {
          const prompts = tokens(256, 16).map((s) => s.inputIds);
          const seconds = await job(() => model.generate(prompts, { maxNewTokens: 128, stop: [] }));
          return { seconds, note: `${((256 * 128) / median(seconds)).toFixed(0)} tokens/s` };
        }),
    },
  ],
};

const git = (...args: string[]): string => {
  try {
    return execFileSync('git', args, {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return '';
  }
};

/** Rows that bench/peers/gpu.py has too. */
const PEER_ROWS = ['policyGradient', 'gram', 'train', 'sample'];
function peerLines(): PeerLine[] {
  const file = options['peer-results'];
  if (file === undefined && options.peer === undefined) return [];
  const names = ['ceilings', ...PEER_ROWS.filter((name) => wanted.length === 0 || wanted.includes(name))];
  // Whatever goes wrong with the peer, our own rows are still reported, and what it printed before.
  const failed = (message: string) => (
    process.stderr.write(`headfirst: bench:gpu: ${message}\n`), (process.exitCode = 1)
  );
  let text = '';
  if (file === undefined) {
    const python = spawnSync(
      process.env['HEADFIRST_PYTHON'] ?? 'python3',
      [join(root, 'bench/peers/gpu.py'), ...names],
      { encoding: 'utf8', maxBuffer: 1 << 24, stdio: ['ignore', 'pipe', 'inherit'] },
    );
    if (python.status !== 0)
      failed(`bench/peers/gpu.py: ${python.error?.message ?? `exit code ${python.status ?? python.signal}`}`);
    text = python.stdout ?? '';
  } else if (existsSync(file)) text = readFileSync(file, 'utf8');
  else failed(`--peer-results: there is no file ${file}`);
  return text
    .split('\n')
    .filter((line) => /^\{.*\}$/.test(line))
    .map((line) => JSON.parse(line) as PeerLine);
}

const device = addon.cuda.devices.find((d) => d.problem === undefined);
const leave = (code: number, message: string): never => {
  process.stderr.write(`headfirst: bench:gpu: ${message}\n`);
  process.exit(code);
};
if (!device) leave(1, addon.cuda.reason);
if (options.peer !== undefined && options.peer !== 'torch')
  leave(2, `--peer must be torch, got '${options.peer}'`);
const unknown = wanted.find((name) => !(name in rows));
if (unknown) leave(2, `there is no row '${unknown}'; choose from ${Object.keys(rows).join(', ')}`);

const results: Row[] = [],
  errors: { name: string; error: string }[] = [];
let peers: PeerLine[] = [];
const folder = process.env['OUT'] ?? join(root, 'bench/results'),
  date = new Date().toISOString();
const about = {
  date,
  command: ['npm run bench:gpu --', ...process.argv.slice(2)].join(' '),
  commit:
    process.env['HEADFIRST_COMMIT'] ??
    `${git('rev-parse', '--short', 'HEAD')}${git('status', '--porcelain') ? ' with changes' : ''}`,
  device,
  driver: addon.cuda.reason,
};
const label = wanted.length === 0 ? 'gpu' : `gpu-${wanted.join('-')}`;
function save(): void {
  if (options.profile) return;
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    join(folder, `${date.slice(0, 16).replace(/:/g, '')}-${label}.json`),
    `${JSON.stringify({ ...about, ceilings, results, errors, peers }, null, 1)}\n`,
  );
}
const elapsed = () => `${(performance.now() / 1e3).toFixed(1).padStart(6)} s`;
const print = (
  name: string,
  r: { milliseconds?: number; spread?: number; samples?: number; note?: string },
  more = '',
) =>
  void process.stdout.write(
    `${name.padEnd(64)} ${r.milliseconds!.toFixed(3).padStart(10)} ms ± ${(r.spread! * 100).toFixed(0)} % of ${r.samples}  ${r.note}${more}\n`,
  );

for (const line of [
  ...(options.profile ? [] : ceilingLines),
  ...Object.entries(rows).flatMap(([name, lines]) =>
    wanted.length === 0 || wanted.includes(name) ? lines : [],
  ),
]) {
  try {
    const { seconds, note } = await line.measure();
    const sorted = [...seconds].sort((a, b) => a - b),
      middle = median(seconds);
    const row: Row = {
      name: line.name,
      milliseconds: middle * 1e3,
      spread:
        (sorted[Math.floor(0.75 * sorted.length)]! - sorted[Math.floor(0.25 * sorted.length)]!) / middle,
      samples: seconds.length,
      note,
      ...(line.peer === undefined ? {} : { peer: line.peer }),
    };
    results.push(row);
    print(`${elapsed()}  ${row.name}`, row);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    errors.push({ name: line.name, error: message });
    process.stdout.write(`${elapsed()}  ${line.name}: ${message}\n`);
    process.exitCode = 1;
  }
  save();
}
peers = peerLines().map((line): PeerLine => {
  const ours = results.find((r) => r.peer === line.row);
  return line.milliseconds === undefined || !ours
    ? line
    : { ...line, ratio: line.milliseconds / ours.milliseconds };
});
for (const line of peers)
  if (line.error !== undefined) process.stdout.write(`  torch ${line.row}, ${line.form}: ${line.error}\n`);
  else
    print(
      `  torch ${line.row}, ${line.form}`,
      line,
      `${line.extraBytes ? `; ${(line.extraBytes / 1e6).toFixed(0)} MB extra` : ''}${line.ratio ? `; ours is ×${line.ratio.toFixed(2)} as fast` : ''}`,
    );
if (peers.length > 0) save();
