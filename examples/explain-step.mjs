/**
 * What will one policy-gradient step do? Samples stories, rewards words of friendship, and compares the
 * predicted change of the next-token distribution at every probe with the change that the step really makes;
 * prints Markdown.
 *   node examples/explain-step.mjs MODEL_DIR [--seed 1] [--rate 0.002]
 */
import { readFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';

import { analysis, createContext, Model } from 'headfirst';

import { reward } from './friendship-reward.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: 'string', default: '1' }, rate: { type: 'string', default: '0.002' } },
});
const directory = positionals[0];
if (directory === undefined) {
  console.error('usage: node examples/explain-step.mjs MODEL_DIR');
  process.exit(2);
}
const learningRate = Number(values.rate);
const GROUP = 8;
const TOKENS = 48;
const PROBES = 64;

const context = await createContext({ seed: Number(values.seed) });
const model = await Model.fromPretrained(directory, { context });
const prompts = (await readFile(new URL('stories.jsonl', import.meta.url), 'utf8'))
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line).prompt);

// A batch as GRPO makes it: groups of completions, rewards centred in each.
const trained = prompts.slice(0, 4);
const completions = await model.generate(trained, { maxNewTokens: TOKENS, numReturnSequences: GROUP });
const rewards = reward({ completions: completions.map((c) => c.text) });
const batch = completions.map(({ inputIds, completionIds }, i) => {
  const group = rewards.slice(Math.floor(i / GROUP) * GROUP, (Math.floor(i / GROUP) + 1) * GROUP);
  return {
    inputIds,
    scoreFrom: inputIds.length - completionIds.length,
    advantage: rewards[i] - group.reduce((a, b) => a + b, 0) / GROUP,
  };
});
// Probes: other prompts, and states of other stories.
const others = await model.generate(prompts.slice(4), { maxNewTokens: TOKENS, seed: 99 });
const probes = others
  .flatMap(({ inputIds, completionIds }) =>
    [0, 8, 16, 32].map((l) => inputIds.slice(0, inputIds.length - completionIds.length + l)),
  )
  .slice(0, PROBES);

const word = (id) => JSON.stringify(model.tokenizer.decode([id]));
const number = (x, digits = 3) => Number(x).toPrecision(digits);
const signed = (x) => (x >= 0 ? '+' : '') + x.toExponential(2);
const percent = (x) => `${(100 * x).toFixed(2)} %`;
function table(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const rule = `|${head.map(() => ' --- |').join('')}`;
  console.log(`${[line(head), rule, ...rows.map(line)].join('\n')}\n`);
}

console.log('# One step, explained\n');
const command = `node examples/explain-step.mjs ${directory} --seed ${values.seed} --rate ${values.rate}`;
const date = new Date().toISOString().slice(0, 10);
const machine = `${cpus()[0].model}, ${context.threads} threads, ${context.backend}`;
console.log(`\`${command}\` · ${date} · ${machine}\n`);
const meanReward = rewards.reduce((a, b) => a + b, 0) / rewards.length;
console.log(
  `${batch.length} completions of ${trained.length} prompts, reward ${number(meanReward)} on average; ` +
    `ascent on (1/N) Σ advantage · log π. ${probes.length} probes that are not in the batch.\n`,
);

console.log('## Is it right?\n');
const rows = [];
for (const factor of [1, 1 / 2, 1 / 4]) {
  const e = await analysis.explainStep(model, batch, probes, { learningRate: learningRate * factor });
  rows.push([
    `gradient, η = ${number(learningRate * factor)}`,
    percent(e.relativeError),
    number(e.r2, 5),
    percent(e.signAgreement),
  ]);
}
const adam = await analysis.explainStep(model, batch, probes, { learningRate: 1e-4, update: 'adam' });
rows.push([
  'first AdamW step, η = 1e-4',
  percent(adam.relativeError),
  number(adam.r2, 5),
  percent(adam.signAgreement),
]);
table(['update', '‖predicted − measured‖ / ‖measured‖', 'R²', 'same sign'], rows);

const result = await analysis.explainStep(model, batch, probes, {
  learningRate,
  layers: true,
  influences: { top: 3 },
});
console.log(`## What the step does (η = ${number(learningRate)})\n\nMeans over the probes.\n`);
table(
  ['', 'before', 'representation', 'gradient', 'cross', 'predicted', 'measured'],
  ['maxProb', 'entropy'].map((key) => {
    const c = result[key];
    return [
      key === 'maxProb' ? 'max-prob' : 'entropy',
      number(c.before, 4),
      ...[c.representation, c.gradient, c.cross, c.predicted, c.measured].map(signed),
    ];
  }),
);
console.log('Size of each component, ‖·‖ over all probes and tokens, relative to the predicted change:\n');
const size = (pick) =>
  Math.sqrt(result.probes.reduce((sum, p) => sum + pick(p).reduce((s, x) => s + x * x, 0), 0));
const whole = size((p) => p.predicted);
table(
  ['part', 'share'],
  [
    ...['representation', 'gradient', 'cross'].map((key) => [key, percent(size((p) => p[key]) / whole)]),
    ...result.probes[0].layers.map((layer, l) => [
      `gradient: ${layer.name}`,
      percent(size((p) => p.layers[l].change) / whole),
    ]),
  ],
);

console.log(
  '## Who moved it\n\nThe likeliest next token at some probes, and the samples that move its log-probability ' +
    'most (advantage; contribution).\n',
);
table(
  ['probe ends with', 'token', 'predicted', 'measured', 'top samples'],
  result.probes
    .filter((_, i) => i % 8 === 0)
    .map((p, i) => [
      JSON.stringify(model.tokenizer.decode(probes[8 * i]).slice(-28)),
      word(p.target),
      signed(p.logp.predicted),
      signed(p.logp.measured),
      p.influences
        .map((f) => `#${f.sample} (${batch[f.sample].advantage.toFixed(2)}; ${signed(f.total)})`)
        .join(', '),
    ]),
);

const median = async (work) => {
  const times = [];
  for (let i = 0; i < 5; ++i) {
    const begin = performance.now();
    await work();
    times.push(performance.now() - begin);
  }
  return times.sort((a, b) => a - b)[2];
};
const coefficients = Float32Array.from(
  batch.flatMap((s) => new Array(s.inputIds.length - s.scoreFrom).fill(s.advantage / batch.length)),
);
const scratch = await model.clone();
const step = await median(() => scratch.accumulateGradients(batch, { loss: 'coefficients', coefficients }));
const explain = await median(() => analysis.explainStep(model, batch, probes, { learningRate }));
const batchTokens = batch.reduce((sum, { inputIds }) => sum + inputIds.length, 0);
const probeTokens = probes.reduce((sum, probe) => sum + probe.length, 0);
console.log(
  `## Cost\n\nMedians of 5: the step's forward and backward pass over ${batchTokens} tokens ${number(step)} ms; ` +
    `explainStep with ${probes.length} probes of ${probeTokens} tokens ${number(explain)} ms ` +
    `(that pass included), ${number(explain / step, 2)} ×.`,
);
