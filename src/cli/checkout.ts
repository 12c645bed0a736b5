/**
 * Programs that run from a source checkout alone: benchmarks and checks, which take their shapes from the
 * tests' case files. `npm run build` compiles them into build/bench. They run in a process of their own,
 * which finds the addon by its environment.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { localAddon, root } from '../core/addon/locate.js';
import { fail } from '../errors.js';
import { INTERRUPTED } from './interrupt.js';

interface Program {
  /** The command, for messages. */
  readonly command: string;
  /** What it runs, in words. */
  readonly what: string;
  /** Its file is build/bench/bench/<file>. */
  readonly file: string;
}

/** Runs a program and exits with its code. @throws ERR_UNSUPPORTED when it has not been compiled. */
export async function runInCheckout(
  { command, what, file }: Program,
  args: readonly string[],
): Promise<void> {
  const program = join(root, 'build/bench/bench', file);
  if (!existsSync(program))
    fail(
      'ERR_UNSUPPORTED',
      `${command}: build/bench is not there; the ${what} run from a source checkout, after npm run build`,
    );
  const child = spawn(process.execPath, [program, ...args], {
    stdio: 'inherit',
    env: { HEADFIRST_ADDON: localAddon(), ...process.env },
  });
  process.exitCode = await new Promise<number>((resolve) => {
    child.on('exit', (code, signal) => resolve(code ?? (signal === 'SIGINT' ? INTERRUPTED : 1)));
  });
}
