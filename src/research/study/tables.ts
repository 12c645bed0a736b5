/** The study's tables in Markdown, and every evaluation as CSV. */
import { mean, standardDeviation } from '../../evaluation/estimators.js';
import type { MarkRecord } from '../experiment/arms.js';
import { intervalText } from './claims.js';
import { BUDGETS, comparisonsOf, type Results } from './compare.js';

/** Name, digits, value. */
type Column = readonly [name: string, digits: number, value: (r: MarkRecord) => number];

/** What the models do. */
export const COLUMNS: readonly Column[] = [
  ['pass@1', 3, (r) => r.passAt1],
  ['pass@k', 3, (r) => r.passAtK],
  ['greedy', 3, (r) => r.greedy],
  ['distinct', 2, (r) => r.distinct],
  ['max-prob fixed', 3, (r) => r.fixed!.maxProb],
  ['entropy fixed', 3, (r) => r.fixed!.entropy],
  ['entropy own', 3, (r) => r.onPolicy.entropy],
  ['‖W‖', 1, (r) => r.dynamics?.classifierNorm ?? NaN],
  ['feature drift', 3, (r) => r.dynamics?.featureDrift ?? NaN],
];

/** What one step would do to them. */
export const MECHANISM: readonly Column[] = [
  ['growth R', 3, (r) => r.dynamics?.growth.representation ?? NaN],
  ['growth G', 3, (r) => r.dynamics?.growth.gradient ?? NaN],
  ['dH/dη R', 3, (r) => r.dynamics?.ascent.entropy.representation ?? NaN],
  ['dH/dη G', 3, (r) => r.dynamics?.ascent.entropy.gradient ?? NaN],
  ['Adam dH/dη R', 2, (r) => r.dynamics?.adam.entropy.representation ?? NaN],
  ['Adam dH/dη G', 2, (r) => r.dynamics?.adam.entropy.gradient ?? NaN],
  ['max-prob up by R', 2, (r) => r.dynamics?.ascent.raised.representation ?? NaN],
  ['cosine prompts', 2, (r) => r.dynamics?.cosine.prompts ?? NaN],
  ['same position', 2, (r) => r.dynamics?.cosine.samePosition ?? NaN],
  ['all', 2, (r) => r.dynamics?.cosine.all ?? NaN],
];

const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;

export const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [row(head), `|${' --- |'.repeat(head.length)}`, ...rows.map(row)].join('\n');

/** Mean, and with several values ± standard deviation. */
export function spread(values: readonly number[], digits: number): string {
  const finite = values.filter(Number.isFinite);
  if (finite.length === 0) return '–';
  const centre = mean(finite).toFixed(digits);
  return finite.length > 1 ? `${centre} ± ${standardDeviation(finite).toFixed(digits)}` : centre;
}

/** One row per row of the evaluation table, over seeds. */
export function recordTable(records: readonly MarkRecord[], columns: readonly Column[]): string {
  const names = [...new Set(records.map((r) => r.row))];
  const head = ['', ...columns.map(([name]) => name)];
  const rows = names.map((name) => {
    const own = records.filter((r) => r.row === name);
    return [name, ...columns.map(([, digits, value]) => spread(own.map(value), digits))];
  });
  return table(head, rows);
}

/** Gains over standard RL, in bold where the interval leaves out zero. */
export function comparisonTable(results: Results): string {
  const rows = comparisonsOf(results).map(({ label, gains }) => [
    label,
    ...BUDGETS.map((budget) => {
      const text = intervalText(gains[budget]);
      const leavesOutZero = gains[budget].low > 0 || gains[budget].high < 0;
      return leavesOutZero ? `**${text}**` : text;
    }),
  ]);
  return table(['against standard RL at equal', ...BUDGETS], rows);
}

type CsvColumn = readonly [name: string, value: (r: MarkRecord) => string | number];

const numberColumn = ([name, , value]: Column): CsvColumn => [
  name,
  (r) => (Number.isFinite(value(r)) ? Number(value(r).toPrecision(6)) : ''),
];
const bestOfColumn = (n: number): CsvColumn => [
  `best of ${n}`,
  (r) => r.bestOf.find((best) => best.n === n)?.reward.toFixed(4) ?? '',
];
const CSV: readonly CsvColumn[] = [
  ['arm', (r) => r.arm],
  ['seed', (r) => r.seed],
  ['step', (r) => r.step],
  ['tokens', (r) => r.cost.tokens],
  ['seconds', (r) => r.cost.seconds.toFixed(3)],
  ...[...COLUMNS, ...MECHANISM].map(numberColumn),
  ...[1, 2, 4, 8].map(bestOfColumn),
];

/** Every evaluation of every run, with a line of names first. */
export function recordsCsv(runs: readonly { id: string; records: readonly MarkRecord[] }[]): string {
  const head = ['run', ...CSV.map(([name]) => name)].join(',');
  const lines = runs.flatMap(({ id, records }) =>
    records.map((record) => [id, ...CSV.map(([, value]) => value(record))].join(',')),
  );
  return `${[head, ...lines].join('\n')}\n`;
}
