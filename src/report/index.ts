/** report.write(run, file): a run as one self-contained HTML file. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { codedError } from '../errors.js';
import { loadRun } from './readRun.js';
import type { Run } from './run.js';
import { terminalSummary } from './terminal.js';

export type { Arm, ClaimSummary, EvaluationRecord, MetricsLine, Run, RunSummary } from './run.js';

/** Runs on disk as reports: one self-contained HTML file, its figures as SVG, or text for a terminal. */
export const report = {
  load: loadRun,
  /**
   * `run`: a loaded run, or its directory. Written to a temporary name and renamed. The plotting library is
   * loaded here, not with the package.
   */
  async write(run: Run | string, file: string): Promise<void> {
    const { pageOf } = await import('./html.js');
    const page = pageOf(loaded(run));
    const temporary = `${file}.${process.pid}.partial`;
    written('report.write', file, () => {
      writeFileSync(temporary, page);
      renameSync(temporary, file);
    });
  },
  /** Every figure as an SVG file of its own in `directory`; returns the paths. */
  async writeFigures(run: Run | string, directory: string): Promise<string[]> {
    const [{ contentOf }, { chartOption, renderSvg, standalone }, { panelsOf }] = await Promise.all([
      import('./content.js'),
      import('./figures.js'),
      import('./panels.js'),
    ]);
    const { snapshot, ...rest } = loaded(run);
    const { figures, watched } = contentOf(rest);
    const panels = [
      ...[...figures, ...watched].map((figure) => ({ ...figure, option: chartOption(figure), height: 240 })),
      ...(snapshot ? panelsOf(snapshot) : []),
    ];
    return written('report.writeFigures', directory, () => {
      mkdirSync(directory, { recursive: true });
      return panels.map(({ id, title, option, height }) => {
        const file = join(directory, `${id}.svg`);
        writeFileSync(file, renderSvg(standalone(option, title), 760, height + 110));
        return file;
      });
    });
  },
  /** The verdict and the evaluation table as plain text. */
  terminal: (run: Run | string): string => terminalSummary(loaded(run)),
};

const loaded = (run: Run | string): Run => (typeof run === 'string' ? loadRun(run) : run);

/** Runs `write`. @throws ERR_IO naming the path. */
function written<T>(caller: string, path: string, write: () => T): T {
  try {
    return write();
  } catch (error) {
    const { message } = error as Error;
    throw codedError('ERR_IO', `${caller}: ${path} could not be written: ${message}`, error);
  }
}
