/**
 * LoRA adapters: the same function as merged weights, gradients by the chain rule from the merged weight's,
 * peft's files, training.
 */
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import {
  CFRLTrainer,
  createContext,
  GRPOTrainer,
  Model,
  ntk,
  type PeftConfig,
  perSampleGradients,
  type Sample,
} from '../../../src/index.js';
import {
  editJson,
  editRaw,
  golden,
  goldenFamilies,
  readJson,
  readRaw,
  temporaryDirectory,
} from '../../helpers/files.js';
import { Random } from '../../helpers/random.js';
import { config as grpoConfig, prompts, temporary, wantedTokens } from '../../rl/helpers.js';

const fp32 = await createContext({ threads: 1 });
const fp64 = await createContext({ math: 'fp64' });
const samples: Sample[] = [
  { inputIds: [3, 14, 15, 9, 26, 5, 35], scoreFrom: 2 },
  { inputIds: [8, 9, 7, 9], scoreFrom: 1 },
];
const scored = 8;
const coefficients = Float32Array.from({ length: scored }, (_, i) => Math.cos(i + 1));
const everywhere: PeftConfig = { r: 3, loraAlpha: 5, targetModules: 'all-linear' };

/** With B ≠ 0, as after training. */
async function adapted(name: string, context = fp32, peftConfig = everywhere): Promise<Model> {
  const model = await Model.fromPretrained(golden(name), { context, peftConfig });
  const random = new Random(7);
  for (const p of model.parameters(/lora_B/))
    await model.setParameter(
      p.name,
      Float64Array.from(random.normal([p.size]).data, (v) => 0.1 * v),
    );
  return model;
}
async function merged(model: Model): Promise<Model> {
  const directory = join(temporaryDirectory(), 'merged');
  await model.savePretrained(directory, { dtype: model.context.math === 'fp64' ? 'F64' : 'F32' });
  return Model.fromPretrained(directory, { context: model.context });
}
async function logitsOf(model: Model): Promise<number[]> {
  const { logits } = await model.forward({ inputIds: samples.map((s) => s.inputIds) });
  return (await Promise.all(logits!.map((z) => z.data()))).flatMap((z) => [...z]);
}
function relative(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; ++i) {
    difference += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(difference / Math.max(norm, 1e-300));
}

describe.each(goldenFamilies)('%s', (name) => {
  it('fresh adapters change nothing, not even rounding; trained ones compute what merged weights do', async () => {
    const base = await logitsOf(await Model.fromPretrained(golden(name), { context: fp32 }));
    expect(
      await logitsOf(await Model.fromPretrained(golden(name), { context: fp32, peftConfig: everywhere })),
    ).toEqual(base);
    const model = await adapted(name);
    const plain = await merged(model);
    const logits = await logitsOf(model);
    expect(relative(logits, base)).toBeGreaterThan(0.01);
    expect(relative(await logitsOf(plain), logits)).toBeLessThan(1e-5);
    const greedy = async (m: Model) =>
      (await m.generate([[3, 1, 4]], { maxNewTokens: 12, temperature: 0, stop: [] }))[0]!.completionIds;
    expect(await greedy(model)).toEqual(await greedy(plain));
    expect(plain.parameters().map((p) => p.name)).toEqual(
      (await Model.fromPretrained(golden(name), { context: fp32 })).parameters().map((p) => p.name),
    );
  });

  it('gradients: dA = s Bᵀ dW, dB = s dW Aᵀ of the merged model’s dW, in double; no others', async () => {
    const model = await adapted(name, fp64);
    const plain = await merged(model);
    for (const m of [model, plain])
      await m.accumulateGradients(samples, { loss: 'coefficients', coefficients });
    const scale = 5 / 3;
    const transposed = model.spec.transposedLinears;
    for (const { name: target, shape, trainable } of model.parameters((p) => !p.name.includes('lora_'))) {
      expect(trainable).toBe(false);
      expect(
        (await model.getGradient(target)).every((v) => v === 0),
        target,
      ).toBe(true);
      const module = target.replace(/\.weight$/, '');
      if (!model.parameters((p) => p.name === `${module}.lora_A.weight`).length) continue;
      const [a, b, dA, dB] = await Promise.all([
        model.getParameter(`${module}.lora_A.weight`),
        model.getParameter(`${module}.lora_B.weight`),
        model.getGradient(`${module}.lora_A.weight`),
        model.getGradient(`${module}.lora_B.weight`),
      ]);
      const dW = await plain.getGradient(target);
      const [out, input, r] = transposed ? [shape[1]!, shape[0]!, 3] : [shape[0]!, shape[1]!, 3];
      const w = (o: number, i: number) => (transposed ? dW[i * out + o]! : dW[o * input + i]!);
      const sum = (n: number, term: (k: number) => number) =>
        Array.from({ length: n }, (_, k) => term(k)).reduce((x, y) => x + y, 0);
      const expectedA = Float64Array.from(
        { length: r * input },
        (_, e) => scale * sum(out, (o) => b[o * r + Math.floor(e / input)]! * w(o, e % input)),
      );
      const expectedB = Float64Array.from(
        { length: out * r },
        (_, e) => scale * sum(input, (i) => w(Math.floor(e / r), i) * a[(e % r) * input + i]!),
      );
      expect(relative(dA, expectedA), `${module} dA`).toBeLessThan(1e-9);
      expect(relative(dB, expectedB), `${module} dB`).toBeLessThan(1e-9);
    }
  });

  it('float32 gradients and checkpointed ones agree with double', async () => {
    const [model, exact] = [await adapted(name), await adapted(name, fp64)];
    const gradients = async (m: Model, gradientCheckpointing: boolean) => {
      await m.zeroGradients();
      await m.accumulateGradients(samples, { loss: 'coefficients', coefficients, gradientCheckpointing });
      return Promise.all(m.parameters(/lora_/).map((p) => m.getGradient(p.name)));
    };
    const [ours, truth] = [await gradients(model, false), await gradients(exact, false)];
    ours.forEach((gradient, i) => expect(relative(gradient, truth[i]!)).toBeLessThan(2e-5));
    expect(await gradients(model, true)).toEqual(ours);
  });
});

