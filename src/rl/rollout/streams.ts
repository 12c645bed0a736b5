/**
 * Who draws from which Philox stream of the trainer's seed. Streams of one purpose are consecutive from its
 * base; every random number of a run is therefore a function of (seed, purpose, global index), and neither
 * batch splits nor resuming change it.
 */
const purpose = (index: number) => index * 2 ** 40;

export const Stream = {
  /** + completions sampled before: native sampling, one stream per completion. */
  rollout: purpose(0),
  /** + completion index within one evaluation (the same numbers each time, so evaluations are comparable). */
  evaluation: purpose(1),
  /** + epoch. */
  shuffle: purpose(2),
  /** + row index of a data set made on demand. */
  rows: purpose(3),
  /** Which rows are held out. */
  split: purpose(4),
} as const;
