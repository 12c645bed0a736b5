/** analysis.json, whatever state it is in. */
import type { Snapshot } from '../analysis/snapshot.js';
import { isObject } from './problems.js';

/** Whether every number in a value is finite, at any depth. */
function finite(value: unknown): boolean {
  if (Array.isArray(value)) return value.every(finite);
  if (isObject(value)) return Object.values(value).every(finite);
  return value !== null && (typeof value !== 'number' || Number.isFinite(value));
}

/** Parts that are damaged are left out, and `problems` says so. */
export function parseSnapshot(text: string, problems: string[]): Snapshot | undefined {
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
  const whole = parsed;
  /** The items of a list that are finite and have the arrays they must have. */
  const list = <T>(key: string, arrays: readonly string[] = []): readonly T[] => {
    const value = whole[key];
    const items: readonly unknown[] = Array.isArray(value) ? value : [];
    const kept = items.filter((item) => finite(item) && hasArrays(item, arrays));
    if (!Array.isArray(value) || kept.length < items.length)
      problems.push(`analysis.json: some of '${key}' is missing or not finite and was left out.`);
    return kept as T[];
  };
  const step = stepOf(whole['step'], problems);
  const said = Array.isArray(whole['problems'])
    ? whole['problems'].filter((problem): problem is string => typeof problem === 'string')
    : [];
  problems.push(...said);
  return {
    samples: list('samples'),
    kernels: list('kernels', ['rows', 'eigenvalues']),
    cosines: list('cosines', ['histogram']),
    figures: list('figures'),
    problems: said,
    ...(step ? { step } : {}),
  };
}

const hasArrays = (item: unknown, names: readonly string[]): boolean =>
  names.every((name) => isObject(item) && Array.isArray(item[name]));

function stepOf(step: unknown, problems: string[]): Snapshot['step'] | undefined {
  if (step === undefined) return undefined;
  if (isObject(step) && finite(step) && hasArrays(step, ['points', 'parts', 'probes']))
    return step as unknown as Required<Snapshot>['step'];
  problems.push('analysis.json: the step is damaged or has numbers that are not finite; it is left out.');
  return undefined;
}
