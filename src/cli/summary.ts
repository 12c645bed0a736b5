/** What a command leaves in its directory for a report to read. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { fail } from '../errors.js';

/** `directory`/`name` as JSON. @throws ERR_IO */
export function writeResult(caller: string, directory: string, name: string, value: object): void {
  try {
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, name), JSON.stringify(value));
  } catch (error) {
    const { message } = error as Error;
    fail('ERR_IO', `${caller}: ${directory} cannot be written (${message}); choose another --out`, error);
  }
}

/** What a report says of the command that made its run. */
interface CommandSummary {
  readonly title: string;
  readonly command: string;
  readonly environment: Readonly<Record<string, string | number>>;
}

/** `directory`/summary.json. @throws ERR_IO */
export function writeSummary(caller: string, directory: string, summary: CommandSummary): void {
  writeResult(caller, directory, 'summary.json', { ...summary, created: new Date().toISOString() });
}
