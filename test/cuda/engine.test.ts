/**
 * The whole engine on device 'cuda' (emulated, or a GPU) against the CPU: training, kernels, derivatives,
 * sampling, memory and errors.
 */
import { onHardware } from './device.js';

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

import {
  AdamW,
  backends,
  type Context,
  createContext,
  jacobian,
  Model,
  ntk,
  perSampleGradientNorms,
  perSampleGradients,
  policyGradient,
  type Sample,
  Tensor,
} from '../../src/index.js';
import { Random } from '../helpers/random.js';

const cuda = await createContext({ device: 'cuda' });
const cpu = await createContext({ device: 'cpu', threads: 1 });
const golden = (family: string) => fileURLToPath(new URL(`../golden/${family}`, import.meta.url));

function relative(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(actual.length).toBe(expected.length);
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; ++i) {
    difference += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(difference / Math.max(norm, 1e-300));
}
function samplesOf(V: number, lengths: readonly number[], seed = 1): Sample[] {
  const random = new Random(seed);
  return lengths.map((length) => ({
    inputIds: Array.from({ length }, () => random.integer(0, V)),
    scoreFrom: random.integer(1, length),
  }));
}
const scored = (samples: readonly Sample[]) =>
  samples.reduce((n, s) => n + s.inputIds.length - s.scoreFrom, 0);

/**
 * Five steps of AdamW; losses and final weights. eps is larger than usual: the gradient of a key bias is zero
 * but for rounding, and plain Adam would blow that rounding up to whole steps.
 */
async function train(model: Model) {
  const samples = samplesOf(model.spec.vocabSize, [9, 14, 5]);
  const advantages = Float32Array.from(new Random(2).normal([scored(samples)]).data);
  const optimizer = new AdamW(model, { weightDecay: 0.01, eps: 1e-4 });
  const { logps: oldLogps } = await model.score(samples);
  const losses: number[] = [];
  for (let step = 0; step < 5; ++step) {
    const { losses: terms } = await model.accumulateGradients(samples, {
      loss: 'clip',
      advantages,
      oldLogps,
      weights: new Float32Array(advantages.length).fill(1 / advantages.length),
    });
    losses.push(terms!.reduce((a, b) => a + b, 0));
    expect((await optimizer.step({ learningRate: 1e-2, maxGradNorm: 1 })).applied).toBe(true);
  }
  const weights = await Promise.all(model.parameters().map((p) => model.getParameter(p.name)));
  return { losses, weights: weights.flatMap((w) => [...w]) };
}

it('says where it runs', () => {
  expect(cuda.device).toBe('cuda');
  expect(cuda.reason).toMatch(/^cuda: .+, asked for$/);
  expect(backends().find((b) => b.name === 'cuda')!.available).toBe(true);
});

