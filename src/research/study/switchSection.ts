/** When stage 1 should end: fixed lengths against the rule. */
import { join } from 'node:path';

import { interval } from '../../evaluation/estimators.js';
import { intervalText } from './claims.js';
import { minus, passAt1, type Results } from './compare.js';
import { armDirectory, readLines } from './readResults.js';
import { spread, table } from './tables.js';

/** Steps of stage 1 where the rule ended it, by seed; NaN for a seed that has not been run. */
function firstStages({ run, seeds }: Results, out: string): number[] {
  return seeds.map((seed) => {
    const steps = readLines<{ stage: string }>(join(armDirectory(out, run, seed, 'rule'), 'metrics.jsonl'));
    return steps.length === 0 ? NaN : steps.filter(({ stage }) => stage === 'classifier').length;
  });
}

export function switchSection(results: Results, out: string): string[] {
  const { arms, scale } = results.run.plan;
  const middle = `k-${scale.classifierSteps}`;
  const pass = (arm: string) => results.of(arm, undefined, passAt1);
  const stageSteps = (id: string, label: string): string => {
    if (id === 'rule')
      return firstStages(results, out)
        .map((n) => (Number.isFinite(n) ? String(n) : '–'))
        .join(', ');
    return label.startsWith('k') ? label.slice('k = '.length) : '0';
  };
  const rows = arms.map(({ id, label }) => [
    label,
    spread(pass(id), 3),
    id === middle ? '' : intervalText(interval(minus(pass(id), pass(middle)))),
    stageSteps(id, label),
  ]);
  return [
    'All arms make the same number of steps in all (CF ×10). Differences are paired by seed, 95 % intervals.',
    table(['', 'pass@1', `minus k = ${scale.classifierSteps}`, 'steps of stage 1'], rows),
  ];
}
