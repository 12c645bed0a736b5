import { Command } from 'commander';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { fail } from '../../errors.js';
import { root } from '../../core/addon/locate.js';

/**
 * The benchmarks take their shapes and checks from the tests' case files, so they run from a source checkout,
 * where `npm run build` compiles them into build/bench; in a process of their own, which finds the addon by
 * its environment.
 */
export const bench = (): Command =>
  new Command('bench')
    .description(
      'time ops and whole jobs (in a source checkout) against the measured limit of this machine (see headfirst ' +
        'bench --help)',
    )
    .argument('[arguments...]')
    .allowUnknownOption()
    .helpOption(false)
    .action(async (args: string[]) => {
      const main = join(root, 'build/bench/bench/main.js');
      if (!existsSync(main))
        fail(
          'ERR_UNSUPPORTED',
          'bench: build/bench is not there; the benchmarks run from a source checkout, after npm run build',
        );
      const child = spawn(process.execPath, [main, ...args], {
        stdio: 'inherit',
        env: { HEADFIRST_ADDON: join(root, 'build/Release/headfirst.node'), ...process.env },
      });
      process.exitCode = await new Promise<number>((resolve) =>
        child.on('exit', (code, signal) => resolve(code ?? (signal === 'SIGINT' ? 130 : 1))),
      );
    });
