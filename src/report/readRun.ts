/**
 * A run on disk: what was written, read back whatever its state. Nothing here throws for bad content; it says
 * what was wrong instead.
 */
import { existsSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';

import { fail } from '../errors.js';
import type { Snapshot } from '../analysis/snapshot.js';
import type { Evaluation } from '../evaluation/evaluate.js';

/** One of the runs that a report compares. */
export interface Arm {
  /** As metrics.jsonl names it. */
  readonly id: string;
  readonly label: string;
  /** One plain sentence. */
  readonly description?: string;
  /** Steps before this one trained the classifier only. */
  readonly classifierSteps?: number;
}

/** An evaluation and which arm, seed and step it is of. */
export interface EvaluationRecord extends Evaluation {
  /** Row of the evaluation table, e.g. 'standard RL, 60 steps'. */
  readonly row: string;
  readonly arm: string;
  readonly seed: number;
  readonly step: number;
}

/** summary.json: what a run was. */
export interface RunSummary {
  readonly name: string;
  readonly title: string;
  readonly created: string;
  readonly command: string;
  readonly arms: readonly Arm[];
  readonly seeds: readonly number[];
  readonly evaluations: readonly EvaluationRecord[];
  /** Plain sentences a reader should have beside the figures. */
  readonly notes: readonly string[];
  readonly environment: Readonly<Record<string, string | number>>;
  readonly config: unknown;
  /** Of the study that the run belongs to. */
  readonly claims?: readonly ClaimSummary[];
}

export interface ClaimSummary {
  readonly claim: string;
  readonly verdict: string;
  readonly evidence: readonly {
    readonly criterion: string;
    readonly met?: boolean | undefined;
    readonly text: string;
  }[];
  readonly care: string;
}

/** One line of metrics.jsonl: TRL's keys, plus arm and seed when a run has several. */
export interface MetricsLine {
  readonly arm: string;
  readonly seed: number;
  readonly step: number;
  readonly values: Readonly<Record<string, number>>;
}

/** A run read from its directory, as far as it could be read. */
export interface Run {
  readonly directory: string;
  readonly summary: RunSummary;
  readonly metrics: readonly MetricsLine[];
  /** analysis.jsonl, as metrics; nested names are joined by '/'. */
  readonly watched: readonly MetricsLine[];
  /** analysis.json. */
  readonly snapshot?: Snapshot;
  /** What could not be read or shown, as sentences. */
  readonly problems: readonly string[];
}

/** Map.groupBy, which Node 20 does not have. */
export function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return groups;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const plural = (n: number, noun: string) => `${n} ${noun}${n === 1 ? '' : 's'}`;

/** Shortens a list of line or step numbers for a sentence. */
const list = (numbers: readonly number[]) =>
  numbers.slice(0, 5).join(', ') + (numbers.length > 5 ? ', …' : '');

/** Numbers and nulls of an object and of the objects in it. */
const flat = (value: Record<string, unknown>, prefix = ''): [string, unknown][] =>
  Object.entries(value).flatMap(([key, item]): [string, unknown][] =>
    isObject(item) ? flat(item, `${prefix}${key}/`) : [[`${prefix}${key}`, item]],
  );

function parseMetrics(text: string, file: string, problems: string[]): MetricsLine[] {
  const corrupt: number[] = [];
  const notNumbers = new Map<string, number>();
  const lines = new Map<string, MetricsLine>();
  text.split('\n').forEach((line, i) => {
    if (line.trim() === '') return;
    let parsed: unknown;
    try {
      parsed = JSON.parse(line.replace(/(?<=[:,[]\s*)(-?Infinity|NaN)(?=\s*[,}\]])/g, 'null'));
    } catch {
      parsed = undefined;
    }
    if (!isObject(parsed) || !Number.isInteger(parsed['step'])) {
      corrupt.push(i + 1);
      return;
    }
    const { arm = 'run', seed = 0, step, ...rest } = parsed;
    const values: Record<string, number> = {};
    for (const [key, value] of flat(rest)) {
      if (typeof value === 'number' && Number.isFinite(value)) values[key] = value;
      else if (value === null || typeof value === 'number')
        notNumbers.set(key, (notNumbers.get(key) ?? 0) + 1);
    }
    // A run that was resumed may have written a step twice: the later line is what the model went on from.
    lines.set(`${String(arm)}/${String(seed)}/${String(step)}`, {
      arm: String(arm),
      seed: Number(seed),
      step: step as number,
      values,
    });
  });
  if (corrupt.length > 0)
    problems.push(
      `${file}: ${plural(corrupt.length, 'line')} could not be read and ${corrupt.length === 1 ? 'was' : 'were'} ` +
        `left out (line ${list(corrupt)}).`,
    );
  for (const [key, count] of notNumbers)
    problems.push(
      `${file}: ${key} was not a finite number at ${plural(count, 'step')}; its curve has gaps there.`,
    );
  return [...lines.values()].sort((x, y) => x.seed - y.seed || x.step - y.step);
}

