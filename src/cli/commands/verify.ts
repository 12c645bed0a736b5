import { Command } from 'commander';

import { runInCheckout } from '../checkout.js';

export const verify = (): Command =>
  new Command('verify')
    .description(
      'check every op (in a source checkout) against the double reference, on each backend that runs here',
    )
    .argument('[ops...]', 'default all')
    .option('--json', 'print as JSON')
    .action((ops: string[], { json }: { json?: boolean }) => {
      const args = json ? ['--json', ...ops] : ops;
      return runInCheckout({ command: 'verify', what: 'checks', file: 'verify.js' }, args);
    });