it('adapters in forward mode (against differences) and in kernels (against per-sample gradients)', async () => {
  const model = await adapted('gpt2', fp64);
  const name = model.parameters(/h\.1\..*lora_A/)[0]!.name;
  const at = Float64Array.from(await model.getParameter(name));
  const tangent = Float64Array.from(new Random(3).normal([at.length]).data);
  const batch = { inputIds: [samples[0]!.inputIds] };
  const { logits } = await model.jvp(batch, { [name]: tangent });
  const moved = async (h: number) => {
    await model.setParameter(
      name,
      at.map((v, i) => v + h * tangent[i]!),
    );
    return (await model.forward(batch)).logits![0]!.data();
  };
  const [up, down] = [await moved(1e-4), await moved(-1e-4)];
  await model.setParameter(name, at);
  expect(
    relative(
      await logits[0]!.data(),
      Float64Array.from(up, (z, i) => (z - down[i]!) / 2e-4),
    ),
  ).toBeLessThan(1e-6);

  for (const family of ['gpt2', 'qwen3']) {
    const kernelModel = await adapted(family, fp64);
    const x = [...samples, { inputIds: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], scoreFrom: 4 }];
    const params = /lora_/;
    const { gradients } = await perSampleGradients(kernelModel, x, { params });
    const [n, P] = gradients.shape as [number, number];
    const j = await gradients.data();
    const expected = Float64Array.from({ length: n * n }, (_, e) => {
      let dot = 0;
      for (let p = 0; p < P; ++p) dot += j[Math.floor(e / n) * P + p]! * j[(e % n) * P + p]!;
      return dot;
    });
    const estimate = await ntk.estimate(kernelModel, x, null, { params });
    for (const implementation of [
      'structured-derivatives',
      'jacobian-contraction',
      'ntk-vector-products',
    ] as const)
      expect(
        relative((await ntk.gram(kernelModel, x, null, { params, implementation })).kernel, expected),
        `${family} ${implementation}`,
      ).toBeLessThan(1e-9);
    // Blocks of few functions: gradient pairs of one are stored while another passes by.
    const tight = await ntk.gram(kernelModel, x, x, {
      params,
      implementation: 'structured-derivatives',
      maxBytes: Math.round(1.8 * estimate.bytes),
    });
    expect(
      (await ntk.estimate(kernelModel, x, x, { params, maxBytes: Math.round(1.8 * estimate.bytes) })).blocks,
    ).toBeGreaterThan(1);
    expect(relative(tight.kernel, expected)).toBeLessThan(1e-9);
  }
});

