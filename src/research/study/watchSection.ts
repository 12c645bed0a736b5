/** How well a run's fall of entropy is foreseen, by what the forecast is made from. */
import { join } from 'node:path';

import {
  type EntropyPoint,
  type ForecastBy,
  forecastEntropy,
  type ForecastQuality,
  judgeForecast,
} from '../../analysis/forecast.js';
import type { AnalysisRow } from '../../analysis/record.js';
import { mean } from '../../evaluation/estimators.js';
import type { Results } from './compare.js';
import { armDirectory, readLines } from './readResults.js';
import { table } from './tables.js';

const HORIZON = 10;
const FORECASTS: readonly (readonly [ForecastBy, string])[] = [
  ['representation', 'R of the steps made'],
  ['predicted', 'R + G of the steps made'],
  ['average', 'slope of the entropy'],
  ['last', 'entropy as it is'],
];
/** What counts as collapse: this share of the entropy that a run began with. */
const COLLAPSE = 0.5;
const HEAD = [
  'forecast by',
  `mean error ${HORIZON} steps ahead`,
  'alarms that are right',
  'due moments with an alarm',
  'runs warned of',
  'steps of warning',
];
const METHOD =
  `Entropy ${HORIZON} steps ahead = entropy now + ${HORIZON} × rate, the rate averaged over three looks ` +
  '(every second step): of the change that the steps made were predicted to cause through R, through R and G, ' +
  'or of the entropy itself. An alarm says that entropy will have fallen below ' +
  `${COLLAPSE} of its first value within ${HORIZON} steps. Components are those of the real (Adam) steps, ` +
  'at states of fixed text.';

/** Whose entropy is forecast. */
type Source = 'own samples' | 'fixed text';

/** The looks at every watched run that has begun. */
function watchedRuns({ run, seeds }: Results, out: string, source: Source): EntropyPoint[][] {
  return run.plan.arms.flatMap(({ id }) =>
    seeds.flatMap((seed) => {
      const points = looksAt(armDirectory(out, run, seed, id), source);
      return points ? [points] : [];
    }),
  );
}

function looksAt(directory: string, source: Source): EntropyPoint[] | undefined {
  const looks = readLines<AnalysisRow>(join(directory, 'analysis.jsonl'));
  const steps = readLines<{ step: number; entropy: number }>(join(directory, 'metrics.jsonl'));
  if (looks.length === 0 || steps.length === 0) return undefined;
  const logged = new Map(steps.map(({ step, entropy }) => [step, entropy]));
  return looks.flatMap(({ step, entropy: fixed, explained }): EntropyPoint[] => {
    // What training logs at step 1 is the entropy before any step.
    const entropy = source === 'own samples' ? logged.get(Math.max(step, 1)) : fixed;
    if (entropy === undefined) return [];
    const representation = explained?.entropy.representation ?? NaN;
    const predicted = explained?.entropy.predicted ?? NaN;
    return [{ step, entropy, representation, predicted }];
  });
}

const collapseBelow = (points: readonly EntropyPoint[]) => COLLAPSE * points[0]!.entropy;

function forecastRow(series: readonly EntropyPoint[][], by: ForecastBy, name: string): string[] {
  const judged = series.map((points) =>
    judgeForecast(points, forecastEntropy(points, { by, horizon: HORIZON }), {
      horizon: HORIZON,
      threshold: collapseBelow(points),
    }),
  );
  const total = (pick: (quality: ForecastQuality) => number) =>
    judged.reduce((sum, quality) => sum + pick(quality), 0);
  const right = total((q) => q.rightAlarms);
  const meanError = total((q) => q.error * q.forecasts) / total((q) => q.forecasts);
  const leads = judged.flatMap(({ lead }) => (lead === undefined ? [] : [lead]));
  const crossed = judged.filter(({ due }) => due > 0).length;
  return [
    name,
    meanError.toFixed(4),
    `${right} of ${total((q) => q.alarms)}`,
    `${right} of ${total((q) => q.due)}`,
    `${leads.length} of ${crossed}`,
    leads.length > 0 ? mean(leads).toFixed(1) : '–',
  ];
}

function sourceSection(results: Results, out: string, source: Source): string[] {
  const series = watchedRuns(results, out, source);
  if (series.length === 0) return [];
  const fallen = series.filter((points) => points.some((p) => p.entropy < collapseBelow(points))).length;
  const where =
    source === 'own samples' ? 'of the model’s own samples (as logged in training)' : 'at fixed text';
  return [
    `Entropy ${where}: ${fallen} of ${series.length} runs fall below ${COLLAPSE} of where they began.`,
    table(
      HEAD,
      FORECASTS.map(([by, name]) => forecastRow(series, by, name)),
    ),
  ];
}

export const watchSection = (results: Results, out: string): string[] => [
  METHOD,
  ...sourceSection(results, out, 'own samples'),
  ...sourceSection(results, out, 'fixed text'),
];
