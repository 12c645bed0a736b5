/**
 * How right is first order on the demo's own model, and how fast does it get wrong? In float64, from a base
 * model that `headfirst demo` left: 512 fresh rollouts, GRPO advantages, 64 held-out states; plain ascent at
 * halving rates, and a first Adam step. Prints Markdown, within a minute.
 *   node examples/first-order.mjs runs/demo/base-models/main-seed0-…/model
 * It takes the experiment's task from build/js: run it in a checkout, after npm run build.
 */
import { analysis, createContext, Model } from 'headfirst';

import {
  decode,
  encode,
  EOS,
  MAX_RESPONSE_TOKENS,
  promptText,
  reward,
  splitAdditions,
} from '../build/js/research/tasks/noisyAdder.js';

const directory = process.argv[2];
if (directory === undefined) {
  console.error('usage: node examples/first-order.mjs MODEL_DIR');
  process.exit(2);
}
const GROUP = 8;
const context = await createContext({ math: 'fp64' });
const model = await Model.fromPretrained(directory, { context });
const { train, heldOut } = splitAdditions(0);

const roll = (pairs, numReturnSequences, seed) =>
  model.generate(
    pairs.map((pair) => encode(promptText(pair))),
    { maxNewTokens: MAX_RESPONSE_TOKENS, numReturnSequences, seed, stop: [EOS] },
  );
console.error('sampling 512 rollouts');
const batch = (await roll(train.slice(0, 64), GROUP, 7))
  .map(({ inputIds, completionIds }, i) => ({
    inputIds,
    scoreFrom: inputIds.length - completionIds.length,
    r: reward(train[Math.floor(i / GROUP)], decode(completionIds)),
  }))
  .map((sample, i, all) => {
    const group = all.slice(i - (i % GROUP), i - (i % GROUP) + GROUP).map((s) => s.r);
    const mean = group.reduce((a, b) => a + b, 0) / GROUP;
    const std = Math.sqrt(group.reduce((a, b) => a + (b - mean) ** 2, 0) / (GROUP - 1));
    return {
      inputIds: sample.inputIds,
      scoreFrom: sample.scoreFrom,
      advantage: (sample.r - mean) / (std + 1e-4),
    };
  });
const probes = (await roll(heldOut.slice(0, 64), 1, 8)).map(({ inputIds, completionIds }, i) =>
  inputIds.slice(0, inputIds.length - completionIds.length + (i % completionIds.length)),
);

const line = (cells) => `| ${cells.join(' | ')} |`;
const percent = (x) => `${(100 * x).toPrecision(3)} %`;
const gapHead = 'largest |R + G + cross − predicted|';
console.log(line(['step', 'error', 'of half the rate', 'ratio', 'R²', 'same sign', gapHead]));
console.log(line(['---', '---', '---', '---', '---', '---', '---']));
for (const [update, learningRate] of [
  ['gradient', 0.02],
  ['gradient', 0.005],
  ['gradient', 0.001],
  ['adam', 1e-4],
  ['adam', 1e-5],
]) {
  console.error(`explaining a step: ${update}, η = ${learningRate}`);
  const explain = (rate) => analysis.explainStep(model, batch, probes, { update, learningRate: rate });
  const whole = await explain(learningRate);
  const half = await explain(learningRate / 2);
  const gap = Math.max(
    ...whole.probes.flatMap((p) =>
      Array.from(p.predicted, (x, v) => Math.abs(x - p.representation[v] - p.gradient[v] - p.cross[v])),
    ),
  );
  console.log(
    line([
      `${update}, η = ${learningRate}`,
      percent(whole.relativeError),
      percent(half.relativeError),
      (whole.relativeError / half.relativeError).toFixed(3),
      whole.r2.toFixed(5),
      `${(100 * whole.signAgreement).toFixed(1)} %`,
      gap.toExponential(1),
    ]),
  );
}