describe('files', () => {
  it.each([
    ['gpt_neox', 'gpt_neox.layers.1.attention.query_key_value', {}],
    ['gpt2', 'transformer.h.1.attn.c_attn', {}],
    ['llama', 'model.layers.1.self_attn.q_proj', { targetModules: ['q_proj', 'down_proj'] }],
  ] as const)('%s: peft’s names and keys; loaded again, the same bits', async (name, module, extra) => {
    const model = await adapted(name, fp32, { r: 4, loraAlpha: 8, ...extra });
    const directory = join(temporaryDirectory(), 'adapter');
    await model.saveAdapter(directory);
    expect(readdirSync(directory).sort()).toEqual(['adapter_config.json', 'adapter_model.safetensors']);
    const tensors = readRaw(join(directory, 'adapter_model.safetensors'));
    expect(Object.keys(tensors)).toContain(`base_model.model.${module}.lora_A.weight`);
    expect(Object.keys(tensors).every((key) => /^base_model\.model\..*\.lora_[AB]\.weight$/.test(key))).toBe(
      true,
    );
    expect(tensors[`base_model.model.${module}.lora_A.weight`]!.shape[0]).toBe(4);
    expect(tensors[`base_model.model.${module}.lora_B.weight`]!.shape[1]).toBe(4);
    expect(readJson(join(directory, 'adapter_config.json'))).toMatchObject({
      peft_type: 'LORA',
      task_type: 'CAUSAL_LM',
      r: 4,
      lora_alpha: 8,
      lora_dropout: 0,
      bias: 'none',
      fan_in_fan_out: name === 'gpt2',
      modules_to_save: null,
      target_modules: name === 'llama' ? ['q_proj', 'down_proj'] : [module.split('.').at(-1)],
    });
    const again = await Model.fromPretrained(golden(name), { context: fp32, adapter: directory });
    expect(await logitsOf(again)).toEqual(await logitsOf(model));
    expect(again.parameters((p) => p.trainable).map((p) => p.name)).toEqual(
      model.parameters(/lora_/).map((p) => p.name),
    );
  });

  it('a classifier in modulesToSave trains in full and is saved with the adapter', async () => {
    const model = await adapted('gpt_neox', fp32, { r: 2, modulesToSave: ['embed_out'] });
    model.setTrainable('classifier');
    expect(model.parameters((p) => p.trainable).map((p) => p.name)).toEqual(['embed_out.weight']);
    model.setTrainable('all');
    expect(model.parameters((p) => p.trainable && !p.name.includes('lora_')).map((p) => p.name)).toEqual([
      'embed_out.weight',
    ]);
    await model.setParameter(
      'embed_out.weight',
      (await model.getParameter('embed_out.weight')).map((v) => 2 * v),
    );
    const directory = join(temporaryDirectory(), 'adapter');
    await model.saveAdapter(directory);
    expect(Object.keys(readRaw(join(directory, 'adapter_model.safetensors')))).toContain(
      'base_model.model.lm_head.weight',
    );
    expect(
      await logitsOf(await Model.fromPretrained(golden('gpt_neox'), { context: fp32, adapter: directory })),
    ).toEqual(await logitsOf(model));
  });

  it.each<[string, PeftConfig, string, string]>([
    ['dropout', { loraDropout: 0.1 }, 'ERR_UNSUPPORTED', 'loraDropout'],
    [
      'a target that is not there',
      { targetModules: ['q_proj'] },
      'ERR_INVALID_ARG',
      'linear layers are query_key_value, dense',
    ],
    ['the classifier as target', { targetModules: ['embed_out'] }, 'ERR_UNSUPPORTED', 'modulesToSave'],
    ['a rank of 0', { r: 0 }, 'ERR_INVALID_ARG', 'r must be'],
    ['a misspelt option', { loraAlhpa: 3 } as PeftConfig, 'ERR_INVALID_ARG', "'loraAlpha'"],
    ['an unknown module to save', { modulesToSave: ['wte'] }, 'ERR_INVALID_ARG', "'wte'"],
  ])('refuses %s', async (_, peftConfig, code, message) => {
    await expect(
      Model.fromPretrained(golden('gpt_neox'), { context: fp32, peftConfig }),
    ).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
  });

  it('refuses adapters that mean something else or are incomplete, and a choice that trains nothing', async () => {
    const model = await adapted('gpt_neox', fp32, { r: 2 });
    const saved = async () => {
      const directory = join(temporaryDirectory(), 'adapter');
      await model.saveAdapter(directory);
      return directory;
    };
    const load = (adapter: string) => Model.fromPretrained(golden('gpt_neox'), { context: fp32, adapter });
    for (const [key, value] of [
      ['use_dora', true],
      ['bias', 'all'],
      ['rank_pattern', { dense: 3 }],
      ['peft_type', 'IA3'],
    ] as const) {
      const directory = await saved();
      editJson(join(directory, 'adapter_config.json'), (json) => {
        json[key] = value;
      });
      await expect(load(directory)).rejects.toMatchObject({
        code: 'ERR_UNSUPPORTED',
        message: expect.stringContaining(key),
      });
    }
    const missing = await saved();
    editRaw(
      join(missing, 'adapter_model.safetensors'),
      ({ [Object.keys(readRaw(join(missing, 'adapter_model.safetensors')))[0]!]: _, ...rest }) => rest,
    );
    await expect(load(missing)).rejects.toMatchObject({
      code: 'ERR_IO',
      message: expect.stringContaining('lora_A.weight'),
    });
    expect(() => model.setTrainable('classifier')).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARG', message: expect.stringContaining('modulesToSave') }),
    );
    writeFileSync(join(missing, 'adapter_config.json'), 'no JSON');
    await expect(load(missing)).rejects.toMatchObject({
      code: 'ERR_IO',
      message: expect.stringContaining('adapter_config.json'),
    });
    await expect(
      (await Model.fromPretrained(golden('gpt_neox'), { context: fp32 })).saveAdapter(missing),
    ).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED' });
  });
});

