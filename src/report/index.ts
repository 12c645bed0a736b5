/** report.write(run, file): a run as one self-contained HTML file. */
import { renameSync, writeFileSync } from 'node:fs';

import { codedError } from '../errors.js';
import { loadRun, type Run } from './run.js';
import { terminalSummary } from './terminal.js';

export type { Arm, EvaluationRecord, MetricsLine, Run, RunSummary } from './run.js';

export const report = {
  load: loadRun,
  /** `run`: a loaded run, or its directory. Written to a temporary name and renamed. The plotting library is loaded here, not with the package. */
  async write(run: Run | string, file: string): Promise<void> {
    const { pageOf } = await import('./html.js');
    const page = pageOf(typeof run === 'string' ? loadRun(run) : run);
    const temporary = `${file}.${process.pid}.partial`;
    try {
      writeFileSync(temporary, page);
      renameSync(temporary, file);
    } catch (error) {
      throw codedError('ERR_IO', `report.write: ${file} could not be written: ${(error as Error).message}`, error);
    }
  },
  /** The verdict and the evaluation table as plain text. */
  terminal: (run: Run | string): string => terminalSummary(typeof run === 'string' ? loadRun(run) : run),
};
