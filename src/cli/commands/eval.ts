import { Command } from 'commander';
import { appendFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';

import { io } from '../../core/files.js';
import { fail } from '../../errors.js';
import { interruptible } from '../interrupt.js';
import {
  adapterOption,
  collect,
  commandLine,
  integer,
  printJson,
  real,
  stopOption,
  threadsOption,
} from '../flags.js';
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
  readonly topK: number;
  readonly minP: number;
  readonly stop?: (number | string)[];
  readonly seed: number;
  readonly completions?: string;
  readonly adapter?: string;
  readonly threads?: number;
  readonly json?: boolean;
}

export const evaluate = (): Command =>
  new Command('eval')
    .description('a model on held-out prompts by a reward: greedy, pass@k, maj@k, best-of-k')
    .requiredOption('--model <dir>', 'Hugging Face directory')
    .requiredOption(
      '--data <file>',
      'JSON lines (.jsonl, .jsonl.gz), each with "prompt" and any columns the reward reads',
    )
    .requiredOption(
      '--reward <what>',
      'as for train; the first says who is right (at least 1); may be repeated',
      collect,
    )
    .option('--samples <n>', 'per prompt; 0: greedy only', integer(0), 8)
    .option('--limit <n>', 'the first n rows only', integer(1))
    .option('--max-new-tokens <n>', 'at most this many tokens each', integer(1), 512)
    .option('--temperature <t>', 'of the samples', real(0), 1)
    .option('--top-p <p>', 'nucleus sampling', real(0, 1), 1)
    .option('--top-k <k>', '0 = all', integer(0), 0)
    .option('--min-p <p>', 'least probability relative to the most likely token', real(0, 1), 0)
    .addOption(stopOption())
    .option('--seed <n>', 'of sampling', integer(0), 42)
    .option('--completions <file>', 'write every completion with its reward as JSON lines')
    .addOption(adapterOption())
    .addOption(threadsOption())
    .option('--json', 'print the result as JSON')
    .action(
      async ({
        model: directory,
        data,
        reward,
        limit,
        maxNewTokens,
        completions,
        adapter,
        threads,
        json,
        ...sampling
      }: Options) => {
        const [{ createContext }, { Model }, { evaluateRewards, loadReward, readJsonLines }] =
          await Promise.all([
            import('../../core/context.js'),
            import('../../model/model.js'),
            import('../../rl/index.js'),
          ]);
        const rewardFuncs = await Promise.all(reward.map((spec) => loadReward(spec)));
        const rows = (await readJsonLines<import('../../rl/index.js').PromptRow>(data)).slice(0, limit);
        if (completions !== undefined)
          await io('eval', 'write', completions, () => writeFile(completions, ''));
        using context = await createContext(threads ? { threads } : {});
        using model = await Model.fromPretrained(directory, { context, ...(adapter ? { adapter } : {}) });
        const progress = new Progress();
        const write = (file: string) => (record: object) => {
          try {
            appendFileSync(file, `${JSON.stringify(record)}\n`);
          } catch (error) {
            fail('ERR_IO', `eval: ${file} could not be written: ${(error as Error).message}`, error);
          }
        };
        const result = await interruptible({ again: commandLine(...process.argv.slice(2)) }, (signal) =>
          evaluateRewards(model, {
            ...sampling,
            rows,
            rewardFuncs,
            maxCompletionLength: maxNewTokens,
            signal,
            onProgress: (done, total) => progress.update('evaluating', done, total),
            ...(completions === undefined ? {} : { onCompletion: write(completions) }),
          }),
        ).finally(() => progress.end());
        if (json) return printJson(result);
        const width = Math.max(...Object.keys(result).map((key) => key.length));
        process.stdout.write(
          `${Object.entries(result)
            .map(
              ([key, value]) =>
                `${key.padEnd(width)}  ${value === null ? '–' : Number.isInteger(value) ? value : value.toFixed(4)}`,
            )
            .join('\n')}\n`,
        );
      },
    );
