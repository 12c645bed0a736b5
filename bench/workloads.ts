/**
 * Whole jobs on the shapes that the project is judged by: a GPT of d 256 × 4 layers, 4 heads, V 2048. Each is
 * checked on a small model against the float64 reference before it is timed. Beside PyTorch, both take turns,
 * so that a busy moment hits both.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { addon } from '../src/core/addon/addon.js';
import {
  AdamW,
  analysis,
  type Context,
  createContext,
  Model,
  ntk,
  policyGradient,
  type Sample,
  Tensor,
} from '../src/index.js';
import { Random } from '../test/helpers/random.js';
import { measure, median, type Timing } from './harness.js';
import { bound, type Line, type PeerLine, type Settings } from './types.js';

const GPT = {
  model_type: 'gpt',
  vocab_size: 2048,
  hidden_size: 256,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  max_position_embeddings: 128,
};
const SMALL = {
  model_type: 'gpt',
  vocab_size: 97,
  hidden_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 3,
  max_position_embeddings: 32,
};
type Config = typeof GPT;

const randomTokens = (config: Config, count: number, length: number): number[][] => {
  const random = new Random(5);
  return Array.from({ length: count }, () =>
    Array.from({ length }, () => random.integer(0, config.vocab_size)),
  );
};
/** Linear weights of one layer and of the classifier. */
const linearWeights = ({ hidden_size: d, num_hidden_layers: L, vocab_size: V }: Config) => ({
  layers: L * 12 * d * d,
  classifier: V * d,
});
/**
 * Forward flops of `tokens` tokens, of which `scored` go through the classifier; attention over `span`
 * positions on average.
 */
function forwardFlops(config: Config, tokens: number, scored: number, span: number): number {
  const { layers, classifier } = linearWeights(config);
  return (
    2 * (layers * tokens + classifier * scored) +
    4 * config.num_hidden_layers * config.hidden_size * tokens * span
  );
}

interface Prepared {
  run(): Promise<unknown>;
  flops: number;
  bytes: number;
  /** Bytes that are read again and again. */
  held?: number;
}
interface Workload {
  readonly name: string;
  readonly shape: string;
  /** Default 'fp32'. Only where the machine has it. */
  readonly math?: 'fp32' | 'bf16';
  /** bench/peers script and its arguments; none where no peer does it. */
  readonly peer?: readonly string[];
  /** Numbers to compare with the reference; on a small model. */
  check(context: Context): Promise<ArrayLike<number>>;
  prepare(context: Context): Promise<Prepared>;
}

async function step(config: Config, context: Context, sequences: number, length: number) {
  const model = await Model.fromConfig(config, { context, seed: 3 });
  const optimizer = new AdamW(model);
  const samples: Sample[] = randomTokens(config, sequences, length).map((inputIds) => ({
    inputIds,
    scoreFrom: 1,
  }));
  const scored = sequences * (length - 1);
  const coefficients = new Float32Array(scored).fill(1 / scored);
  const run = async () => {
    const { logps } = await model.accumulateGradients(samples, { loss: 'coefficients', coefficients });
    await optimizer.step({ learningRate: 1e-4 });
    return logps;
  };
  return { model, run, flops: 3 * forwardFlops(config, sequences * length, scored, length / 2), bytes: 0 };
}

function sampling(batch: number): Workload {
  const prompts = (config: Config) => randomTokens(config, batch, 8);
  const generate = (model: Model, config: Config, temperature: number, maxNewTokens: number) =>
    model.generate(prompts(config), { maxNewTokens, temperature, stop: [], seed: 1 });
  return {
    name: 'sampling',
    shape: `64 new tokens, batch ${batch}`,
    peer: ['gpt.py', 'sampling', '--batch', String(batch)],
    async check(context) {
      const model = await Model.fromConfig(SMALL, { context, seed: 3 });
      return (await generate(model, SMALL, 0, 12)).flatMap((c) => Array.from(c.logps));
    },
    async prepare(context) {
      const model = await Model.fromConfig(GPT, { context, seed: 3 });
      const { layers, classifier } = linearWeights(GPT);
      // Every step reads all weights once; the prompt is one forward pass.
      return {
        run: () => generate(model, GPT, 1, 64),
        flops: forwardFlops(GPT, batch * 72, batch * 64, 36),
        bytes: 64 * 4 * (layers + classifier),
        held: 4 * (layers + classifier),
      };
    },
  };
}

