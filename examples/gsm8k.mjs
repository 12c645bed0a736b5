/**
 * GRPO on GSM8K with a GPT-NeoX model of Pythia-14m's shape and Pythia's tokenizer; random weights unless
 * --model gives others. The reward is the right answer, and a little for writing in plain characters, which
 * is all that random weights can learn in a few steps.
 *
 *   node examples/gsm8k.mjs --tokenizer path/to/tokenizer.json --data path/to/gsm8k/train.jsonl --out runs/gsm8k
 */
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { GRPOTrainer, mathReward, Model, readJsonLines, trainTestSplit } from 'headfirst';

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    tokenizer: { type: 'string' },
    data: { type: 'string' },
    out: { type: 'string', default: 'runs/gsm8k' },
    steps: { type: 'string', default: '10' },
    prompts: { type: 'string', default: '4' },
    length: { type: 'string', default: '64' },
  },
});
if (!values.data || (!values.model && !values.tokenizer))
  throw new Error('give --data, and --model or --tokenizer');

const PYTHIA_14M = {
  model_type: 'gpt_neox',
  vocab_size: 50304,
  hidden_size: 128,
  num_hidden_layers: 6,
  num_attention_heads: 4,
  intermediate_size: 512,
  max_position_embeddings: 2048,
  rotary_pct: 0.25,
  rotary_emb_base: 10000,
  use_parallel_residual: true,
  layer_norm_eps: 1e-5,
  hidden_act: 'gelu',
  tie_word_embeddings: false,
  bos_token_id: 0,
  eos_token_id: 0,
};

/** A directory with config, weights and tokenizer, as any other checkpoint. */
async function randomModel(directory) {
  const model = await Model.fromConfig(PYTHIA_14M, { seed: 0 });
  await model.savePretrained(directory);
  model.dispose();
  mkdirSync(directory, { recursive: true });
  copyFileSync(values.tokenizer, join(directory, 'tokenizer.json'));
  return directory;
}

const rows = (await readJsonLines(values.data)).map(({ question, answer }) => ({
  prompt: `Question: ${question}\nAnswer:`,
  answer,
}));
const { train, test } = trainTestSplit(rows, { testSize: 64 });

const plainText = Object.assign(
  ({ completions }) =>
    completions.map((text) => (text.match(/[A-Za-z0-9 .,]/g) ?? []).length / Math.max(text.length, 1)),
  { rewardName: 'plain_text' },
);

const model = await Model.fromPretrained(values.model ?? (await randomModel(join(values.out, 'start'))));
const generations = 4;
const trainer = new GRPOTrainer({
  model,
  rewardFuncs: [mathReward(), plainText],
  trainDataset: train,
  evalDataset: test.slice(0, 8),
  config: {
    outputDir: join(values.out, 'training'),
    overwriteOutputDir: true,
    maxSteps: Number(values.steps),
    learningRate: 1e-3,
    lrSchedulerType: 'constant',
    rewardWeights: [1, 0.2],
    perDeviceTrainBatchSize: generations * Number(values.prompts),
    numGenerations: generations,
    maxCompletionLength: Number(values.length),
    logCompletions: true,
  },
});
const parameters = model.parameters().reduce((sum, { size }) => sum + size, 0);
const { bytes } = trainer.estimateMemory();
process.stderr.write(
  `${(parameters / 1e6).toFixed(1)} M parameters; memory: about ${(bytes / 1e9).toFixed(2)} GB\n`,
);
for await (const metrics of trainer.steps()) {
  const parts = [
    `step ${metrics.step}`,
    `reward ${metrics.reward.toFixed(4)}`,
    `grad_norm ${metrics.grad_norm.toPrecision(3)}`,
    `length ${metrics['completions/mean_length'].toFixed(1)}`,
    `${metrics.step_time.toFixed(1)} s`,
  ];
  process.stdout.write(`${parts.join('  ')}\n`);
}
const { eval_reward: reward, 'eval_pass@4': pass } = await trainer.evaluate();
process.stdout.write(`held out: reward ${reward.toFixed(4)}  pass@4 ${pass.toFixed(4)}\n`);
await model.savePretrained(join(values.out, 'model'));
process.stderr.write(`Peak memory of the process: ${(process.resourceUsage().maxRSS / 1e6).toFixed(2)} GB\n`);