// Layer norm with learned positions and tying; rotary, parallel residual, fused heads; grouped queries, q/k
// norms and a gate.
describe.each(['gpt2', 'gpt_neox', 'qwen3'])('%s', (family) => {
  const load = (context = cuda) => Model.fromPretrained(golden(family), { context });

  it('a 2-layer model trains as on the CPU', async () => {
    const [here, there] = [await train(await load()), await train(await load(cpu))];
    expect(relative(here.losses, there.losses)).toBeLessThan(1e-4);
    expect(relative(here.weights, there.weights)).toBeLessThan(1e-4);
  });

  it('Gram matrices, decomposition and per-sample gradients are those of the CPU', async () => {
    const [here, there] = [await load(), await load(cpu)];
    const x = samplesOf(here.spec.vocabSize, [7, 3, 10]);
    const y = samplesOf(here.spec.vocabSize, [6, 4], 3);
    for (const [second, options] of [
      [null, {}],
      [y, { level: 'token' }],
      [null, { implementation: 'jacobian-contraction' }],
      [y, { implementation: 'ntk-vector-products' }],
    ] as const) {
      const [ours, theirs] = [
        await ntk.gram(here, x, second, options),
        await ntk.gram(there, x, second, options),
      ];
      expect(relative(ours.kernel, theirs.kernel), JSON.stringify(options)).toBeLessThan(1e-5);
    }
    const [ours, theirs] = [await ntk.decompose(here, x), await ntk.decompose(there, x)];
    for (const part of ['representation', 'gradient', 'total'] as const)
      expect(relative(ours[part], theirs[part]), part).toBeLessThan(1e-5);
    expect(
      relative(
        await (await perSampleGradients(here, x)).gradients.data(),
        await (await perSampleGradients(there, x)).gradients.data(),
      ),
    ).toBeLessThan(1e-5);
    expect(
      relative(await perSampleGradientNorms(here, x), await perSampleGradientNorms(there, x)),
    ).toBeLessThan(1e-5);
  });

  it('derivatives are those of the CPU', async () => {
    const [here, there] = [await load(), await load(cpu)];
    const inputIds = [samplesOf(here.spec.vocabSize, [6])[0]!.inputIds];
    const random = new Random(5);
    const tangents = Object.fromEntries(
      here.parameters().map((p) => [p.name, Float32Array.from(random.normal([p.size]).data)]),
    );
    const [ours, theirs] = [await here.jvp({ inputIds }, tangents), await there.jvp({ inputIds }, tangents)];
    expect(relative(await ours.logits[0]!.data(), await theirs.logits[0]!.data())).toBeLessThan(1e-5);
    const outputs = [0, 3];
    const [J, K] = [
      await jacobian(here, inputIds, { outputs }),
      await jacobian(there, inputIds, { outputs }),
    ];
    expect(relative(await J.jacobian.data(), await K.jacobian.data())).toBeLessThan(1e-5);
  });

  it('samples the tokens of the CPU, and scores them with the probabilities they were sampled from', async () => {
    const [here, there] = [await load(), await load(cpu)];
    const prompts = samplesOf(here.spec.vocabSize, [4, 7], 9).map((s) => s.inputIds);
    const options = {
      maxNewTokens: 12,
      numReturnSequences: 2,
      temperature: 0.9,
      topP: 0.95,
      seed: 4,
      stop: [],
    };
    const [ours, theirs] = [await here.generate(prompts, options), await there.generate(prompts, options)];
    expect(ours.map((c) => c.completionIds)).toEqual(theirs.map((c) => c.completionIds));
    const plain = await here.generate(prompts, { maxNewTokens: 12, seed: 5, stop: [] });
    const { logps } = await here.score(
      plain.map((c, i) => ({ inputIds: c.inputIds, scoreFrom: prompts[i]!.length })),
    );
    const sampled = plain.flatMap((c) => [...c.logps]);
    logps.forEach((logp, i) => expect(Math.abs(logp - sampled[i]!)).toBeLessThan(1e-5));
  });
});

it.each([
  ['tf32', 2e-3],
  ['bf16', 2e-2],
] as const)('math %s: a forward pass within its precision, and not exact', async (math, bound) => {
  const context = await createContext({ device: 'cuda', math });
  const [here, there] = [
    await Model.fromPretrained(golden('llama'), { context }),
    await Model.fromPretrained(golden('llama'), { context: cpu }),
  ];
  const inputIds = [[1, 5, 2, 9, 4, 4, 7]];
  const [ours, theirs] = [await here.forward({ inputIds }), await there.forward({ inputIds })];
  const error = relative(await ours.logits![0]!.data(), await theirs.logits![0]!.data());
  expect(error).toBeLessThan(bound);
  expect(error).toBeGreaterThan(1e-6);
  context.dispose();
});