function reportMissingSteps(metrics: readonly MetricsLine[], file: string, problems: string[]): void {
  const groups = groupBy(metrics, (line) =>
    line.arm === 'run' ? `seed ${line.seed}` : `${line.arm}, seed ${line.seed}`,
  );
  for (const [group, lines] of groups) {
    const steps = new Set(lines.map((line) => line.step));
    const missing: number[] = [];
    for (let step = Math.min(...steps); step < Math.max(...steps); ++step)
      if (!steps.has(step)) missing.push(step);
    if (missing.length > 0)
      problems.push(
        `${file}: ${group} has no ${missing.length === 1 ? 'line for step' : 'lines for steps'} ${list(missing)}.`,
      );
  }
}

function isEvaluation(value: unknown): value is EvaluationRecord {
  return (
    isObject(value) &&
    typeof value['row'] === 'string' &&
    typeof value['arm'] === 'string' &&
    Number.isFinite(value['step'])
  );
}

function completeSummary(
  parsed: Record<string, unknown>,
  directory: string,
  metrics: readonly MetricsLine[],
  problems: string[],
): RunSummary {
  const array = <T>(key: string, keep: (value: unknown) => boolean): T[] => {
    const value = parsed[key];
    const kept = Array.isArray(value) ? value.filter(keep) : [];
    if (value !== undefined && kept.length !== (Array.isArray(value) ? value.length : -1))
      problems.push(`summary.json: some of '${key}' is not what was expected and was left out.`);
    return kept as T[];
  };
  const text = (key: string, otherwise: string) =>
    typeof parsed[key] === 'string' ? (parsed[key] as string) : otherwise;
  const arms = array<Arm>(
    'arms',
    (arm) => isObject(arm) && typeof arm['id'] === 'string' && typeof arm['label'] === 'string',
  );
  const known = new Set(arms.map((arm) => arm.id));
  const others = [...new Set(metrics.map((line) => line.arm))].filter((id) => !known.has(id));
  return {
    name: text('name', basename(resolve(directory))),
    title: text('title', basename(resolve(directory))),
    created: text('created', ''),
    command: text('command', ''),
    arms: [...arms, ...others.map((id) => ({ id, label: id === 'run' ? 'this run' : id }))],
    seeds: array<number>('seeds', Number.isFinite),
    evaluations: array<EvaluationRecord>('evaluations', isEvaluation),
    notes: array<string>('notes', (note) => typeof note === 'string'),
    environment: isObject(parsed['environment'])
      ? (parsed['environment'] as Record<string, string | number>)
      : {},
    config: parsed['config'],
    claims: array<ClaimSummary>(
      'claims',
      (claim) =>
        isObject(claim) &&
        typeof claim['claim'] === 'string' &&
        typeof claim['verdict'] === 'string' &&
        Array.isArray(claim['evidence']),
    ),
  };
}

/** Every number in a list, at any depth. */
const finite = (value: unknown): boolean =>
  Array.isArray(value)
    ? value.every(finite)
    : isObject(value)
      ? Object.values(value).every(finite)
      : value !== null && (typeof value !== 'number' || Number.isFinite(value));

