/** The command line of bench/gpu.ts. */
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    peer: { type: 'string' },
    'peer-results': { type: 'string' },
    profile: { type: 'boolean', default: false },
  },
});

export const options = {
  /** Run the peer of this name after our own rows. */
  peer: values.peer,
  /** Read the lines that the peer printed before from this file. */
  peerResults: values['peer-results'],
  /** Every line a few times, without ceilings or results: for HEADFIRST_PROFILE=1 and outside profilers. */
  profile: values.profile,
  /** The rows that are asked for; none: all. */
  rows: positionals,
};

export const isWanted = (row: string): boolean => options.rows.length === 0 || options.rows.includes(row);