function gram(level: 'sequence' | 'token'): Workload {
  const scored = 8;
  const samples = (config: Config, count: number, length: number): Sample[] =>
    randomTokens(config, count, length).map((inputIds) => ({
      inputIds,
      scoreFrom: level === 'token' ? length - scored : 1,
    }));
  return {
    name: 'gram',
    shape:
      level === 'token' ? '32 × T 64, 8 scored positions each: 256 functions' : '32 × T 64, all parameters',
    peer: ['gpt.py', 'gram', '--level', level],
    async check(context) {
      const model = await Model.fromConfig(SMALL, { context, seed: 3 });
      return (await ntk.gram(model, samples(SMALL, 4, 14), null, { level })).kernel;
    },
    async prepare(context) {
      const model = await Model.fromConfig(GPT, { context, seed: 3 });
      const { layers, classifier } = linearWeights(GPT);
      const functions = level === 'token' ? 32 * scored : 32;
      // The least that is needed: one forward pass, a backward pass per function (inputs' gradients and
      // weights' gradients), n²/2 products of P numbers.
      const backward = level === 'token' ? functions * 64 : 32 * 64;
      const flops =
        forwardFlops(GPT, 32 * 64, 32 * 63, 32) +
        4 * (layers * backward + classifier * 32 * (level === 'token' ? scored : 63)) +
        functions * functions * (layers + classifier);
      const x = samples(GPT, 32, 64);
      return { run: () => ntk.gram(model, x, null, { level }), flops, bytes: 0 };
    },
  };
}

const fused: Workload = {
  name: 'policyGradient',
  shape: 'N 2048, C 512, V 50304, both gradients',
  peer: ['policy_gradient.py', '--repeats', '2'],
  async check(context) {
    const { run } = await classifier(context, 37, 19, 97);
    const { gradHidden, gradWeight, entropy } = await run();
    return [...entropy, ...(await gradHidden!.data()), ...(await gradWeight!.data())];
  },
  prepare: (context) => classifier(context, 2048, 512, 50304),
};

/** Beside the peer's float32, as the line above it. */
const fusedBf16: Workload = { ...fused, shape: `${fused.shape}, math bf16`, math: 'bf16' };

async function classifier(context: Context, N: number, C: number, V: number) {
  const random = new Random(9);
  const real = (rows: number, columns: number, std: number) =>
    Float32Array.from({ length: rows * columns }, () => std * random.gauss());
  const hidden = Tensor.from(context, real(N, C, 1), [N, C]);
  const weight = Tensor.from(context, real(V, C, 0.05), [V, C]);
  const targets = random.integers([N], 0, V).data;
  const coefficients = real(1, N, 1 / N);
  let last: Awaited<ReturnType<typeof policyGradient>> | undefined;
  const run = async () => {
    const result = await policyGradient({
      hidden,
      weight,
      targets,
      coefficients,
      gradHidden: true,
      gradWeight: true,
    });
    last?.gradWeight?.dispose();
    last?.gradHidden?.dispose();
    last = result;
    return result;
  };
  return { run, flops: 6 * N * C * V, bytes: 4 * (3 * V * C + 2 * N * C) };
}

const training: Workload = {
  name: 'training step',
  shape: 'B 32 × T 64, AdamW',
  peer: ['gpt.py', 'training'],
  async check(context) {
    const { model, run } = await step(SMALL, context, 3, 9);
    await run();
    const logps = await run();
    return [...logps, ...(await model.getParameter('layers.1.mlp.up.weight'))];
  },
  prepare: (context) => step(GPT, context, 32, 64),
};

/**
 * To be read against the training step's line: forward and backward pass of the batch, forward mode and one
 * more forward pass over the probes.
 */
const explain: Workload = {
  name: 'explainStep',
  shape: 'B 32 × T 64, 64 probes: 4 states of 16 sequences',
  async check(context) {
    const { probes } = await explained(SMALL, context, 3, 9).then(({ run }) => run());
    return probes.flatMap((p) => [...p.predicted]);
  },
  prepare: (context) => explained(GPT, context, 32, 64),
};

async function explained(config: Config, context: Context, count: number, length: number) {
  const model = await Model.fromConfig(config, { context, seed: 3 });
  const batch = randomTokens(config, count, length).map((inputIds, i) => ({
    inputIds,
    scoreFrom: 1,
    advantage: i % 2 ? 1 : -1,
  }));
  const probes = batch
    .slice(0, Math.ceil(count / 2))
    .flatMap(({ inputIds }) =>
      [1 / 4, 1 / 2, 3 / 4, 1].map((share) => inputIds.slice(0, Math.ceil(share * length))),
    );
  const run = () => analysis.explainStep(model, batch, probes, { learningRate: 1e-3 });
  return {
    run,
    flops:
      3 * forwardFlops(config, count * length, count * (length - 1), length / 2) +
      4 * forwardFlops(config, (count / 2) * length, probes.length, length / 2),
    bytes: 0,
  };
}

export const workloads: readonly Workload[] = [
  training,
  explain,
  sampling(32),
  sampling(1),
  gram('sequence'),
  gram('token'),
  fused,
  fusedBf16,
];

function distance(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; ++i) {
    difference += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return actual.length === expected.length ? Math.sqrt(difference / norm) : Infinity;
}

interface PeerOutput {
  readonly [form: string]: {
    readonly seconds: number[];
    readonly cpu: number[];
    readonly extraBytes?: number;
  };
}

/** OpenBLAS's names for processors of our instruction sets. */
const OPENBLAS_CORES: Readonly<Record<string, string>> = { avx512: 'SkylakeX', avx2: 'Haswell' };

