import { Command } from 'commander';
import { join } from 'node:path';

import { printJson } from '../flags.js';

export const report = (): Command =>
  new Command('report')
    .description('make report.html from a run directory, and print its summary')
    .argument('<run>', 'directory of a run of demo, reproduce, train or analyze')
    .option('--out <file>', 'where the page goes (default: report.html in the run)')
    .option('--svg <dir>', 'also every figure as an SVG file')
    .option('--json', 'print what was read as JSON')
    .action(async (directory: string, options: { out?: string; svg?: string; json?: boolean }) => {
      const { report: reports } = await import('../../report/index.js');
      const run = reports.load(directory);
      const file = options.out ?? join(directory, 'report.html');
      await reports.write(run, file);
      const figures = options.svg ? await reports.writeFigures(run, options.svg) : [];
      if (options.json)
        printJson({
          report: file,
          figures,
          summary: run.summary,
          steps: run.metrics.length,
          problems: run.problems,
        });
      else
        process.stdout.write(
          `${reports.terminal(run)}\n\nReport: ` +
            `${file}\n${options.svg ? `Figures: ${figures.length} in ${options.svg}\n` : ''}`,
        );
    });
