/** Will a run fit? Estimated from its options and its longest rows before the first step. */
import { totalmem } from 'node:os';

import { bytesText } from '../../core/units.js';
import { fail } from '../../errors.js';
import { isChat } from '../../model/chat/chat.js';
import type { TrainingEstimate } from '../../model/trainingEstimate.js';

/** "2.93 GB at its peak: weights 0.65 GB, …", largest parts only by name. */
export function describeMemory(estimate: TrainingEstimate): string {
  const { bytes, weights, gradients, optimizer, reference, features, activations, scoring, sampling } =
    estimate;
  const phase = Math.max(activations, scoring, sampling);
  const parts = {
    weights,
    gradients,
    optimizer,
    reference,
    features,
    [phase === activations ? 'activations' : phase === sampling ? 'sampling' : 'scoring']: phase,
  };
  return `${bytesText(bytes)} at its peak (${Object.entries(parts)
    .filter(([, size]) => size > 0)
    .map(([name, size]) => `${name} ${bytesText(size)}`)
    .join(', ')})`;
}

/** Of the machine, or of the container that holds this process. */
export function memoryLimit(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}

/** @throws ERR_OUT_OF_MEMORY when the estimate is beyond `limit`, with what would make it smaller. */
export function checkMemory(caller: string, estimate: TrainingEstimate, limit = memoryLimit()): void {
  if (estimate.bytes <= limit) return;
  fail(
    'ERR_OUT_OF_MEMORY',
    `${caller}: this run needs ${describeMemory(estimate)}, got ${bytesText(limit)} of memory; lower maxTokensInMemory, set gradientCheckpointing, shorten sequences, or train fewer parameters (trainable)`,
  );
}

/** The rows that are longest in characters (or ids) are read to know the longest in tokens. */
const CANDIDATES = 16;

const characters = (value: unknown): number =>
  typeof value === 'string'
    ? value.length
    : isChat(value)
      ? value.reduce((sum, { content }) => sum + characters(content), 0)
      : Array.isArray(value)
        ? value.length
        : 0;

/** Tokens of the longest row; rows that a step will refuse do not count. */
export function longest<Row extends object>(
  rows: readonly Row[],
  columns: readonly string[],
  tokens: (row: Row) => number,
): number {
  const size = (row: Row) =>
    columns.reduce((sum, column) => sum + characters((row as Record<string, unknown> | null)?.[column]), 0);
  const candidates = rows
    .map((row) => [size(row), row] as const)
    .sort((a, b) => b[0] - a[0])
    .slice(0, CANDIDATES);
  return Math.max(
    1,
    ...candidates.map(([, row]) => {
      try {
        return tokens(row);
      } catch {
        return 0;
      }
    }),
  );
}
