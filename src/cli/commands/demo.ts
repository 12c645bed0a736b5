import { Command, Option } from 'commander';
import { join } from 'node:path';

import type { NoisyAdderVariant } from '../../research/tasks/noisyAdder.js';
import { integer, printJson, thisCommand, threadsOption } from '../flags.js';
import { longJob } from '../interrupt.js';
import { glance } from '../progress.js';
import { environmentOf } from '../version.js';

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
    .action(run);

async function run(options: Options): Promise<void> {
  const [{ createContext }, { makePlan }, { runDemo }, { report }] = await Promise.all([
    import('../../core/context.js'),
    import('../../research/experiment/experimentPlan.js'),
    import('../../research/experiment/runDemo.js'),
    import('../../report/index.js'),
  ]);
  const out = options.out ?? defaultDirectory(options);
  const command = thisCommand('--fresh');
  using context = await createContext({ threads: options.threads });
  const summary = await longJob({ goOn: command }, (signal, progress) =>
    runDemo({
      context,
      out,
      signal,
      command,
      environment: environmentOf(context),
      baseDirectory: join(out, 'base-models'),
      plan: makePlan(options.task, options.quick ? 'quick' : 'full', options.controls === true),
      seeds: Array.from({ length: options.seeds }, (_, seed) => seed),
      fresh: options.fresh === true,
      onPhase: (phase, done, total, metrics) => progress.update(phase, done, total, glance(metrics)),
    }),
  );
  if (options.json) return printJson(summary);
  const notes = summary.notes.map((note) => `· ${note}`).join('\n');
  const page = join(out, 'report.html');
  process.stdout.write(`\n${report.terminal(out)}\n\n${notes}\n\nReport: ${page}\n`);
}

/** A directory of its own for every kind of run: runs/demo-contrast-quick, for example. */
function defaultDirectory({ task, controls, quick }: Options): string {
  const words = ['demo'];
  if (task !== 'main') words.push(task);
  if (controls) words.push('controls');
  if (quick) words.push('quick');
  return join('runs', words.join('-'));
}
