import { Command } from 'commander';

import { runInCheckout } from '../checkout.js';

export const bench = (): Command =>
  new Command('bench')
    .description(
      'time ops and whole jobs (in a source checkout) against the measured limit of this machine ' +
        '(see headfirst bench --help)',
    )
    .argument('[arguments...]')
    // The program has options of its own, --help among them.
    .allowUnknownOption()
    .helpOption(false)
    .action((args: string[]) =>
      runInCheckout({ command: 'bench', what: 'benchmarks', file: 'main.js' }, args),
    );
