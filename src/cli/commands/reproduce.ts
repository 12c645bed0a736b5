import { Command } from 'commander';
import { join } from 'node:path';

import { interruptible } from '../interrupt.js';
import { commandLine, integer, printJson } from '../flags.js';
import { glance, Progress } from '../progress.js';
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
      'where the study goes; one that was stopped goes on from there (default: runs/study or runs/study-quick)',
    )
    .option('--fresh', 'forget what --out holds, base models too, and begin again')
    .option(
      '--threads <n>',
      'processors to use; times are compared as processor time, which is wall time for one thread only',
      integer(1),
      1,
    )
    .option('--json', 'print the claims as JSON')
    .action(async (options: Options) => {
      const [{ createContext }, { runStudy }] = await Promise.all([
        import('../../core/context.js'),
        import('../../research/study/runStudy.js'),
      ]);
      const out = options.out ?? join('runs', options.quick ? 'study-quick' : 'study');
      const seeds = Array.from({ length: options.seeds ?? (options.quick ? 2 : 5) }, (_, seed) => seed);
      const command = commandLine(...process.argv.slice(2).filter((word) => word !== '--fresh'));
      const progress = new Progress();
      using context = await createContext({ threads: options.threads });
      const claims = await interruptible({ goOn: command }, (signal) =>
        runStudy({
          context,
          out,
          seeds,
          signal,
          command,
          environment: environmentOf(context),
          size: options.quick ? 'quick' : 'full',
          fresh: options.fresh === true,
          onPhase: (phase, done, total, metrics) => progress.update(phase, done, total, glance(metrics)),
        }),
      ).finally(() => progress.end());
      if (options.json) return printJson(claims);
      process.stdout.write(
        `${claims.map(({ claim, verdict }, i) => `${i + 1}. ${verdict.padEnd(14)}  ${claim}`).join('\n')}\n\nTables ` +
          `and figures: ${join(out, 'README.md')}\n`,
      );
    });