/** One process of the peer's script; prints { form: { seconds, cpu, extraBytes? } }. */
async function runPeer(script: readonly string[], threads: number): Promise<PeerOutput> {
  const path = fileURLToPath(new URL(`../../../bench/peers/${script[0]}`, import.meta.url));
  const python = process.env['HEADFIRST_PYTHON'] ?? '/usr/bin/python3';
  // torch.set_num_threads does not reach OpenBLAS, whose choice of kernels bench/peers/timing.py explains.
  const count = String(threads);
  const core = OPENBLAS_CORES[addon.cpu.best];
  const env = {
    OPENBLAS_NUM_THREADS: count,
    OMP_NUM_THREADS: count,
    MKL_NUM_THREADS: count,
    ...(core ? { OPENBLAS_CORETYPE: core } : {}),
    ...process.env,
  };
  const { stdout } = await promisify(execFile)(python, [path, ...script.slice(1), '--threads', count], {
    maxBuffer: 1 << 24,
    env,
  });
  return JSON.parse(stdout) as PeerOutput;
}

/** Seconds, processor seconds and memory of a peer's form, from all rounds. */
interface PeerTimes {
  readonly seconds: number[];
  readonly cpu: number[];
  readonly extraBytes?: number | undefined;
}

export async function benchWorkloads(wanted: (name: string) => boolean, settings: Settings): Promise<void> {
  const hasBf16 = addon.cpu.bf16Dot && settings.rates.bf16Flops > 0;
  for (const workload of workloads) {
    if (!wanted(workload.name) || (workload.math === 'bf16' && !hasBf16)) continue;
    settings.report(await benchWorkload(workload, settings));
  }
}

async function benchWorkload(workload: Workload, settings: Settings): Promise<Line> {
  const { name, shape, math = 'fp32' } = workload;
  const { threads, rates } = settings;
  const context = await createContext({ device: 'cpu', threads, math });
  await checkWorkload(workload, context);
  const prepared = await workload.prepare(context);
  const workspaceBytes = await peakBytes(prepared, context);
  const { ours, theirs } = await timeInTurns(workload, prepared, settings);
  context.dispose();

  const timing = summaryOf(ours);
  const { flops, bytes, held } = prepared;
  const { seconds: least, by: limit } = bound(timing.peak, rates, flops, bytes, held);
  const peers = [...theirs].map(([form, times]) => peerLine(form, times, timing));
  return {
    group: 'model',
    name,
    shape,
    ...timing,
    flops,
    bytes,
    held,
    workspaceBytes,
    roofline: least / timing.median,
    bound: limit,
    ...(settings.peer && workload.peer ? { peers } : {}),
  };
}

/** @throws when the job's result is not the float64 reference's, to rounding. */
async function checkWorkload({ name, math, check }: Workload, context: Context): Promise<void> {
  const exact = await createContext({ device: 'cpu', math: 'fp64' });
  const error = distance(await check(context), await check(exact));
  exact.dispose();
  const allowed = math === 'bf16' ? 2e-2 : 2e-5;
  if (!(error < allowed))
    throw new Error(
      `${name}: relative error ${error.toExponential(1)} against the float64 reference; nothing was timed`,
    );
}

/** Scratch memory of one call that is not the first. */
async function peakBytes({ run }: Prepared, context: Context): Promise<number> {
  await run();
  context.memory();
  await run();
  return context.memory().arenaPeakBytes;
}

/** Measures us and, where there is one, the peer, one after the other in every round. */
async function timeInTurns(
  { name, math = 'fp32', peer: script }: Workload,
  { run }: Prepared,
  { limits, peak, peer, rounds, threads }: Settings,
): Promise<{ ours: Timing[]; theirs: Map<string, PeerTimes> }> {
  const beside = peer ? script : undefined;
  const body = async () => {
    await run();
  };
  const ours: Timing[] = [];
  const theirs = new Map<string, PeerTimes>();
  for (let round = 0; round < (beside ? rounds : 1); ++round) {
    ours.push(await measure(name, body, limits, () => peak(math)));
    if (!beside) continue;
    for (const [form, { seconds, cpu, extraBytes }] of Object.entries(await runPeer(beside, threads))) {
      const before = theirs.get(form) ?? { seconds: [], cpu: [] };
      theirs.set(form, {
        seconds: [...before.seconds, ...seconds],
        cpu: [...before.cpu, ...cpu],
        extraBytes,
      });
    }
  }
  return { ours, theirs };
}

/** Several measurements as one. */
function summaryOf(timings: readonly Timing[]): Timing {
  return {
    median: median(timings.map((t) => t.median)),
    best: Math.min(...timings.map((t) => t.best)),
    cpu: Math.min(...timings.map((t) => t.cpu)),
    spread: Math.max(...timings.map((t) => t.spread)),
    samples: timings.reduce((n, t) => n + t.samples, 0),
    peak: median(timings.map((t) => t.peak)),
  };
}

function peerLine(name: string, { seconds, cpu, extraBytes }: PeerTimes, ours: Timing): PeerLine {
  const middle = median(seconds);
  const processor = Math.min(...cpu);
  return {
    name,
    median: middle,
    cpu: processor,
    extraBytes,
    ratio: middle / ours.median,
    cpuRatio: processor / ours.cpu,
  };
}
