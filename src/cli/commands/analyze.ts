import { Command } from 'commander';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import type { SnapshotSample } from '../../analysis/snapshot.js';
import { io } from '../../core/files.js';
import { fail } from '../../errors.js';
import type { Sample } from '../../model/batch.js';
import type { Model } from '../../model/model.js';
import { adapterOption, integer, onlyOnce, printJson, thisCommand, threadsOption } from '../flags.js';
import { longJob } from '../interrupt.js';
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
      'samples.jsonl: rows {"prompt", "completion"} or {"inputIds", "scoreFrom"}, ' +
        'and "advantage" and "label" if there are any',
      onlyOnce,
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
    .action(run);

async function run(directory: string, options: Options): Promise<void> {
  const [{ createContext }, { Model: Models }, { snapshot }, { report }] = await Promise.all([
    import('../../core/context.js'),
    import('../../model/model.js'),
    import('../../analysis/snapshot.js'),
    import('../../report/index.js'),
  ]);
  const learningRate = learningRateOf(options);
  using context = await createContext({ threads: options.threads });
  await io('analyze', 'write', options.out, () => mkdir(options.out, { recursive: true }));
  const load = (path: string) =>
    Models.fromPretrained(path, {
      context,
      untieClassifier: options.untie === true,
      adapter: options.adapter,
    });
  using model = await load(directory);
  using after = options.after ? await load(options.after) : undefined;
  const samples = await readWeighted(model, options.data);
  const result = await longJob({ again: thisCommand() }, (signal, progress) =>
    snapshot(model, samples, {
      after,
      learningRate,
      kernelSamples: options.kernel,
      states: options.states,
      signal,
      onPhase: (phase, done, total) => progress.update(phase, done, total),
    }),
  );

  const page = join(options.out, 'report.html');
  writeResult('analyze', options.out, 'analysis.json', result);
  writeSummary('analyze', options.out, {
    title: `Analysis of ${directory}${options.after ? ` → ${options.after}` : ''}`,
    command: thisCommand(),
    environment: environmentOf(context),
  });
  await report.write(options.out, page);
  if (options.json) printJson(result);
  else process.stdout.write(`${report.terminal(options.out)}\n\nReport: ${page}\n`);
}

function learningRateOf({ learningRate }: Options): number {
  const value = Number(learningRate);
  if (!(value > 0))
    fail('ERR_INVALID_ARG', `analyze: --learning-rate must be a number > 0, got '${learningRate}'`);
  return value;
}

interface Row {
  readonly advantage?: unknown;
  readonly label?: unknown;
}

/** Samples with what their rows say besides: an advantage, a label. @throws as readSamples. */
async function readWeighted(model: Model, file: string): Promise<SnapshotSample[]> {
  const [{ readSamples }, { readJsonLines }] = await Promise.all([
    import('../samples.js'),
    import('../../rl/rollout/dataset.js'),
  ]);
  const rows = await readJsonLines<Row>(file);
  // snapshot() has words of its own for no samples at all.
  if (rows.length === 0) return [];
  const samples = await readSamples(model, file, Infinity);
  return samples.map((sample, i) => weighted(sample, rows[i]!, `${file}: row ${i + 1}`));
}

function weighted(sample: Sample, { advantage, label }: Row, where: string): SnapshotSample {
  const wrong = (what: string, value: unknown) =>
    fail('ERR_INVALID_ARG', `${where} must have ${what}, got ${JSON.stringify(value)}`);
  if (advantage !== undefined && typeof advantage !== 'number') wrong('a number as its advantage', advantage);
  if (label !== undefined && typeof label !== 'string') wrong('a text as its label', label);
  return {
    ...sample,
    ...(advantage === undefined ? {} : { advantage: advantage as number }),
    ...(label === undefined ? {} : { label: label as string }),
  };
}
