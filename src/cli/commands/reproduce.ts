import { Command } from 'commander';
import { join } from 'node:path';

import { integer, printJson, thisCommand } from '../flags.js';
import { longJob } from '../interrupt.js';
import { glance } from '../progress.js';
import { environmentOf } from '../version.js';

interface Options {
  readonly seeds?: number;
  readonly quick?: boolean;
  readonly fresh?: boolean;
  readonly out?: string;
  readonly threads: number;
  readonly json?: boolean;
}

export const reproduce = (): Command =>
  new Command('reproduce')
    .description(
      'the study: the paper’s claims measured on both tasks, with GRPO and RLOO, beside every control',
    )
    .option('--seeds <n>', 'base models, each with every arm (default: 5; 2 with --quick)', integer(1))
    .option('--quick', 'a few steps of everything: minutes, meaningless numbers')
    .option(
      '--out <dir>',
      'where the study goes; one that was stopped goes on from there ' +
        '(default: runs/study or runs/study-quick)',
    )
    .option('--fresh', 'forget what --out holds, base models too, and begin again')
    .option(
      '--threads <n>',
      'processors to use; times are compared as processor time, which is wall time for one thread only',
      integer(1),
      1,
    )
    .option('--json', 'print the claims as JSON')
    .action(run);

async function run({ quick = false, fresh = false, threads, json, ...options }: Options): Promise<void> {
  const [{ createContext }, { runStudy }] = await Promise.all([
    import('../../core/context.js'),
    import('../../research/study/runStudy.js'),
  ]);
  const out = options.out ?? join('runs', quick ? 'study-quick' : 'study');
  const count = options.seeds ?? (quick ? 2 : 5);
  const command = thisCommand('--fresh');
  using context = await createContext({ threads });
  const claims = await longJob({ goOn: command }, (signal, progress) =>
    runStudy({
      context,
      out,
      seeds: Array.from({ length: count }, (_, seed) => seed),
      signal,
      command,
      environment: environmentOf(context),
      size: quick ? 'quick' : 'full',
      fresh,
      onPhase: (phase, done, total, metrics) => progress.update(phase, done, total, glance(metrics)),
    }),
  );
  if (json) return printJson(claims);
  const lines = claims.map(({ claim, verdict }, i) => `${i + 1}. ${verdict.padEnd(14)}  ${claim}`);
  process.stdout.write(`${lines.join('\n')}\n\nTables and figures: ${join(out, 'README.md')}\n`);
}
