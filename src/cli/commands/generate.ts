import { Command, InvalidArgumentError } from 'commander';

import { fail } from '../../errors.js';
import type { Completion } from '../../model/generation.js';
import type { Model } from '../../model/model.js';
import {
  adapterOption,
  addOptions,
  collect,
  integer,
  printJson,
  type Sampling,
  samplingOptions,
  thisCommand,
  threadsOption,
} from '../flags.js';
import { interruptible } from '../interrupt.js';

interface Options extends Sampling {
  readonly model: string;
  readonly prompt?: readonly string[];
  readonly promptIds?: readonly number[][];
  readonly samples: number;
  readonly adapter?: string;
  readonly threads?: number;
  readonly json?: boolean;
}

/** '1,403,407' as token ids, after the prompts that were given before. */
function ids(text: string, before: readonly number[][] = []): number[][] {
  const parsed = text.split(',').map((item) => (item.trim() === '' ? NaN : Number(item)));
  if (!parsed.every((id) => Number.isInteger(id) && id >= 0))
    throw new InvalidArgumentError('It must be token ids with commas between, e.g. 1,403,407.');
  return [...before, parsed];
}

export function generate(): Command {
  const command = new Command('generate')
    .description('sample from a model directory')
    .requiredOption('--model <dir>', 'Hugging Face directory: config.json, safetensors, tokenizer.json')
    .option('--prompt <text>', 'may be given several times', collect)
    .option('--prompt-ids <ids>', 'a prompt as token ids, for models without a tokenizer', ids)
    .option('--samples <n>', 'completions per prompt', integer(1), 1);
  return addOptions(command, [
    ...samplingOptions({ maxNewTokens: 128, temperatureMeans: '0 = greedy', seed: 0 }),
    adapterOption(),
    threadsOption(),
  ])
    .option('--json', 'print ids, text, log-probabilities and why each ended as JSON')
    .action(run);
}

async function run(options: Options): Promise<void> {
  const {
    model: directory,
    prompt = [],
    promptIds = [],
    samples,
    adapter,
    threads,
    json,
    ...sampling
  } = options;
  const prompts = [...prompt, ...promptIds];
  if (prompts.length === 0)
    fail('ERR_INVALID_ARG', 'generate: give at least one --prompt TEXT or --prompt-ids IDS');
  const [{ createContext }, { Model }] = await Promise.all([
    import('../../core/context.js'),
    import('../../model/model.js'),
  ]);
  using context = await createContext({ threads });
  using model = await Model.fromPretrained(directory, { context, adapter });
  const completions = await interruptible({ again: thisCommand() }, (signal) =>
    model.generate(prompts, { ...sampling, numReturnSequences: samples, signal }),
  );
  if (json) printJson(completions.map((c, i) => jsonOf(c, prompts[Math.floor(i / samples)]!)));
  else process.stdout.write(`${completions.map((c) => textOf(model, c)).join('\n\n')}\n`);
}

const jsonOf = (completion: Completion, prompt: string | readonly number[]) => ({
  prompt,
  ...completion,
  logps: [...completion.logps],
});

/** Prompt and completion are decoded together: a completion alone may have lost the space between them. */
const textOf = (model: Model, { inputIds, completionIds }: Completion): string =>
  model.hasTokenizer ? model.tokenizer.decode(inputIds) : completionIds.join(',');
