/**
 * A model of Pythia-160m's shape with random weights: how long it takes to load, and time and memory of
 * training steps, beside what model.estimateTraining said. Every mode runs in a process of its own, so that
 * its peak of resident memory is its own.
 *   node build/bench/bench/large.js [mode …] [--save]
 * --save adds the modes to the day's file in bench/results.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import {
  AdamW,
  createContext,
  type GradientOptions,
  Model,
  type ModelDtype,
  type PeftConfig,
  type Trainable,
} from '../src/index.js';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const CONFIG = {
  model_type: 'gpt_neox',
  vocab_size: 50304,
  hidden_size: 768,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  intermediate_size: 3072,
  max_position_embeddings: 2048,
  rotary_pct: 0.25,
};
/** Of one update. */
const SHAPE = { sequences: 4, sequenceLength: 256, scoredLength: 128 };
const STEPS = 3;

const directory = (dtype: string) => join(tmpdir(), `headfirst-160m-${dtype}`);

async function checkpoint(dtype: 'F32' | 'F16' | 'BF16'): Promise<string> {
  if (!existsSync(directory(dtype))) {
    using model = await Model.fromConfig(CONFIG, { seed: 1 });
    await model.savePretrained(directory(dtype), { dtype });
  }
  return directory(dtype);
}

/** Seconds of three loads, the first of which may read from the disk. */
async function load(dtype: 'F32' | 'F16' | 'BF16'): Promise<Record<string, unknown>> {
  const path = await checkpoint(dtype);
  const seconds: number[] = [];
  for (let i = 0; i < 3; ++i) {
    const begin = performance.now();
    using model = await Model.fromPretrained(path);
    seconds.push((performance.now() - begin) / 1000);
    if (model.native.size < 1.6e8) throw new Error('not the model that was meant');
  }
  return { seconds };
}

async function train(
  trainable: Trainable,
  options: Partial<GradientOptions> = {},
  peftConfig?: PeftConfig,
  dtype: ModelDtype = 'float32',
): Promise<Record<string, unknown>> {
  const context = await createContext();
  const model = await Model.fromPretrained(await checkpoint('F32'), {
    context,
    dtype,
    ...(peftConfig ? { peftConfig } : {}),
  });
  model.setTrainable(trainable);
  const { sequences, sequenceLength, scoredLength } = SHAPE;
  const estimate = model.estimateTraining({
    ...SHAPE,
    ...('gradientCheckpointing' in options ? { gradientCheckpointing: true } : {}),
  });
  const samples = Array.from({ length: sequences }, (_, s) => ({
    inputIds: Array.from({ length: sequenceLength }, (_, t) => (t * 7919 + s * 104729) % CONFIG.vocab_size),
    scoreFrom: sequenceLength - scoredLength,
  }));
  const optimizer = new AdamW(model);
  const seconds: number[] = [];
  const losses: number[] = [];
  for (let step = 0; step < STEPS; ++step) {
    const begin = performance.now();
    const { logps } = await model.accumulateGradients(samples, {
      loss: 'coefficients',
      coefficients: new Float32Array(sequences * scoredLength).fill(1 / (sequences * scoredLength)),
      ...options,
    });
    await optimizer.step({ learningRate: 1e-4, maxGradNorm: 1 });
    seconds.push((performance.now() - begin) / 1000);
    losses.push(-logps.reduce((a, b) => a + b, 0) / logps.length);
  }
  if (!(losses[1]! < losses[0]!)) throw new Error(`the loss did not fall: ${losses.join(', ')}`);
  const peakResidentBytes = process.resourceUsage().maxRSS * 1024;
  return {
    secondsPerStep: Math.min(...seconds),
    losses,
    estimatedBytes: estimate.bytes,
    estimatedActivationBytes: estimate.activations,
    peakArenaBytes: context.memory().arenaPeakBytes,
    peakResidentBytes,
    peakOverEstimate: peakResidentBytes / estimate.bytes,
    withoutActivationsOverWeights: (peakResidentBytes - estimate.activations) / estimate.weights,
  };
}

