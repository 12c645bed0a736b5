/** Lines of whole jobs on the 160M GPT-NeoX: a Gram matrix, a training step, sampling. */
import { AdamW, createContext, Model, ntk, type Sample } from '../../src/index.js';
import { random } from './data.js';
import { job, type Line, type Measured, median, teraflops } from './measure.js';

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

const samplesOf = (sequences: number, length: number): Sample[] =>
  Array.from({ length: sequences }, () => ({
    inputIds: Array.from({ length }, () => random.integer(0, NEOX.vocab_size)),
    scoreFrom: 1,
  }));

async function onModel(body: (model: Model) => Promise<Measured>): Promise<Measured> {
  const context = await createContext({ device: 'cuda', math: 'bf16' });
  try {
    return await body(await Model.fromConfig(NEOX, { context, seed: 1 }));
  } finally {
    context.dispose();
  }
}

const tokensPerSecond = (tokens: number, seconds: readonly number[]) =>
  `${(tokens / median(seconds)).toFixed(0)} tokens/s`;

export const gramLine: Line = {
  name: 'Gram of 64 × T 256, 160M NeoX, bf16',
  peer: 'gram',
  measure: () =>
    onModel(async (model) => {
      const samples = samplesOf(64, 256);
      const { flops } = await ntk.estimate(model, samples);
      const seconds = await job(() => ntk.gram(model, samples));
      return { seconds, note: teraflops(flops, seconds) };
    }),
};

export const trainLine: Line = {
  name: 'training step, 160M NeoX, bf16, B 32 × T 512',
  peer: 'train',
  measure: () =>
    onModel(async (model) => {
      const [B, T] = [32, 512];
      const optimizer = new AdamW(model);
      const samples = samplesOf(B, T);
      const scored = B * (T - 1);
      const coefficients = new Float32Array(scored).fill(1 / scored);
      const seconds = await job(async () => {
        await model.accumulateGradients(samples, { loss: 'coefficients', coefficients, maxTokens: B * T });
        await optimizer.step({ learningRate: 1e-4 });
      });
      return { seconds, note: tokensPerSecond(B * T, seconds) };
    }),
};

export const sampleLine: Line = {
  name: 'sampling, 160M NeoX, batch 256, 128 tokens',
  peer: 'sample',
  measure: () =>
    onModel(async (model) => {
      const prompts = samplesOf(256, 16).map((sample) => sample.inputIds);
      const seconds = await job(() => model.generate(prompts, { maxNewTokens: 128, stop: [] }));
      return { seconds, note: tokensPerSecond(256 * 128, seconds) };
    }),
};
