/** Will a run fit? Estimated from its options and its longest rows before the first step. */
import { totalmem } from 'node:os';

import { bytesText } from '../../core/units.js';
import { fail } from '../../errors.js';
import { isChat } from '../../model/chat/chat.js';
import type { TrainingEstimate } from '../../model/trainingEstimate.js';

/** "2.93 GB at its peak: weights 0.65 GB, …"; of the phases of a step the one that needs most. */
export function describeMemory(estimate: TrainingEstimate): string {
  const { bytes, weights, gradients, optimizer, reference, features } = estimate;
  const { activations, scoring, sampling } = estimate;
  const phases = { activations, sampling, scoring };
  const [phase, phaseBytes] = Object.entries(phases).reduce((most, one) => (one[1] > most[1] ? one : most));
  const parts = { weights, gradients, optimizer, reference, features, [phase]: phaseBytes };
  const shown = Object.entries(parts)
    .filter(([, size]) => size > 0)
    .map(([name, size]) => `${name} ${bytesText(size)}`);
  return `${bytesText(bytes)} at its peak (${shown.join(', ')})`;
}

/** Of the machine, or of the container that holds this process. */
function memoryLimit(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}

/** @throws ERR_OUT_OF_MEMORY when the estimate is beyond `limit`, with what would make it smaller. */
export function checkMemory(caller: string, estimate: TrainingEstimate, limit = memoryLimit()): void {
  if (estimate.bytes <= limit) return;
  fail(
    'ERR_OUT_OF_MEMORY',
    `${caller}: this run needs ${describeMemory(estimate)}, got ${bytesText(limit)} of memory; ` +
      'lower maxTokensInMemory, set gradientCheckpointing, shorten sequences, ' +
      'or train fewer parameters (trainable)',
  );
}

/** The rows that are longest in characters (or ids) are read to know the longest in tokens. */
const CANDIDATES = 16;

/** Of text or messages; of a list of token ids their number. */
function characters(value: unknown): number {
  if (typeof value === 'string') return value.length;
  if (isChat(value)) return value.reduce((sum, { content }) => sum + characters(content), 0);
  return Array.isArray(value) ? value.length : 0;
}

/** Tokens of the longest row; rows that a step will refuse do not count. */
export function longest<Row extends object>(
  rows: readonly Row[],
  columns: readonly string[],
  tokens: (row: Row) => number,
): number {
  const charactersOf = (row: Row): number => {
    const values = row as Record<string, unknown> | null;
    return columns.reduce((sum, column) => sum + characters(values?.[column]), 0);
  };
  const tokensOrNone = (row: Row): number => {
    try {
      return tokens(row);
    } catch {
      return 0;
    }
  };
  const candidates = rows
    .map((row) => ({ row, size: charactersOf(row) }))
    .sort((a, b) => b.size - a.size)
    .slice(0, CANDIDATES);
  return Math.max(1, ...candidates.map(({ row }) => tokensOrNone(row)));
}
