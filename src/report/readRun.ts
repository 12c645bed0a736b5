/**
 * A run on disk: what was written, read back whatever its state. Nothing here throws for bad content; it says
 * what was wrong instead.
 */
import { existsSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';

import { fail } from '../errors.js';
import { parseMetrics, reportMissingSteps } from './parseMetrics.js';
import { parseSnapshot } from './parseSnapshot.js';
import { isObject, shortList } from './problems.js';
import type { Arm, ClaimSummary, EvaluationRecord, MetricsLine, Run, RunSummary } from './run.js';

const FILES = ['summary.json', 'metrics.jsonl', 'analysis.jsonl', 'analysis.json'] as const;

/**
 * Reads `directory`/summary.json, metrics.jsonl, analysis.jsonl (analysis.record) and analysis.json
 * (headfirst analyze).
 * @throws ERR_IO only when none of them is there.
 */
export function loadRun(directory: string): Run {
  if (!FILES.some((name) => existsSync(join(directory, name))))
    fail(
      'ERR_IO',
      `report: ${directory} has neither summary.json nor metrics.jsonl; ` +
        'give the directory of a run, e.g. runs/demo',
    );
  const read = (name: (typeof FILES)[number]): string | undefined => {
    const file = join(directory, name);
    return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  };
  const problems: string[] = [];

  const metrics = parseMetrics(read('metrics.jsonl') ?? '', 'metrics.jsonl', problems);
  reportMissingSteps(metrics, 'metrics.jsonl', problems);
  const watchedText = read('analysis.jsonl');
  const watched = parseMetrics(watchedText ?? '', 'analysis.jsonl', problems);
  if (watchedText !== undefined && watched.length === 0)
    problems.push('analysis.jsonl has no rows: nothing is known of features and components in training.');
  const snapshotText = read('analysis.json');
  const snapshot = snapshotText === undefined ? undefined : parseSnapshot(snapshotText, problems);
  if (metrics.length === 0 && !snapshot)
    problems.push('metrics.jsonl has no training steps: there are no curves to draw.');

  const stored = parseSummary(read('summary.json'), problems);
  const summary = completeSummary(stored, directory, [...metrics, ...watched], problems);
  reportWaitingSeeds(summary, metrics, problems);
  return { directory, metrics, watched, ...(snapshot ? { snapshot } : {}), summary, problems };
}

function parseSummary(text: string | undefined, problems: string[]): Record<string, unknown> {
  if (text === undefined) return {};
  try {
    const parsed: unknown = JSON.parse(text);
    return isObject(parsed) ? parsed : {};
  } catch (error) {
    problems.push(
      `summary.json could not be read (${(error as Error).message}); ` +
        'the report is made from metrics.jsonl alone.',
    );
    return {};
  }
}

/** What is missing takes a default; what is not as expected is left out. */
function completeSummary(
  stored: Record<string, unknown>,
  directory: string,
  lines: readonly MetricsLine[],
  problems: string[],
): RunSummary {
  const array = <T>(key: string, keep: (value: unknown) => boolean): T[] => {
    const value = stored[key];
    if (value === undefined) return [];
    const items: readonly unknown[] = Array.isArray(value) ? value : [];
    const kept = items.filter(keep);
    if (!Array.isArray(value) || kept.length < items.length)
      problems.push(`summary.json: some of '${key}' is not what was expected and was left out.`);
    return kept as T[];
  };
  const text = (key: string, otherwise: string): string => {
    const value = stored[key];
    return typeof value === 'string' ? value : otherwise;
  };
  const name = basename(resolve(directory));
  const environment = stored['environment'];
  return {
    name: text('name', name),
    title: text('title', name),
    created: text('created', ''),
    command: text('command', ''),
    arms: withUnnamed(array('arms', isArm), lines),
    seeds: array('seeds', Number.isFinite),
    evaluations: array('evaluations', isEvaluation),
    notes: array('notes', (note) => typeof note === 'string'),
    environment: isObject(environment) ? (environment as RunSummary['environment']) : {},
    config: stored['config'],
    claims: array('claims', isClaim),
  };
}

const isArm = (value: unknown): value is Arm =>
  isObject(value) && typeof value['id'] === 'string' && typeof value['label'] === 'string';

const isEvaluation = (value: unknown): value is EvaluationRecord =>
  isObject(value) &&
  typeof value['row'] === 'string' &&
  typeof value['arm'] === 'string' &&
  Number.isFinite(value['step']);

const isClaim = (value: unknown): value is ClaimSummary =>
  isObject(value) &&
  typeof value['claim'] === 'string' &&
  typeof value['verdict'] === 'string' &&
  Array.isArray(value['evidence']);

/** Arms that have lines but no place in the summary come last, under their ids. */
function withUnnamed(arms: readonly Arm[], lines: readonly MetricsLine[]): Arm[] {
  const known = new Set(arms.map(({ id }) => id));
  const others = [...new Set(lines.map(({ arm }) => arm))].filter((id) => !known.has(id));
  return [...arms, ...others.map((id) => ({ id, label: id === 'run' ? 'this run' : id }))];
}

function reportWaitingSeeds(summary: RunSummary, metrics: readonly MetricsLine[], problems: string[]): void {
  const begun = new Set([...metrics, ...summary.evaluations].map(({ seed }) => seed));
  const waiting = summary.seeds.filter((seed) => !begun.has(seed));
  if (waiting.length === 0) return;
  const noun = waiting.length === 1 ? 'seed' : 'seeds';
  problems.push(
    `The run is not finished: nothing is known of ${noun} ${shortList(waiting)} yet. ` +
      'The command that began it goes on from here.',
  );
}
