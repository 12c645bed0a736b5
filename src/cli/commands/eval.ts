import { Command } from 'commander';
import { appendFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';

import { io } from '../../core/files.js';
import { fail } from '../../errors.js';
import type { PromptRow, RewardEvaluation } from '../../rl/index.js';
import {
  adapterOption,
  addOptions,
  collect,
  integer,
  onlyOnce,
  printJson,
  type Sampling,
  samplingOptions,
  thisCommand,
  threadsOption,
} from '../flags.js';
import { longJob } from '../interrupt.js';

interface Options extends Sampling {
  readonly model: string;
  readonly data: string;
  readonly reward: readonly string[];
  readonly samples: number;
  readonly limit?: number;
  readonly completions?: string;
  readonly adapter?: string;
  readonly threads?: number;
  readonly json?: boolean;
}

export function evaluate(): Command {
  const command = new Command('eval')
    .description('a model on held-out prompts by a reward: greedy, pass@k, maj@k, best-of-k')
    .requiredOption('--model <dir>', 'Hugging Face directory')
    .requiredOption(
      '--data <file>',
      'JSON lines (.jsonl, .jsonl.gz), each with "prompt" and any columns the reward reads',
      onlyOnce,
    )
    .requiredOption(
      '--reward <what>',
      'as for train; the first says who is right (at least 1); may be repeated',
      collect,
    )
    .option('--samples <n>', 'per prompt; 0: greedy only', integer(0), 8)
    .option('--limit <n>', 'the first n rows only', integer(1))
    .option('--completions <file>', 'write every completion with its reward as JSON lines');
  return addOptions(command, [
    ...samplingOptions({ maxNewTokens: 512, temperatureMeans: 'of the samples', seed: 42 }),
    adapterOption(),
    threadsOption(),
  ])
    .option('--json', 'print the result as JSON')
    .action(run);
}

async function run(options: Options): Promise<void> {
  const {
    model: directory,
    data,
    reward,
    limit,
    maxNewTokens,
    completions,
    adapter,
    threads,
    json,
  } = options;
  const { samples, temperature, topP, topK, minP, stop, seed } = options;
  const [{ createContext }, { Model }, { evaluateRewards, loadReward, readJsonLines }] = await Promise.all([
    import('../../core/context.js'),
    import('../../model/model.js'),
    import('../../rl/index.js'),
  ]);
  const rewardFuncs = await Promise.all(reward.map((spec) => loadReward(spec)));
  const rows = await readJsonLines<PromptRow>(data);
  if (completions !== undefined) await io('eval', 'write', completions, () => writeFile(completions, ''));
  using context = await createContext({ threads });
  using model = await Model.fromPretrained(directory, { context, adapter });
  const result = await longJob({ again: thisCommand() }, (signal, progress) =>
    evaluateRewards(model, {
      samples,
      temperature,
      topP,
      topK,
      minP,
      stop,
      seed,
      rows: rows.slice(0, limit),
      rewardFuncs,
      maxCompletionLength: maxNewTokens,
      signal,
      onProgress: (done, total) => progress.update('evaluating', done, total),
      ...(completions === undefined ? {} : { onCompletion: (record) => appendRecord(completions, record) }),
    }),
  );
  if (json) printJson(result);
  else process.stdout.write(`${textOf(result)}\n`);
}

function appendRecord(file: string, record: object): void {
  try {
    appendFileSync(file, `${JSON.stringify(record)}\n`);
  } catch (error) {
    fail('ERR_IO', `eval: ${file} could not be written: ${(error as Error).message}`, error);
  }
}

/** One figure a line. */
function textOf(result: RewardEvaluation): string {
  const width = Math.max(...Object.keys(result).map((key) => key.length));
  const number = (value: number | null) => {
    if (value === null) return '–';
    return Number.isInteger(value) ? String(value) : value.toFixed(4);
  };
  const lines = Object.entries(result).map(([key, value]) => `${key.padEnd(width)}  ${number(value)}`);
  return lines.join('\n');
}
