import { Command } from 'commander';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { fail } from '../../errors.js';
import { root } from '../../core/addon/locate.js';

/** Like bench, from a source checkout: the checks are the tests' case files. */
export const verify = (): Command =>
  new Command('verify')
    .description(
      'check every op (in a source checkout) against the double reference, on each backend that runs here',
    )
    .argument('[ops...]', 'default all')
    .option('--json', 'print as JSON')
    .action(async (ops: string[], options: { json?: boolean }) => {
      const main = join(root, 'build/bench/bench/verify.js');
      if (!existsSync(main))
        fail(
          'ERR_UNSUPPORTED',
          'verify: build/bench is not there; the checks run from a source checkout, after npm run build',
        );
      const child = spawn(process.execPath, [main, ...(options.json ? ['--json'] : []), ...ops], {
        stdio: 'inherit',
        env: { HEADFIRST_ADDON: join(root, 'build/Release/headfirst.node'), ...process.env },
      });
      process.exitCode = await new Promise<number>((resolve) =>
        child.on('exit', (code) => resolve(code ?? 1)),
      );
    });