it('a bfloat16 model in exact math is that of the CPU, after steps too', async () => {
  const load = (context: Context) => Model.fromPretrained(golden('gpt_neox'), { context, dtype: 'bfloat16' });
  const [here, there] = [await load(cuda), await load(cpu)];
  const x = samplesOf(here.spec.vocabSize, [7, 3]);
  for (const outputs of ['target', 'trace'] as const)
    expect(
      relative(
        (await ntk.gram(here, x, null, { outputs })).kernel,
        (await ntk.gram(there, x, null, { outputs })).kernel,
      ),
      outputs,
    ).toBeLessThan(1e-5);
  const [ours, theirs] = [await train(here), await train(there)];
  // A weight on the edge of two bfloat16 may round either way.
  expect(relative(ours.losses, theirs.losses)).toBeLessThan(2e-3);
  expect(relative(ours.weights, theirs.weights)).toBeLessThan(2e-3);
});

it('math bf16: training, Gram matrices, sampling and derivatives within its precision', async () => {
  const context = await createContext({ device: 'cuda', math: 'bf16' });
  for (const family of ['gpt2', 'gpt_neox', 'qwen3']) {
    const load = (where = context) => Model.fromPretrained(golden(family), { context: where });
    const [here, there] = [await load(), await load(cpu)];
    const x = samplesOf(here.spec.vocabSize, [7, 3, 10]);
    expect(
      relative(await perSampleGradientNorms(here, x), await perSampleGradientNorms(there, x)),
      family,
    ).toBeLessThan(3e-2);
    for (const options of [
      {},
      { level: 'token' },
      { implementation: 'jacobian-contraction' },
      { implementation: 'ntk-vector-products' },
    ] as const)
      expect(
        relative(
          (await ntk.gram(here, x, null, options)).kernel,
          (await ntk.gram(there, x, null, options)).kernel,
        ),
        `${family} ${JSON.stringify(options)}`,
      ).toBeLessThan(3e-2);
    const prompts = samplesOf(here.spec.vocabSize, [4, 7], 9).map((s) => s.inputIds);
    const completions = await here.generate(prompts, { maxNewTokens: 12, seed: 5, stop: [] });
    const { logps } = await here.score(
      completions.map((c, i) => ({ inputIds: c.inputIds, scoreFrom: prompts[i]!.length })),
    );
    expect(
      relative(
        logps,
        completions.flatMap((c) => [...c.logps]),
      ),
      family,
    ).toBeLessThan(3e-2);
    const [ours, theirs] = [await train(here), await train(there)];
    expect(relative(ours.losses, theirs.losses), family).toBeLessThan(0.1);
    expect(relative(ours.weights, theirs.weights), family).toBeLessThan(3e-2);
  }
  context.dispose();
});

it('policyGradient takes arrays and tensors of the device', async () => {
  const random = new Random(3);
  const [hidden, weight] = [random.normal([6, 8]), random.normal([20, 8])];
  const arrays = {
    hidden: { data: Float32Array.from(hidden.data), shape: [6, 8] },
    weight: { data: Float32Array.from(weight.data), shape: [20, 8] },
  };
  const rest = {
    targets: Int32Array.of(1, 5, -100, 19, 0, 7),
    coefficients: Float32Array.from(random.normal([6]).data),
    gradHidden: true,
    gradWeight: true,
  };
  const expected = await policyGradient({ ...arrays, ...rest }, { context: cpu });
  const tensors = {
    hidden: Tensor.from(cuda, arrays.hidden.data, [6, 8]),
    weight: Tensor.from(cuda, arrays.weight.data, [20, 8]),
  };
  for (const result of [
    await policyGradient({ ...arrays, ...rest }, { context: cuda }),
    await policyGradient({ ...tensors, ...rest }),
  ]) {
    expect(relative(result.logps, expected.logps)).toBeLessThan(1e-6);
    expect(relative(await result.gradWeight!.data(), await expected.gradWeight!.data())).toBeLessThan(1e-6);
  }
});

it('memory of disposed tensors comes back', async () => {
  const before = cuda.memory();
  const tensor = Tensor.from(cuda, new Float32Array(1000), [10, 100]);
  expect(cuda.memory().tensorBytes).toBe(before.tensorBytes + 4000);
  tensor.dispose();
  expect(cuda.memory()).toMatchObject({ tensors: before.tensors, tensorBytes: before.tensorBytes });
});

