import { Command, Option } from 'commander';
import { join } from 'node:path';

import type { NoisyAdderVariant } from '../../research/tasks/noisyAdder.js';
import { interruptible } from '../interrupt.js';
import { commandLine, integer, printJson, threadsOption } from '../flags.js';
import { environmentOf } from '../version.js';
import { glance, Progress } from '../progress.js';

interface Options {
  readonly seeds: number;
  readonly task: NoisyAdderVariant;
  readonly controls?: boolean;
  readonly quick?: boolean;
  readonly fresh?: boolean;
  readonly out?: string;
  readonly threads?: number;
  readonly json?: boolean;
}

export const demo = (): Command =>
  new Command('demo')
    .description(
      'the embedded experiment: train a base model, then RL and classifier-first RL from it, and compare them',
    )
    .option('--seeds <n>', 'repeat with n seeds and report the spread', integer(1), 1)
    .addOption(
      new Option('--task <name>', 'contrast: a task where sharpening does not suffice')
        .choices(['main', 'contrast'])
        .default('main'),
    )
    .option(
      '--controls',
      'also train the controls: one stage with a larger learning rate on the classifier, or on everything',
    )
    .option('--quick', 'a few steps of everything: seconds, meaningless numbers')
    .option(
      '--out <dir>',
      'where the run goes; one that was stopped goes on from there (default: runs/demo…)',
    )
    .option('--fresh', 'forget what --out holds, base models too, and begin again')
    .addOption(threadsOption())
    .option('--json', 'print the summary as JSON')
    .action(async (options: Options) => {
      const [{ createContext }, { makePlan }, { runDemo }, { report }] = await Promise.all([
        import('../../core/context.js'),
        import('../../research/experiment/experimentPlan.js'),
        import('../../research/experiment/runDemo.js'),
        import('../../report/index.js'),
      ]);
      const out =
        options.out ??
        join(
          'runs',
          [
            'demo',
            ...(options.task === 'main' ? [] : [options.task]),
            ...(options.controls ? ['controls'] : []),
            ...(options.quick ? ['quick'] : []),
          ].join('-'),
        );
      const argv = process.argv.slice(2).filter((word) => word !== '--fresh');
      const progress = new Progress();
      const context = await createContext(options.threads ? { threads: options.threads } : {});
      try {
        const summary = await interruptible({ goOn: commandLine(...argv) }, (signal) =>
          runDemo({
            context,
            out,
            signal,
            command: commandLine(...argv),
            environment: environmentOf(context),
            baseDirectory: join(out, 'base-models'),
            plan: makePlan(options.task, options.quick ? 'quick' : 'full', options.controls === true),
            seeds: Array.from({ length: options.seeds }, (_, seed) => seed),
            fresh: options.fresh === true,
            onPhase: (phase, done, total, metrics) => progress.update(phase, done, total, glance(metrics)),
          }),
        ).finally(() => progress.end());
        if (options.json) printJson(summary);
        else
          process.stdout.write(
            `\n${report.terminal(out)}\n\n${summary.notes.map((note) => `· ${note}`).join('\n')}\n\nReport: ` +
              `${join(out, 'report.html')}\n`,
          );
      } finally {
        context.dispose();
      }
    });
