import { Command } from 'commander';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { io } from '../../core/files.js';
import { fail } from '../../errors.js';
import { interruptible } from '../interrupt.js';
import { adapterOption, commandLine, integer, printJson, threadsOption } from '../flags.js';
import { Progress } from '../progress.js';
import { writeResult, writeSummary } from '../summary.js';
import { environmentOf } from '../version.js';

interface Options {
  readonly data: string;
  readonly after?: string;
  readonly learningRate: string;
  readonly kernel: number;
  readonly states: number;
  readonly out: string;
  readonly untie?: boolean;
  readonly adapter?: string;
  readonly threads?: number;
  readonly json?: boolean;
}

export const analyze = (): Command =>
  new Command('analyze')
    .description(
      'one checkpoint, or a pair: kernel by component, spectra, features, and a step predicted and measured; ' +
        'writes a report',
    )
    .argument('<model>', 'Hugging Face directory')
    .requiredOption(
      '--data <file>',
      'samples.jsonl: rows {"prompt", "completion"} or {"inputIds", "scoreFrom"}, and "advantage" and "label" if ' +
        'there are any',
    )
    .option(
      '--after <dir>',
      'a later checkpoint of the same model: explain the move between the two instead of a step',
    )
    .option('--learning-rate <x>', 'of the step of plain ascent that is explained', '0.001')
    .option('--kernel <n>', 'samples in the kernel', integer(0), 32)
    .option('--states <n>', 'states the step is explained at', integer(0), 64)
    .option('--out <dir>', 'where analysis.json and report.html go', join('runs', 'analysis'))
    .option('--untie', 'give a tied model a classifier of its own first')
    .addOption(adapterOption().conflicts('after'))
    .addOption(threadsOption())
    .option('--json', 'print the analysis as JSON')
    .action(async (directory: string, options: Options) => {
      const [{ createContext }, { Model }, { snapshot }, { readSamples }, { readJsonLines }, { report }] =
        await Promise.all([
          import('../../core/context.js'),
          import('../../model/model.js'),
          import('../../analysis/snapshot.js'),
          import('../samples.js'),
          import('../../rl/rollout/dataset.js'),
          import('../../report/index.js'),
        ]);
      const learningRate = Number(options.learningRate);
      if (!(learningRate > 0))
        fail(
          'ERR_INVALID_ARG',
          `analyze: --learning-rate must be a number > 0, got '${options.learningRate}'`,
        );
      using context = await createContext(options.threads ? { threads: options.threads } : {});
      await io('analyze', 'write', options.out, () => mkdir(options.out, { recursive: true }));
      const load = (path: string) =>
        Model.fromPretrained(path, {
          context,
          untieClassifier: options.untie === true,
          ...(options.adapter ? { adapter: options.adapter } : {}),
        });
      using model = await load(directory);
      using after = options.after ? await load(options.after) : undefined;
      const rows = await readJsonLines<{ advantage?: unknown; label?: unknown }>(options.data);
      const samples =
        rows.length === 0
          ? []
          : (await readSamples(model, options.data, Infinity)).map((sample, i) => {
              const { advantage, label } = rows[i]!;
              const bad = (what: string, value: unknown) =>
                fail(
                  'ERR_INVALID_ARG',
                  `${options.data}: row ${i + 1} must have ${what}, got ${JSON.stringify(value)}`,
                );
              if (advantage !== undefined && typeof advantage !== 'number')
                bad('a number as its advantage', advantage);
              if (label !== undefined && typeof label !== 'string') bad('a text as its label', label);
              return {
                ...sample,
                ...(advantage === undefined ? {} : { advantage: advantage as number }),
                ...(label === undefined ? {} : { label: label as string }),
              };
            });
      const argv = commandLine(...process.argv.slice(2));
      const progress = new Progress();
      const result = await interruptible({ again: argv }, (signal) =>
        snapshot(model, samples, {
          ...(after ? { after } : {}),
          learningRate,
          kernelSamples: options.kernel,
          states: options.states,
          signal,
          onPhase: (phase, done, total) => progress.update(phase, done, total),
        }),
      ).finally(() => progress.end());
      const page = join(options.out, 'report.html');
      writeResult('analyze', options.out, 'analysis.json', result);
      writeSummary('analyze', options.out, {
        title: `Analysis of ${directory}${options.after ? ` → ${options.after}` : ''}`,
        command: argv,
        environment: environmentOf(context),
      });
      await report.write(options.out, page);
      if (options.json) printJson(result);
      else process.stdout.write(`${report.terminal(options.out)}\n\nReport: ${page}\n`);
    });
