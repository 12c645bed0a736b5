/**
 * The paper's kernel on a real small checkpoint: samples 64 stories' beginnings, then prints the
 * decomposition of their kernel, its spectrum and the cosines between features, as Markdown.
 *   node examples/stories-ntk.mjs MODEL_DIR [--seed 1] [--tokens 48]
 * MODEL_DIR: karpathy/tinyllamas stories260K in Hugging Face form. The prompts are examples/stories.jsonl,
 * several completions each.
 */
import { readFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';

import { analysis, createContext, Model, ntk } from 'headfirst';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: 'string', default: '1' }, tokens: { type: 'string', default: '48' } },
});
const directory = positionals[0];
if (directory === undefined) {
  console.error('usage: node examples/stories-ntk.mjs MODEL_DIR');
  process.exit(2);
}
const COUNT = 64;

const context = await createContext({ seed: Number(values.seed) });
const model = await Model.fromPretrained(directory, { context });
const prompts = (await readFile(new URL('stories.jsonl', import.meta.url), 'utf8'))
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line).prompt);
const perPrompt = Math.ceil(COUNT / prompts.length);
const completions = (
  await model.generate(prompts, { maxNewTokens: Number(values.tokens), numReturnSequences: perPrompt })
).slice(0, COUNT);
const samples = completions.map(({ inputIds, completionIds }) => ({
  inputIds,
  scoreFrom: inputIds.length - completionIds.length,
}));

const estimate = await ntk.estimate(model, samples);
const began = performance.now();
const parts = await ntk.decompose(model, samples);
const ms = performance.now() - began;
const n = samples.length;
const names = ['representation', 'gradient', 'cross', 'total'];
const number = (x, digits = 4) => (Number.isFinite(x) ? Number(x).toPrecision(digits) : '∞');
const percent = (x) => `${(100 * x).toFixed(1).replace(/^-0.0$/, '0.0')} %`;
function table(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const rule = `|${head.map(() => ' --- |').join('')}`;
  console.log(`${[line(head), rule, ...rows.map(line)].join('\n')}\n`);
}
const entries = (k, diagonal) => Array.from(k).filter((_, i) => (Math.floor(i / n) === i % n) === diagonal);
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

console.log(`# The kernel of ${n} stories\n`);
const command = `node examples/stories-ntk.mjs ${directory} --seed ${values.seed} --tokens ${values.tokens}`;
const date = new Date().toISOString().slice(0, 10);
const machine = `${cpus()[0].model}, ${context.threads} threads, ${context.backend}`;
console.log(`\`${command}\` · ${date} · ${machine}\n`);
const tokens = samples.reduce((sum, { inputIds }) => sum + inputIds.length, 0);
const scored = samples.reduce((sum, { inputIds, scoreFrom }) => sum + inputIds.length - scoreFrom, 0);
const parameters = model.parameters().reduce((sum, { size }) => sum + size, 0);
console.log(
  `${n} samples (${perPrompt} completions of each prompt of examples/stories.jsonl, the first ${n}; ` +
    `at most ${values.tokens} tokens each, temperature 1), ${tokens} tokens, ${scored} of them scored. ` +
    'Kernel of the log-probability of each completion (a sum over its tokens), ' +
    `all ${parameters} parameters${model.tied ? ', tied classifier' : ''}. ` +
    `Estimated ${number(estimate.flops / 1e9, 3)} GFLOP and ${number(estimate.bytes / 1e6, 3)} MB of working ` +
    `memory, ${number(estimate.seconds, 2)} s at a measured ${number(estimate.flopsPerSecond / 1e9, 3)} ` +
    `GFLOP/s; took ${number(ms / 1000, 2)} s.\n`,
);

