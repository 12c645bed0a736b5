import { Command } from 'commander';
import { join } from 'node:path';

import { printJson } from '../flags.js';

interface Options {
  readonly out?: string;
  readonly svg?: string;
  readonly json?: boolean;
}

export const report = (): Command =>
  new Command('report')
    .description('make report.html from a run directory, and print its summary')
    .argument('<run>', 'directory of a run of demo, reproduce, train or analyze')
    .option('--out <file>', 'where the page goes (default: report.html in the run)')
    .option('--svg <dir>', 'also every figure as an SVG file')
    .option('--json', 'print what was read as JSON')
    .action(run);

async function run(directory: string, options: Options): Promise<void> {
  const { report: reports } = await import('../../report/index.js');
  const loaded = reports.load(directory);
  const page = options.out ?? join(directory, 'report.html');
  await reports.write(loaded, page);
  const figures = options.svg ? await reports.writeFigures(loaded, options.svg) : [];
  if (options.json) {
    const { summary, metrics, problems } = loaded;
    printJson({ report: page, figures, summary, steps: metrics.length, problems });
    return;
  }
  const lines = [reports.terminal(loaded), '', `Report: ${page}`];
  if (options.svg) lines.push(`Figures: ${figures.length} in ${options.svg}`);
  process.stdout.write(`${lines.join('\n')}\n`);
}