/** In a process of its own, because the environment describes the device. */
function inProcess(environment: Record<string, string>, body: string): Record<string, string> {
  const library = fileURLToPath(new URL('../../dist/index.js', import.meta.url));
  const program = `
    import { createContext, Model, Tensor } from ${JSON.stringify(library)};
    const config = {
      model_type: 'gpt', vocab_size: 17, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2,
      max_position_embeddings: 16,
    };
    const attempt = async (body) => {
      try { return String(await body()); } catch (e) { return e.code + ': ' + e.message; }
    };
    ${body}`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    env: { ...process.env, ...environment },
  });
  expect(stderr).toBe('');
  return JSON.parse(stdout) as Record<string, string>;
}

describe.skipIf(onHardware)('errors', () => {
  it('out of memory names the bytes asked for and free, and the context stays usable', () => {
    const said = inProcess(
      { HEADFIRST_EMULATED_BYTES: String(4 << 20) },
      `
      const context = await createContext({ device: 'cuda' });
      const tooLarge = await attempt(() => Tensor.from(context, new Float32Array(2 << 20), [2 << 20]));
      const after = await attempt(async () => (await Tensor.from(context, Float32Array.of(3), [1]).data())[0]);
      console.log(JSON.stringify({ tooLarge, after }));`,
    );
    expect(said['tooLarge']).toMatch(
      /^ERR_OUT_OF_MEMORY: device 0: 8388608 bytes requested, 4194304 of 4194304 free/,
    );
    expect(said['after']).toBe('3');
  });

  it('a sticky error: the context is lost, and says why from then on', () => {
    const said = inProcess(
      { HEADFIRST_EMULATED_FAULT: '5' },
      `
      const context = await createContext({ device: 'cuda' });
      const model = await Model.fromConfig(config, { context, seed: 1 });
      const first = await attempt(() => model.forward({ inputIds: [[1, 2, 3]] }));
      const second = await attempt(() => model.forward({ inputIds: [[1, 2, 3]] }));
      console.log(JSON.stringify({ first, second }));`,
    );
    expect(said['first']).toMatch(/^ERR_CUDA: .+: cudaErrorIllegalAddress .+this context is lost/);
    expect(said['second']).toMatch(
      /^ERR_CUDA: this context is lost: .+cudaErrorIllegalAddress.+make a new one in a new process/,
    );
  });

  it('a device that is not there', async () => {
    await expect(createContext({ device: 'cuda:3' })).rejects.toMatchObject({
      code: 'ERR_BACKEND_UNAVAILABLE',
      message: expect.stringContaining('there is no device 3'),
    });
    await expect(createContext({ device: 'cuda', math: 'fp64' })).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
    });
  });

  it('a device whose blocks have too little shared memory is not used, and said so', () => {
    const said = inProcess(
      { HEADFIRST_EMULATED_SHARED: String(99 << 10) },
      `
      const asked = await attempt(() => createContext({ device: 'cuda' }));
      const { device, reason } = await createContext();
      console.log(JSON.stringify({ asked, device, reason }));`,
    );
    const why =
      'no device is usable: emulated device: it gives a block 99 KiB of shared memory, but kernels need 163';
    expect(said).toEqual({
      asked: `ERR_BACKEND_UNAVAILABLE: createContext: device 'cuda' is not available: ${why}; use device 'cpu'`,
      device: 'cpu',
      reason: `cpu: ${why}`,
    });
  });

  // native/backends/cuda/runs.json says that they have.
  it("'auto' takes the device once the kernels have passed on hardware, and says so", async () => {
    const context = await createContext();
    expect(context.device).toBe('cuda');
    expect(context.reason).toMatch(/^cuda: .+, the first usable device$/);
    await expect(createContext({ math: 'fp64' })).resolves.toMatchObject({
      device: 'cpu',
      reason: "cpu: math 'fp64' is the CPU's",
    });
  });
});
