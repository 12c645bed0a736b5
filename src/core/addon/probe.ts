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

const SCRIPT = `
const module = { exports: {} };
try { process.dlopen(module, process.argv[1]); } catch (error) { process.stderr.write(error.message); process.exit(3); }
if (!Array.isArray(module.exports.ops)) { process.stderr.write('is another addon, not headfirst'); process.exit(3); }
`;

export function probeAddons(): Probe[] {
  return candidates().map(({ source, path, problem }) => {
    if (path === undefined) return { source, loads: false, problem: problem! };
    const damaged = damage(path);
    if (damaged !== undefined) return { source, path, loads: false, problem: damaged };
    const child = spawnSync(process.execPath, ['-e', SCRIPT, path], { encoding: 'utf8', timeout: 30_000 });
    if (child.status === 0) return { source, path, loads: true };
    return {
      source,
      path,
      loads: false,
      problem:
        child.status === 3
          ? explain(path, child.stderr)
          : `${path}: loading it ends the process (${child.signal ?? child.error?.message ?? `exit ${child.status}`})`,
    };
  });
}