console.log('## Decomposition\n');
const total = mean(entries(parts.total, true));
const spectra = Object.fromEntries(
  await Promise.all(
    names.map(async (name) => [name, await analysis.spectrum({ kernel: parts[name], shape: parts.shape })]),
  ),
);
table(
  [
    'component',
    'mean k(x, x)',
    'share',
    'mean k(x, x′)',
    'off-diagonal entries > 0',
    'CKA with total',
    'uncentred',
  ],
  await Promise.all(
    names.map(async (name) => {
      const off = entries(parts[name], false);
      const alignment = await analysis.kernelAlignment(
        { kernel: parts[name], shape: parts.shape },
        { kernel: parts.total, shape: parts.shape },
      );
      return [
        name,
        number(mean(entries(parts[name], true))),
        percent(mean(entries(parts[name], true)) / total),
        number(mean(off)),
        percent(off.filter((x) => x > 0).length / off.length),
        number(alignment.centred, 3),
        number(alignment.uncentred, 3),
      ];
    }),
  ),
);

console.log('## Spectrum\n');
console.log(
  'Effective rank: exp of the entropy of the normalised eigenvalues (Roy & Vetterli 2007); ' +
    'participation ratio: (Σλ)² / Σλ². The cross component is indefinite: its ranks ignore negative ' +
    'eigenvalues, and its largest one says nothing about its trace.\n',
);
table(
  ['component', 'effective rank', 'participation ratio', 'λ₁ / trace', 'condition', 'λ₁ … λ₆', 'λ_min'],
  names.map((name) => {
    const s = spectra[name];
    return [
      name,
      s.effectiveRank.toFixed(2),
      s.participationRatio.toFixed(2),
      name === 'cross' ? '–' : percent(s.eigenvalues[0] / s.trace),
      name === 'cross' ? '–' : number(s.condition, 3),
      [...s.eigenvalues.slice(0, 6)].map((x) => number(x)).join(', '),
      number(s.eigenvalues.at(-1)),
    ];
  }),
);

console.log('## Cosines of features\n');
console.log(
  '⟨φ(s), φ(s′)⟩ / ‖φ(s)‖‖φ(s′)‖ between states s (a prompt and the tokens so far). ' +
    'Position: tokens of the completion that the state has.\n',
);
const features = await analysis.featureSimilarity(model, samples);
const row = (name, s) => [
  name,
  s.pairs,
  number(s.meanCosine, 3),
  number(s.stdCosine, 3),
  number(s.minCosine, 3),
  number(s.maxCosine, 3),
  percent(s.positive),
];
const shown = features.byPosition.filter(
  (p) => p.pairs > 0 && [0, 1, 2, 4, 8, 16, 24, 32, 47].includes(p.position),
);
table(
  ['pairs', 'number', 'mean cosine', 'std', 'min', 'max', '⟨φ, φ′⟩ > 0'],
  [
    row('all, different samples', features.across),
    row('all, same sample', features.within),
    row('different samples, mean feature removed', features.centred),
    ...shown.map((p) => row(`position ${p.position}${p.position === 0 ? ' (prompts)' : ''}`, p)),
  ],
);
const bins = [...features.histogram];
console.log('Histogram over [−1, 1] in steps of 0.1:\n');
table(
  ['cosine', 'share'],
  Array.from({ length: 20 }, (_, i) => [
    `${(-1 + i / 10).toFixed(1)} … ${(-0.9 + i / 10).toFixed(1)}`,
    percent((bins[2 * i] + bins[2 * i + 1]) / features.across.pairs),
  ]).filter(([, share]) => share !== '0.0 %'),
);

const confidence = await analysis.confidence(model, samples);
const diversity = analysis.diversity(completions.slice(0, Math.floor(n / perPrompt) * perPrompt), {
  perPrompt,
});
console.log('## The policy at these states\n');
table(
  ['max-prob', 'entropy (nats)', 'distinct-1', 'distinct-2', 'self-BLEU'],
  [
    [
      number(confidence.maxProb, 3),
      number(confidence.entropy, 3),
      number(diversity.distinctN[0], 3),
      number(diversity.distinctN[1], 3),
      number(diversity.selfBleu, 3),
    ],
  ],
);