/** Tokens per second of one greedy completion; bfloat16: and how far its logits are from float32's. */
async function decode(dtype: ModelDtype): Promise<Record<string, unknown>> {
  const path = await checkpoint('F32');
  using model = await Model.fromPretrained(path, { dtype });
  const prompt = Array.from({ length: 32 }, (_, t) => (t * 7919) % CONFIG.vocab_size);
  const maxNewTokens = 32;
  const seconds: number[] = [];
  for (let i = 0; i < 3; ++i) {
    const begin = performance.now();
    await model.generate([prompt], { maxNewTokens, temperature: 0, stop: [] });
    seconds.push((performance.now() - begin) / 1000);
  }
  const result = { tokensPerSecond: maxNewTokens / Math.min(...seconds) };
  if (dtype === 'float32') return result;
  const logits = async (m: Model) => (await m.forward({ inputIds: [prompt] })).logits![0]!.data();
  using full = await Model.fromPretrained(path);
  const ours = await logits(model);
  const exact = await logits(full);
  let error = 0;
  let norm = 0;
  exact.forEach((z, i) => {
    error += (ours[i]! - z) ** 2;
    norm += z ** 2;
  });
  return { ...result, relativeErrorOfLogits: Math.sqrt(error / norm) };
}

const MODES: Readonly<Record<string, () => Promise<Record<string, unknown>>>> = {
  'load F32': () => load('F32'),
  'load F16': () => load('F16'),
  'load BF16': () => load('BF16'),
  'decode float32': () => decode('float32'),
  'decode bfloat16': () => decode('bfloat16'),
  'train all': () => train('all'),
  'train all, gradient checkpointing': () => train('all', { gradientCheckpointing: true }),
  'train all, bfloat16': () => train('all', {}, undefined, 'bfloat16'),
  'train classifier': () => train('classifier'),
  'train top layer': () => train(/layers\.11\./),
  'train LoRA, r 8 on query_key_value': () => train('all', {}, { r: 8, loraAlpha: 16 }),
  'train LoRA, r 8 on all linear layers': () =>
    train('all', {}, { r: 8, loraAlpha: 16, targetModules: 'all-linear' }),
};

const [only, ...wanted] = process.argv.slice(2).filter((word) => word !== '--save');
if (only === '--in-this-process') {
  console.log(JSON.stringify(await MODES[wanted[0]!]!()));
} else {
  const modes = only === undefined ? Object.keys(MODES) : [only, ...wanted];
  const results: Record<string, unknown> = {};
  for (const mode of modes) {
    if (!MODES[mode]) throw new Error(`no mode '${mode}'; there are ${Object.keys(MODES).join(', ')}`);
    results[mode] = JSON.parse(
      execFileSync(process.execPath, [fileURLToPath(import.meta.url), '--in-this-process', mode], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'inherit'],
      }),
    );
    console.log(mode, results[mode]);
  }
  if (process.argv.includes('--save')) {
    const context = await createContext();
    const file = join(
      ROOT,
      'bench/results',
      `${new Date().toISOString().slice(0, 10)}-cpu-${context.backend}-160m.json`,
    );
    mkdirSync(join(ROOT, 'bench/results'), { recursive: true });
    const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      cwd: ROOT,
      encoding: 'utf8',
    }).trim();
    const machine = {
      cpu: cpus()[0]?.model,
      processors: cpus().length,
      kernels: context.backend,
      threads: context.threads,
      node: process.versions.node,
      load: loadavg().slice(0, 2),
    };
    const before = existsSync(file)
      ? (JSON.parse(readFileSync(file, 'utf8')) as { results: object }).results
      : {};
    const saved = {
      date: new Date().toISOString(),
      command: 'node build/bench/bench/large.js <mode> --save',
      commit,
      machine,
      config: CONFIG,
      shape: SHAPE,
      steps: STEPS,
      results: { ...before, ...results },
    };
    writeFileSync(file, `${JSON.stringify(saved, null, 1)}\n`);
    console.log(`Saved ${file}`);
  }
}
