/**
 * `npm run bench:gpu [rows…]`: the hardware table, by device events where an op is timed and by the clock around whole jobs. Ceilings are measured in the
 * same run. Results go to stdout and to bench/results (or $OUT). Random data; medians of at least 20 calls after as many that warm up.
 * `--peer torch` then runs bench/peers/gpu.py on the same rows; `--peer-results FILE` reads the lines that it printed before.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { AdamW, type Context, createContext, Model, ntk, type Sample } from '../src/index.js';
import { addon } from '../src/native/addon.js';
import { root } from '../src/native/locate.js';
import type { KernelArgs, NativeMath } from '../src/native/types.js';
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

const random = new Random(11);
/** Cheap numbers that are not zero: a Weyl sequence, about uniform in [−scale, scale). */
function numbers(count: number, scale = 1): Float32Array {
  const out = new Float32Array(count);
  let state = random.integer(1, 1 << 30);
  for (let i = 0; i < count; ++i) out[i] = (((state = (state + 0x9e3779b9) >>> 0) / 2147483648) - 1) * scale;
  return out;
}
/** The same, as bits of bfloat16 (truncated). */
function bfloat16s(count: number, scale = 1): Uint16Array {
  const out = new Uint16Array(count), part = 1 << 22;
  for (let i = 0; i < count; i += part) {
    const bits = new Uint32Array(numbers(Math.min(part, count - i), scale).buffer);
    for (let j = 0; j < bits.length; ++j) out[i + j] = bits[j]! >>> 16;
  }
  return out;
}
const matrix = (rows: number, columns: number, scale = 1) => ({ data: numbers(rows * columns, scale), shape: [rows, columns] });
const zeros = (...shape: number[]) => ({ data: new Float32Array(shape.reduce((a, b) => a * b, 1)), shape });  // outputs
const median = (times: readonly number[]) => [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)]!;
function row(name: string, seconds: readonly number[], note: string, peer?: string): Row {
  const sorted = [...seconds].sort((a, b) => a - b), middle = median(seconds);
  return { name, milliseconds: middle * 1e3, spread: (sorted[Math.floor(0.75 * sorted.length)]! - sorted[Math.floor(0.25 * sorted.length)]!) / middle, samples: seconds.length, note, ...(peer === undefined ? {} : { peer }) };
}
const timed = (name: string, args: KernelArgs, math: NativeMath, count = 20) => addon.ops.find((o) => o.name === name)!.deviceTimes(args, { backend: 'cuda', math, count });
const op = (name: string, args: KernelArgs, math: NativeMath): number[] => [...timed(name, args, math).seconds];
async function job(body: () => Promise<unknown>, count = 20): Promise<number[]> {
  for (let i = 0; i < 3; ++i) await body();
  const times: number[] = [];
  for (let i = 0; i < count; ++i) {
    const begin = performance.now();
    await body();
    times.push((performance.now() - begin) / 1e3);
  }
  return times;
}

const NEOX = { model_type: 'gpt_neox', vocab_size: 50304, hidden_size: 768, num_hidden_layers: 12, num_attention_heads: 12, intermediate_size: 3072, max_position_embeddings: 2048, rotary_pct: 0.25, use_parallel_residual: true, hidden_act: 'gelu', layer_norm_eps: 1e-5, rotary_emb_base: 10000, tie_word_embeddings: false };
const tokens = (sequences: number, length: number): Sample[] =>
  Array.from({ length: sequences }, () => ({ inputIds: Array.from({ length }, () => random.integer(0, NEOX.vocab_size)), scoreFrom: 1 }));
const context = (math: NativeMath): Promise<Context> => createContext({ device: 'cuda', math });

