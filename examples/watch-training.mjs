/**
 * A short RL run with every second step explained: what the representation and the gradient component of the
 * step did to the entropy at stories that are not trained on, predicted and measured. The run's report draws
 * the rows.
 *   node examples/watch-training.mjs MODEL_DIR OUT_DIR [--steps 10]
 */
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';

import { analysis, createContext, GRPOTrainer, Model } from 'headfirst';

import { reward } from './friendship-reward.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { steps: { type: 'string', default: '10' } },
});
const [directory, outputDir] = positionals;
if (positionals.length !== 2) {
  console.error('usage: node examples/watch-training.mjs MODEL_DIR OUT_DIR');
  process.exit(2);
}

const model = await Model.fromPretrained(directory, { context: await createContext({ seed: 1 }) });
const rows = (await readFile(new URL('stories.jsonl', import.meta.url), 'utf8'))
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line));
const others = await model.generate(
  rows.slice(16).map((row) => row.prompt),
  { maxNewTokens: 32 },
);
const probes = others.map(({ inputIds, completionIds }) => ({
  inputIds,
  scoreFrom: inputIds.length - completionIds.length,
}));

const trainer = new GRPOTrainer({
  model,
  rewardFuncs: reward,
  trainDataset: rows.slice(0, 16),
  config: {
    outputDir,
    overwriteOutputDir: true,
    maxSteps: Number(values.steps),
    perDeviceTrainBatchSize: 32,
    maxCompletionLength: 40,
    learningRate: 3e-4,
    lrSchedulerType: 'constant',
    stop: [1],
    seed: 1,
  },
});
const signed = (x) => (x >= 0 ? '+' : '') + x.toFixed(4);
for await (const { metrics, analysis: row } of analysis.record(trainer, { every: 2, probes })) {
  if (!row?.explained) continue;
  const { entropy, relativeError } = row.explained;
  const parts = [
    `step ${row.step}`,
    `reward ${metrics.reward.toFixed(3)}`,
    `entropy ${row.entropy.toFixed(3)}`,
    `this step: R ${signed(entropy.representation)}`,
    `G ${signed(entropy.gradient)}`,
    `cross ${signed(entropy.cross)}`,
    `measured ${signed(entropy.measured)}`,
    `error ${(100 * relativeError).toFixed(1)} %`,
  ];
  console.log(parts.join('  '));
}