describe('training', () => {
  const tiny = async (
    peftConfig: PeftConfig = { r: 2, loraAlpha: 8, targetModules: 'all-linear' },
    seed = 5,
  ) =>
    Model.fromConfig(
      {
        model_type: 'gpt',
        vocab_size: 17,
        hidden_size: 8,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 16,
        max_position_embeddings: 12,
        eos_token_id: 1,
      },
      { context: fp32, seed, peftConfig },
    );
  const numbers = async (model: Model, filter: RegExp) =>
    Object.fromEntries(
      await Promise.all(
        model.parameters(filter).map(async (p) => [p.name, [...(await model.getParameter(p.name))]] as const),
      ),
    );
  const run = (model: Model, options = {}) =>
    new GRPOTrainer({
      model,
      rewardFuncs: wantedTokens,
      trainDataset: prompts(),
      config: { ...grpoConfig, maxSteps: 4, ...options },
    });

  it('moves adapters only; checkpoints hold adapters only; a resumed run ends with the same bits', async () => {
    const model = await tiny();
    const before = await numbers(model, /^(?!.*lora_)/);
    const outputDir = temporary();
    await run(model, { outputDir, saveSteps: 2, beta: 0.05 }).train();
    expect(await numbers(model, /^(?!.*lora_)/)).toEqual(before);
    const after = await numbers(model, /lora_/);
    expect(Object.values(after).every((values) => values.some((v) => v !== 0))).toBe(true);
    const checkpoint = join(outputDir, 'checkpoint-2');
    expect(readdirSync(checkpoint).sort()).toEqual([
      'adapter_config.json',
      'adapter_model.safetensors',
      'optimizer.safetensors',
      'trainer_state.json',
    ]);
    expect(
      Object.keys(readRaw(join(checkpoint, 'optimizer.safetensors'))).every((name) => name.includes('lora_')),
    ).toBe(true);
    const again = await tiny();
    await run(again, { outputDir, saveSteps: 2, beta: 0.05 }).train({ resumeFrom: checkpoint });
    expect(await numbers(again, /lora_/)).toEqual(after);
    await expect(
      run(await tiny(undefined, 6), { outputDir, saveSteps: 2, beta: 0.05 }).train({
        resumeFrom: checkpoint,
      }),
    ).rejects.toMatchObject({ code: 'ERR_CHECKPOINT', message: expect.stringContaining('other weights') });
  });

  it('CF-RL: the classifier first, then adapters and classifier', async () => {
    const model = await tiny({ r: 2, targetModules: 'all-linear', modulesToSave: ['lm_head'] });
    const [head, adapters] = [await numbers(model, /lm_head/), await numbers(model, /lora_/)];
    const trainer = new CFRLTrainer({
      model,
      rewardFuncs: wantedTokens,
      trainDataset: prompts(),
      config: { ...grpoConfig, maxSteps: 2, classifierSteps: 2 },
    });
    let step = 0;
    for await (const _ of trainer.steps()) {
      if (++step !== 2) continue;
      expect(await numbers(model, /lora_/)).toEqual(adapters);
      expect(await numbers(model, /lm_head/)).not.toEqual(head);
    }
    expect(await numbers(model, /lora_/)).not.toEqual(adapters);
  });

  it('needs memory for the adapters’ gradients and moments only', async () => {
    const model = await tiny();
    const { weights, gradients, optimizer } = model.estimateTraining({ sequences: 2, sequenceLength: 10 });
    const size = model.parameters(/lora_/).reduce((sum, p) => sum + p.size, 0);
    expect([weights, gradients, optimizer]).toEqual([4 * model.native.size, 4 * size, 8 * size]);
  });
});
