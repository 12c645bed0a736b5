import { Command, InvalidArgumentError } from 'commander';

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

interface Options {
  readonly model: string;
  readonly prompt?: readonly string[];
  readonly promptIds?: readonly number[][];
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly minP: number;
  readonly samples: number;
  readonly seed: number;
  readonly stop?: (number | string)[];
  readonly adapter?: string;
  readonly threads?: number;
  readonly json?: boolean;
}

function ids(text: string, before: readonly number[][] = []): number[][] {
  const parsed = text.split(',').map((item) => (item.trim() === '' ? NaN : Number(item)));
  if (!parsed.every((id) => Number.isInteger(id) && id >= 0))
    throw new InvalidArgumentError('It must be token ids with commas between, e.g. 1,403,407.');
  return [...before, parsed];
}

export const generate = (): Command =>
  new Command('generate')
    .description('sample from a model directory')
    .requiredOption('--model <dir>', 'Hugging Face directory: config.json, safetensors, tokenizer.json')
    .option('--prompt <text>', 'may be given several times', collect)
    .option('--prompt-ids <ids>', 'a prompt as token ids, for models without a tokenizer', ids)
    .option('--max-new-tokens <n>', 'at most this many tokens each', integer(1), 128)
    .option('--temperature <t>', '0 = greedy', real(0), 1)
    .option('--top-p <p>', 'nucleus sampling', real(0, 1), 1)
    .option('--top-k <k>', '0 = all', integer(0), 0)
    .option('--min-p <p>', 'least probability relative to the most likely token', real(0, 1), 0)
    .option('--samples <n>', 'completions per prompt', integer(1), 1)
    .option('--seed <n>', 'of sampling', integer(0), 0)
    .addOption(stopOption())
    .addOption(adapterOption())
    .addOption(threadsOption())
    .option('--json', 'print ids, text, log-probabilities and why each ended as JSON')
    .action(
      async ({
        model: directory,
        prompt = [],
        promptIds = [],
        samples,
        adapter,
        threads,
        json,
        ...sampling
      }: Options) => {
        const prompts = [...prompt, ...promptIds];
        if (prompts.length === 0)
          fail('ERR_INVALID_ARG', 'generate: give at least one --prompt TEXT or --prompt-ids IDS');
        const [{ createContext }, { Model }] = await Promise.all([
          import('../../core/context.js'),
          import('../../model/model.js'),
        ]);
        using context = await createContext(threads ? { threads } : {});
        using model = await Model.fromPretrained(directory, { context, ...(adapter ? { adapter } : {}) });
        const completions = await interruptible({ again: commandLine(...process.argv.slice(2)) }, (signal) =>
          model.generate(prompts, { ...sampling, numReturnSequences: samples, signal }),
        );
        if (json)
          return printJson(
            completions.map((c, i) => ({
              prompt: prompts[Math.floor(i / samples)],
              ...c,
              logps: [...c.logps],
            })),
          );
        // Prompt and completion are decoded together: a completion alone may have lost the space between
        // them.
        const text = completions.map((c) =>
          model.hasTokenizer ? model.tokenizer.decode(c.inputIds) : c.completionIds.join(','),
        );
        process.stdout.write(`${text.join('\n\n')}\n`);
      },
    );
