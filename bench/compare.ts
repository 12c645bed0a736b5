/** What became faster or slower since earlier results (`--compare`). */
import { readFileSync } from 'node:fs';
import { z } from 'zod';

import { fail } from '../src/errors.js';
import { time, type Line, type Machine } from './types.js';

const earlier = z.object({
  date: z.string(),
  machine: z.record(z.string(), z.unknown()),
  lines: z.array(
    z.object({
      name: z.string(),
      shape: z.string(),
      median: z.number().positive(),
      spread: z.number().nonnegative(),
    }),
  ),
});
export type Earlier = z.infer<typeof earlier>;

/** A file that `--save` or `--json` made. */
export function readResults(path: string): Earlier {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    return fail('ERR_IO', `bench: --compare cannot read ${path}: ${(error as Error).message}`, error);
  }
  const wanted = `bench: --compare needs results that headfirst bench --save or --json wrote, got ${path}`;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return fail('ERR_INVALID_ARG', `${wanted}: ${(error as Error).message}`, error);
  }
  const { success, data, error } = earlier.safeParse(value);
  if (success) return data;
  const { path: where, message } = error.issues[0]!;
  return fail('ERR_INVALID_ARG', `${wanted}: ${where.join('.') || 'the file'}: ${message}`);
}

/** Beyond half the interquartile range of either side. */
const LEAST_CHANGE = 0.05;
const label = (line: { readonly name: string; readonly shape: string }) => `${line.name} · ${line.shape}`;

/**
 * One text line for each that changed, is new or is missing, one for what differs between the machines, and
 * how many are as before. A line counts as missing when `everything` was timed, or others of its name were.
 */
export function compare(
  old: Earlier,
  now: readonly Pick<Line, 'name' | 'shape' | 'median' | 'spread'>[],
  machine: Machine,
  everything: boolean,
): string[] {
  const before = new Map(old.lines.map((line) => [label(line), line]));
  const names = new Set(now.map((line) => line.name));
  const labels = new Set(now.map(label));
  const changes = now.flatMap((line) => changeOf(line, before.get(label(line))));
  const missing = old.lines
    .filter((line) => !labels.has(label(line)) && (everything || names.has(line.name)))
    .map((line) => `${label(line)}: missing`);
  return [
    ...settingOf(old, machine),
    ...changes,
    ...missing,
    `${now.length - changes.length} of ${now.length} as on ${old.date}`,
  ];
}

/** One line when the earlier results are of another machine or another setting. */
function settingOf(old: Earlier, machine: Machine): string[] {
  const differences = ['cpu', 'kernels', 'threads', 'blas']
    .filter((key) => old.machine[key] !== machine[key])
    .map((key) => `${key} ${String(old.machine[key] ?? 'none')} → ${String(machine[key] ?? 'none')}`);
  return differences.length > 0 ? [`against another setting of ${old.date}: ${differences.join('; ')}`] : [];
}

type Timed = Pick<Line, 'name' | 'shape' | 'median' | 'spread'>;

/** One line for a change beyond the noise of both sides. */
function changeOf(line: Timed, past: Earlier['lines'][number] | undefined): string[] {
  if (!past) return [`${label(line)}: new`];
  const change = line.median / past.median - 1;
  const noise = LEAST_CHANGE + (line.spread + past.spread) / 2;
  if (Math.abs(change) <= noise) return [];
  const direction = change > 0 ? 'slower' : 'faster';
  const percent = Math.abs(change * 100).toFixed(0);
  const times = `${time(past.median)} → ${time(line.median)}; noise ${(noise * 100).toFixed(0)} %`;
  return [`${label(line)}: ${direction} by ${percent} % (${times})`];
}
