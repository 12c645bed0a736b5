import { Command } from 'commander';
import { createWriteStream } from 'node:fs';
import { once } from 'node:events';

import { interruptible } from '../interrupt.js';
import { collect, commandLine, integer, printJson, real } from '../options.js';
import { Progress } from '../progress.js';

interface Options {
  readonly model: string;
  readonly data: string;
  readonly reward: readonly string[];
  readonly samples: number;
  readonly limit?: number;
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly seed: number;
  readonly completions?: string;
  readonly json?: boolean;
}

export const evaluate = (): Command => new Command('eval')
  .description('a model on held-out prompts by a reward: greedy, pass@k, maj@k, best-of-k')
  .requiredOption('--model <dir>', 'Hugging Face directory')
  .requiredOption('--data <file>', 'JSON lines (.jsonl, .jsonl.gz), each with "prompt" and any columns the reward reads')
  .requiredOption('--reward <what>', 'as for train; the first says who is right (at least 1); may be repeated', collect)
  .option('--samples <n>', 'per prompt; 0: greedy only', integer(0), 8)
  .option('--limit <n>', 'the first n rows only', integer(1))
  .option('--max-new-tokens <n>', 'at most this many tokens each', integer(1), 512)
  .option('--temperature <t>', 'of the samples', real(0), 1)
  .option('--top-p <p>', 'nucleus sampling', real(0), 1)
  .option('--seed <n>', 'of sampling', integer(0), 42)
  .option('--completions <file>', 'write every completion with its reward as JSON lines')
  .option('--json', 'print the result as JSON')
  .action(async ({ model: directory, data, reward, limit, maxNewTokens, completions, json, ...sampling }: Options) => {
    const [{ Model }, { evaluateRewards, loadReward, readJsonLines }] = await Promise.all([import('../../model/model.js'), import('../../rl/index.js')]);
    const rewardFuncs = await Promise.all(reward.map((spec) => loadReward(spec)));
    const rows = (await readJsonLines<import('../../rl/index.js').PromptRow>(data)).slice(0, limit);
    using model = await Model.fromPretrained(directory);
    const file = completions === undefined ? undefined : createWriteStream(completions);
    const progress = new Progress();
    const result = await interruptible(commandLine(...process.argv.slice(2)), (signal) => evaluateRewards(model, {
      ...sampling, rows, rewardFuncs, maxCompletionLength: maxNewTokens, signal,
      onProgress: (done, total) => progress.update('evaluating', done, total), ...(file ? { onCompletion: (record) => void file.write(`${JSON.stringify(record)}\n`) } : {}),
    })).finally(() => progress.end());
    if (file) await once(file.end(), 'close');
    if (json) return printJson(result);
    const width = Math.max(...Object.keys(result).map((key) => key.length));
    process.stdout.write(`${Object.entries(result).map(([key, value]) => `${key.padEnd(width)}  ${value === null ? '–' : Number.isInteger(value) ? value : value.toFixed(4)}`).join('\n')}\n`);
  });