/** Each row of the table, or several that belong together. */
const rows: Record<string, (ceilings: { matmul: number; copy: number }) => Promise<Row[]>> = {
  async memory({ copy }) {
    const [N, C] = [16384, 4096];
    const share = (seconds: readonly number[], bytes: number) => `${((100 * bytes) / median(seconds) / copy).toFixed(0)} % of copy bandwidth`;
    const line = (name: string, args: KernelArgs, bytes: number) => {
      const seconds = op(name, args, 'fp32');
      return row(`${name} ${N} × ${C}`, seconds, share(seconds, bytes));
    };
    const P = 1 << 27;
    const adam = op('adamw', { param: numbers(P), grad: numbers(P), exp_avg: numbers(P), exp_avg_sq: numbers(P).map(Math.abs), step: 3 }, 'fp32');
    return [
      line('norm', { x: matrix(N, C), gain: numbers(C), bias: numbers(C) }, 8 * N * C),
      line('activation', { x: matrix(N, C), kind: 'gelu' }, 8 * N * C),
      line('rope', { x: { data: numbers(N * C), shape: [N, 32, 128] }, positions: Int32Array.from({ length: N }, (_, i) => i % 2048), inv_freq: Float64Array.from({ length: 64 }, (_, i) => 1e4 ** (-i / 64)) }, 8 * N * C),
      line('sum_of_squares', { x: numbers(N * C) }, 4 * N * C),
      row(`adamw ${P}`, adam, share(adam, 28 * P)),
    ];
  },
  async policyGradient() {
    const [M, H, V] = [8192, 4096, 131072];
    const weight = { data: bfloat16s(V * H, 0.02), shape: [V, H] };
    const run = (N: number, gradients: boolean): Row => {
      const args = {
        hidden: matrix(N, H), weight, targets: Int32Array.from({ length: N }, () => random.integer(0, V)), coefficients: numbers(N), entropy_coefficients: numbers(N),
        entropy: zeros(N), max_prob: zeros(N), lse: zeros(N), ...(gradients ? { d_hidden: zeros(N, H), d_weight: zeros(V, H) } : {}),
      };
      const { seconds, workspaceBytes } = timed('linear_policy_gradient', args, 'bf16');
      const note = `workspace ${(workspaceBytes / 1e6).toFixed(0)} MB; ${(((gradients ? 6 : 2) * N * H * V) / median([...seconds]) / 1e12).toFixed(0)} TFLOP/s`;
      return row(`policyGradient ${gradients ? 'forward + backward' : 'forward'}, bf16, M ${N}, H ${H}, V ${V}`, [...seconds], note, gradients ? 'policyGradient' : 'policyGradientForward');
    };
    return [run(M, true), run(2 * M, false)];
  },
  async tokenGram({ matmul }) {
    const [n, T, d] = [1024, 32, 4096], N = n * T;
    const seconds = op('token_gram', { a: matrix(N, d), d: matrix(N, d), offsets: Int32Array.from({ length: n + 1 }, (_, i) => i * T) }, 'bf16');
    const rate = (2 * d * N * N) / median(seconds);
    return [row(`token_gram n ${n} × T ${T}, d ${d}, bf16`, seconds, `${(rate / 1e12).toFixed(0)} TFLOP/s, ${((100 * rate) / matmul).toFixed(0)} % of the measured matmul rate`)];
  },
  async gram() {
    const device = await context('bf16');
    const model = await Model.fromConfig(NEOX, { context: device, seed: 1 });
    const x = tokens(64, 256);
    const { flops } = await ntk.estimate(model, x);
    const seconds = await job(() => ntk.gram(model, x));
    device.dispose();
    return [row('Gram of 64 × T 256, 160M NeoX, bf16', seconds, `${(flops / median(seconds) / 1e12).toFixed(0)} TFLOP/s`, 'gram')];
  },
  async train() {
    const device = await context('bf16');
    const model = await Model.fromConfig(NEOX, { context: device, seed: 1 });
    const optimizer = new AdamW(model);
    const samples = tokens(32, 512), coefficients = new Float32Array(32 * 511).fill(1 / (32 * 511));
    const seconds = await job(async () => {
      await model.accumulateGradients(samples, { loss: 'coefficients', coefficients, maxTokens: 32 * 512 });
      await optimizer.step({ learningRate: 1e-4 });
    });
    device.dispose();
    return [row('training step, 160M NeoX, bf16, B 32 × T 512', seconds, `${((32 * 512) / median(seconds)).toFixed(0)} tokens/s`, 'train')];
  },
  async sample() {
    const device = await context('bf16');
    const model = await Model.fromConfig(NEOX, { context: device, seed: 1 });
    const prompts = tokens(256, 16).map((s) => s.inputIds);
    const seconds = await job(() => model.generate(prompts, { maxNewTokens: 128, stop: [] }), 5);
    device.dispose();
    return [row('sampling, 160M NeoX, batch 256, 128 tokens', seconds, `${((256 * 128) / median(seconds)).toFixed(0)} tokens/s`, 'sample')];
  },
};

