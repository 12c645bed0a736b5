/** Arms against standard RL, seed by seed, at four meanings of "the same effort". */
import { interval, type Interval } from '../../evaluation/estimators.js';
import type { MarkRecord } from '../experiment/arms.js';
import type { StudyRun } from './studyPlan.js';

/** full steps: classifier-first has its first stage on top. The others count everything. */
export const BUDGETS = ['full steps', 'total steps', 'sampled tokens', 'wall time'] as const;
export type Budget = (typeof BUDGETS)[number];

export interface Comparison {
  readonly arm: string;
  readonly label: string;
  /** pass@1 of the arm's end minus standard RL's at the same effort, paired by seed. */
  readonly gains: Readonly<Record<Budget, Interval>>;
}

/** A run's records with the questions the study asks of them. */
export class Results {
  readonly run: StudyRun;
  readonly seeds: readonly number[];
  readonly #records: readonly MarkRecord[];
  constructor(run: StudyRun, records: readonly MarkRecord[], seeds: readonly number[]) {
    this.run = run;
    this.#records = records;
    this.seeds = seeds;
  }
  at(arm: string, seed: number, step?: number): MarkRecord | undefined {
    return this.#records.findLast(
      (r) => r.arm === arm && r.seed === seed && (step === undefined || r.step === step),
    );
  }
  /** One number per seed, NaN where the study has not come yet; `step` undefined = the arm's end. */
  of(arm: string, step: number | undefined, value: (record: MarkRecord) => number): number[] {
    return this.seeds.map((seed) => {
      const record = this.at(arm, seed, step);
      return record ? value(record) : NaN;
    });
  }
  /**
   * Standard RL's pass@1 where its cost reaches `budget`, between its marks on a straight line; NaN beyond
   * the last one.
   */
  standardAt(seed: number, cost: 'tokens' | 'seconds', budget: number): number {
    const marks = this.#records
      .filter((r) => (r.arm === 'standard' || r.arm === 'base') && r.seed === seed)
      .sort((a, b) => a.step - b.step);
    const after = marks.findIndex((r) => r.cost[cost] >= budget);
    if (after < 0) return NaN;
    if (after === 0) return marks[0]!.passAt1;
    const a = marks[after - 1]!;
    const b = marks[after]!;
    const rise = b.passAt1 - a.passAt1;
    return a.passAt1 + (rise * (budget - a.cost[cost])) / (b.cost[cost] - a.cost[cost]);
  }
}

export const minus = (a: readonly number[], b: readonly number[]): number[] => a.map((x, i) => x - b[i]!);
export const passAt1 = (record: MarkRecord): number => record.passAt1;

export function comparisonsOf(results: Results): Comparison[] {
  const { plan } = results.run;
  const { fullSteps, classifierSteps } = plan.scale;
  const total = fullSteps + classifierSteps;
  return plan.arms
    .filter((arm) => arm.id !== 'standard' && arm.trainer !== 'none')
    .map(({ id, label, trainer }): Comparison => {
      const end = results.of(id, undefined, passAt1);
      const budgeted = (cost: 'tokens' | 'seconds') =>
        minus(
          end,
          results.seeds.map((seed) => {
            const record = results.at(id, seed);
            return record ? results.standardAt(seed, cost, record.cost[cost]) : NaN;
          }),
        );
      const full = minus(
        trainer === 'cfrl' ? end : results.of(id, fullSteps, passAt1),
        results.of('standard', fullSteps, passAt1),
      );
      return {
        arm: id,
        label,
        gains: {
          'full steps': interval(full),
          'total steps': interval(minus(end, results.of('standard', total, passAt1))),
          'sampled tokens': interval(budgeted('tokens')),
          'wall time': interval(budgeted('seconds')),
        },
      };
    });
}
