/** Tries every candidate binary in a child process: one that crashes on loading takes only the child down. */
import { spawnSync } from 'node:child_process';

import { candidates, damage, explain } from './locate.js';

export interface Probe {
  readonly source: string;
  readonly path?: string;
  readonly loads: boolean;
  /** Why it does not load. */
  readonly problem?: string;
}

/** Exit code of a child that lived to say what is wrong. */
const DOES_NOT_LOAD = 3;

const SCRIPT = `
const module = { exports: {} };
const refuse = (why) => {
  process.stderr.write(why);
  process.exit(${DOES_NOT_LOAD});
};
try {
  process.dlopen(module, process.argv[1]);
} catch (error) {
  refuse(error.message);
}
if (!Array.isArray(module.exports.ops)) refuse('is another addon, not headfirst');
`;

export function probeAddons(): Probe[] {
  return candidates().map(({ source, path, problem }) => {
    if (path === undefined) return { source, loads: false, problem: problem! };
    const found = damage(path) ?? problemOnLoading(path);
    return found === undefined
      ? { source, path, loads: true }
      : { source, path, loads: false, problem: found };
  });
}

/** Loads the file in a child process; undefined when that went well. */
function problemOnLoading(path: string): string | undefined {
  const { status, signal, error, stderr } = spawnSync(process.execPath, ['-e', SCRIPT, path], {
    encoding: 'utf8',
    timeout: 30_000,
  });
  if (status === 0) return undefined;
  if (status === DOES_NOT_LOAD) return explain(path, stderr);
  const end = signal ?? error?.message ?? `exit ${status}`;
  return `${path}: loading it ends the process (${end})`;
}
