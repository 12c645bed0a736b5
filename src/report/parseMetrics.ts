/** Lines of metrics.jsonl and analysis.jsonl, whatever state they are in. */
import { groupBy } from '../core/groupBy.js';
import { isObject, plural, shortList } from './problems.js';
import type { MetricsLine } from './run.js';

/** The lines that can be read, by seed and step. What is wrong with others goes to `problems`. */
export function parseMetrics(text: string, file: string, problems: string[]): MetricsLine[] {
  const corrupt: number[] = [];
  const gaps = new Map<string, number>();
  const lines = new Map<string, MetricsLine>();
  text.split('\n').forEach((line, i) => {
    if (line.trim() === '') return;
    const parsed = parseLine(line);
    if (!parsed) {
      corrupt.push(i + 1);
      return;
    }
    const { arm = 'run', seed = 0, step, ...rest } = parsed;
    // A run that was resumed may have written a step twice: the later line is what the model went on from.
    lines.set(`${String(arm)}/${String(seed)}/${String(step)}`, {
      arm: String(arm),
      seed: Number(seed),
      step: step as number,
      values: finiteValues(rest, gaps),
    });
  });
  if (corrupt.length > 0) {
    const were = corrupt.length === 1 ? 'was' : 'were';
    problems.push(
      `${file}: ${plural(corrupt.length, 'line')} could not be read and ${were} left out ` +
        `(line ${shortList(corrupt)}).`,
    );
  }
  for (const [key, count] of gaps)
    problems.push(
      `${file}: ${key} was not a finite number at ${plural(count, 'step')}; its curve has gaps there.`,
    );
  return [...lines.values()].sort((x, y) => x.seed - y.seed || x.step - y.step);
}

/** An object with a step, undefined for anything else. Python writes NaN and Infinity, which JSON has not. */
function parseLine(line: string): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(line.replace(/(?<=[:,[]\s*)(-?Infinity|NaN)(?=\s*[,}\]])/g, 'null'));
    return isObject(parsed) && Number.isInteger(parsed['step']) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

/** The finite numbers; `gaps` counts those that are not finite, by key. */
function finiteValues(line: Record<string, unknown>, gaps: Map<string, number>): Record<string, number> {
  const values: Record<string, number> = {};
  for (const [key, value] of flat(line)) {
    if (typeof value === 'number' && Number.isFinite(value)) values[key] = value;
    else if (value === null || typeof value === 'number') gaps.set(key, (gaps.get(key) ?? 0) + 1);
  }
  return values;
}

/** Entries of an object and of the objects in it; nested names are joined by '/'. */
const flat = (value: Record<string, unknown>, prefix = ''): [string, unknown][] =>
  Object.entries(value).flatMap(([key, item]): [string, unknown][] =>
    isObject(item) ? flat(item, `${prefix}${key}/`) : [[`${prefix}${key}`, item]],
  );

/** Says which steps are missing between the first and the last of every arm and seed. */
export function reportMissingSteps(metrics: readonly MetricsLine[], file: string, problems: string[]): void {
  const nameOf = ({ arm, seed }: MetricsLine) => (arm === 'run' ? `seed ${seed}` : `${arm}, seed ${seed}`);
  for (const [name, lines] of groupBy(metrics, nameOf)) {
    const steps = new Set(lines.map((line) => line.step));
    const missing: number[] = [];
    for (let step = Math.min(...steps); step < Math.max(...steps); ++step)
      if (!steps.has(step)) missing.push(step);
    if (missing.length === 0) continue;
    const what = missing.length === 1 ? 'line for step' : 'lines for steps';
    problems.push(`${file}: ${name} has no ${what} ${shortList(missing)}.`);
  }
}