/** Parts that are damaged are left out, and said to be. */
function parseSnapshot(text: string, problems: string[]): Snapshot | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    problems.push(
      `analysis.json could not be read (${(error as Error).message}); run headfirst analyze again.`,
    );
    return undefined;
  }
  if (!isObject(parsed)) {
    problems.push('analysis.json does not hold an analysis; run headfirst analyze again.');
    return undefined;
  }
  const list = <T>(key: string, arrays: readonly string[] = []): readonly T[] => {
    const value = parsed[key];
    const kept = Array.isArray(value)
      ? value.filter(
          (item) => finite(item) && arrays.every((name) => isObject(item) && Array.isArray(item[name])),
        )
      : [];
    if (kept.length !== (Array.isArray(value) ? value.length : -1))
      problems.push(`analysis.json: some of '${key}' is missing or not finite and was left out.`);
    return kept as T[];
  };
  const { step } = parsed;
  const whole =
    isObject(step) &&
    finite(step) &&
    ['points', 'parts', 'probes'].every((name) => Array.isArray(step[name]));
  if (step !== undefined && !whole)
    problems.push('analysis.json: the step is damaged or has numbers that are not finite; it is left out.');
  const said = Array.isArray(parsed['problems'])
    ? parsed['problems'].filter((p): p is string => typeof p === 'string')
    : [];
  problems.push(...said);
  return {
    samples: list('samples'),
    kernels: list('kernels', ['rows', 'eigenvalues']),
    cosines: list('cosines', ['histogram']),
    figures: list('figures'),
    problems: said,
    ...(whole ? { step: step as unknown as Required<Snapshot>['step'] } : {}),
  };
}

/**
 * Reads `directory`/summary.json, metrics.jsonl, analysis.jsonl (analysis.record) and analysis.json
 * (headfirst analyze).
 * @throws ERR_IO only when none of them is there.
 */
export function loadRun(directory: string): Run {
  const [summaryFile, metricsFile, watchedFile, snapshotFile] = [
    'summary.json',
    'metrics.jsonl',
    'analysis.jsonl',
    'analysis.json',
  ].map((name) => join(directory, name)) as [string, string, string, string];
  const problems: string[] = [];
  if (![summaryFile, metricsFile, watchedFile, snapshotFile].some((file) => existsSync(file)))
    fail(
      'ERR_IO',
      `report: ${directory} has neither summary.json nor metrics.jsonl; give the directory of a run, e.g. runs/demo`,
    );
  let metrics: MetricsLine[] = [];
  if (existsSync(metricsFile)) {
    metrics = parseMetrics(readFileSync(metricsFile, 'utf8'), 'metrics.jsonl', problems);
    reportMissingSteps(metrics, 'metrics.jsonl', problems);
  }
  const watched = existsSync(watchedFile)
    ? parseMetrics(readFileSync(watchedFile, 'utf8'), 'analysis.jsonl', problems)
    : [];
  if (existsSync(watchedFile) && watched.length === 0)
    problems.push('analysis.jsonl has no rows: nothing is known of features and components in training.');
  const snapshot = existsSync(snapshotFile)
    ? parseSnapshot(readFileSync(snapshotFile, 'utf8'), problems)
    : undefined;
  if (metrics.length === 0 && !snapshot)
    problems.push('metrics.jsonl has no training steps: there are no curves to draw.');
  let parsed: unknown = {};
  if (existsSync(summaryFile)) {
    try {
      parsed = JSON.parse(readFileSync(summaryFile, 'utf8'));
    } catch (error) {
      problems.push(
        `summary.json could not be read (${(error as Error).message}); the report is made from metrics.jsonl alone.`,
      );
    }
  }
  const summary = completeSummary(
    isObject(parsed) ? parsed : {},
    directory,
    [...metrics, ...watched],
    problems,
  );
  const begun = new Set([...metrics, ...summary.evaluations].map(({ seed }) => seed));
  const waiting = summary.seeds.filter((seed) => !begun.has(seed));
  if (waiting.length > 0)
    problems.push(
      `The run is not finished: nothing is known of ${waiting.length === 1 ? 'seed' : 'seeds'} ${list(waiting)} ` +
        'yet. The command that began it goes on from here.',
    );
  return { directory, metrics, watched, ...(snapshot ? { snapshot } : {}), summary, problems };
}