const git = (...args: string[]): string => {
  try {
    return execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
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
  const failed = (message: string) => (process.stderr.write(`headfirst: bench:gpu: ${message}\n`), (process.exitCode = 1));
  let text = '';
  if (file === undefined) {
    const python = spawnSync(process.env['HEADFIRST_PYTHON'] ?? 'python3', [join(root, 'bench/peers/gpu.py'), ...names], { encoding: 'utf8', maxBuffer: 1 << 24, stdio: ['ignore', 'pipe', 'inherit'] });
    if (python.status !== 0) failed(`bench/peers/gpu.py: ${python.error?.message ?? `exit code ${python.status ?? python.signal}`}`);
    text = python.stdout ?? '';
  } else if (existsSync(file)) text = readFileSync(file, 'utf8');
  else failed(`--peer-results: there is no file ${file}`);
  return text.split('\n').filter((line) => /^\{.*\}$/.test(line)).map((line) => JSON.parse(line) as PeerLine);
}

const device = addon.cuda.devices[0];
if (!device) {
  process.stderr.write(`headfirst: bench:gpu: ${addon.cuda.reason}\n`);
  process.exit(1);
}
const { values: options, positionals: wanted } = parseArgs({ allowPositionals: true, options: { peer: { type: 'string' }, 'peer-results': { type: 'string' } } });
if (options.peer !== undefined && options.peer !== 'torch') {
  process.stderr.write(`headfirst: bench:gpu: --peer must be torch, got '${options.peer}'\n`);
  process.exit(2);
}
const unknown = wanted.find((name) => !(name in rows));
if (unknown) {
  process.stderr.write(`headfirst: bench:gpu: there is no row '${unknown}'; choose from ${Object.keys(rows).join(', ')}\n`);
  process.exit(2);
}
const side = 8192;
const bfloat16 = ({ data, shape }: ReturnType<typeof matrix>) => ({ data: new Uint16Array(data.buffer).filter((_, i) => i % 2 === 1), shape });  // the upper halves
const product = op('gemm', { a: bfloat16(matrix(side, side)), b: bfloat16(matrix(side, side)), c: matrix(side, side) }, 'bf16');
const rounding = op('gemm', { a: matrix(side, side), b: matrix(side, side), c: matrix(side, side) }, 'bf16');
const copied = op('copy', { x: { data: numbers(1 << 27), shape: [1 << 14, 1, 1 << 13] } }, 'fp32');
const ceilings = { matmul: (2 * side ** 3) / median(product), copy: (8 * (1 << 27)) / median(copied) };
const rate = (seconds: readonly number[]) => `${((2 * side ** 3) / median(seconds) / 1e12).toFixed(0)} TFLOP/s; ${addon.cuda.cublas()}`;
const results = [row(`gemm ${side}³, bfloat16 operands`, product, rate(product), 'matmul'), row(`gemm ${side}³, float32 operands rounded to bfloat16`, rounding, rate(rounding)), row('copy 512 MiB (ours)', copied, `${(ceilings.copy / 1e12).toFixed(2)} TB/s`)];
for (const [name, measure] of Object.entries(rows)) if (wanted.length === 0 || wanted.includes(name)) results.push(...(await measure(ceilings)));
const peers = peerLines().map((line): PeerLine => {
  const ours = results.find((r) => r.peer === line.row);
  return line.milliseconds === undefined || !ours ? line : { ...line, ratio: line.milliseconds / ours.milliseconds };
});
const print = (name: string, r: { milliseconds?: number; spread?: number; note?: string }, more = '') =>
  void process.stdout.write(`${name.padEnd(64)} ${r.milliseconds!.toFixed(3).padStart(10)} ms ± ${(r.spread! * 100).toFixed(0)} %  ${r.note}${more}\n`);
const printPeer = (line: PeerLine) =>
  line.error !== undefined
    ? void process.stdout.write(`  torch ${line.row}, ${line.form}: ${line.error}\n`)
    : print(`  torch ${line.row}, ${line.form}`, line, `${line.extraBytes ? `; ${(line.extraBytes / 1e6).toFixed(0)} MB extra` : ''}${line.ratio ? `; ours is ×${line.ratio.toFixed(2)} as fast` : ''}`);
for (const r of results) {
  print(r.name, r);
  for (const line of peers) if (line.row === r.peer) printPeer(line);
}
for (const line of peers) if (!results.some((r) => r.peer === line.row)) printPeer(line);
const folder = process.env['OUT'] ?? join(root, 'bench/results');
mkdirSync(folder, { recursive: true });
const date = new Date().toISOString();
writeFileSync(join(folder, `${date.slice(0, 16).replace(/:/g, '')}-gpu.json`), `${JSON.stringify({
  date, command: ['npm run bench:gpu --', ...process.argv.slice(2)].join(' '), commit: `${git('rev-parse', '--short', 'HEAD')}${git('status', '--porcelain') ? ' with changes' : ''}`, device, driver: addon.cuda.reason, ceilings, results, peers,
}, null, 1)}\n`);
