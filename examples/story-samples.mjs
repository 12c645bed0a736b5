/**
 * Samples for `headfirst analyze`: completions of examples/stories.jsonl with the advantage that GRPO would
 * give them for words of friendship, one JSON object a line on stdout.
 *   node examples/story-samples.mjs MODEL_DIR [--seed 1] [--prompts 4] [--group 8] [--tokens 40] > samples.jsonl
 */
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';

import { createContext, Model } from 'headfirst';

import { reward } from './friendship-reward.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: 'string', default: '1' },
    prompts: { type: 'string', default: '4' },
    group: { type: 'string', default: '8' },
    tokens: { type: 'string', default: '40' },
  },
});
const directory = positionals[0];
if (directory === undefined) {
  console.error('usage: node examples/story-samples.mjs MODEL_DIR');
  process.exit(2);
}
const group = Number(values.group);

const context = await createContext({ seed: Number(values.seed) });
const model = await Model.fromPretrained(directory, { context });
const prompts = (await readFile(new URL('stories.jsonl', import.meta.url), 'utf8'))
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line).prompt)
  .slice(0, Number(values.prompts));
const completions = await model.generate(prompts, {
  maxNewTokens: Number(values.tokens),
  numReturnSequences: group,
});
const rewards = reward({ completions: completions.map((c) => c.text) });
completions.forEach(({ inputIds, completionIds, text }, i) => {
  const own = rewards.slice(i - (i % group), i - (i % group) + group);
  const mean = own.reduce((a, b) => a + b, 0) / group;
  console.log(
    JSON.stringify({
      inputIds,
      scoreFrom: inputIds.length - completionIds.length,
      advantage: rewards[i] - mean,
      label: `#${i} ${text.trim()}`,
    }),
  );
});
