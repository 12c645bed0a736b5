/** A run for people without a browser: the verdict and the evaluation table as text. */
import type { ChangeOf } from '../analysis/explanation.js';
import type { Snapshot } from '../analysis/snapshot.js';
import { signed, twoDigits } from '../core/units.js';
import { contentOf, shortLabel } from './content.js';
import { DEFINITIONS } from './definitions.js';
import type { Run } from './run.js';
import type { Cell, Content } from './types.js';

export function terminalSummary(run: Run): string {
  const problems = run.problems.map((problem) => `note: ${problem}`);
  const analysed = run.snapshot ? snapshotLines(run.snapshot) : [];
  if (run.metrics.length === 0 && run.snapshot) return [...analysed, ...problems].join('\n');

  const content = contentOf(run);
  const { headline, sentences } = content.verdict;
  const lines = [headline, ...sentences.map(({ text }) => `  ${text}`)];
  if (content.rows.length > 0) lines.push('', ...tableLines(content));
  if (analysed.length > 0) lines.push('', ...analysed);
  const claims = run.summary.claims ?? [];
  if (claims.length > 0)
    lines.push('', ...claims.map(({ claim, verdict }, i) => `${i + 1}. ${verdict.padEnd(14)}  ${claim}`));
  lines.push(...problems);
  return lines.join('\n');
}

/**
 * The evaluation table, its first column to the left and the others to the right, and what its heads mean.
 */
function tableLines({ columns, rows }: Content): string[] {
  const severalSeeds = rows.some(({ cells }) => cells.some((cell) => cell && cell.count > 1));
  const table = [
    ['', ...columns.map(shortLabel)],
    ...rows.map(({ label, cells }) => [
      label,
      ...cells.map((cell, i) => cellText(cell, columns[i]!.digits, severalSeeds)),
    ]),
  ];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((line) => line[column]!.length)));
  const aligned = table.map((line) =>
    line.map((text, i) => (i === 0 ? text.padEnd(widths[i]!) : text.padStart(widths[i]!))).join('  '),
  );
  const spread = severalSeeds ? '; ± one standard deviation over seeds' : '';
  const legend =
    `fixed = ${DEFINITIONS.fixed.name}, the base model's samples, frozen; ` +
    `own = on what the model writes itself${spread}`;
  return [...aligned, '', legend];
}

function cellText(cell: Cell | undefined, digits: number, withSpread: boolean): string {
  if (!cell) return '–';
  const spread = withSpread ? ` ±${cell.deviation.toFixed(digits).replace(/^0/, '')}` : '';
  return `${cell.mean.toFixed(digits)}${spread}`;
}

function snapshotLines({ kernels, step, figures }: Snapshot): string[] {
  const lines = [figures.map(({ name, value }) => `${name} ${value.toPrecision(3)}`).join(' · ')];
  if (kernels.length > 0) {
    const parts = kernels.map(
      ({ name, share, effectiveRank }) =>
        `${name} ${(100 * share).toFixed(1)} % (effective rank ${effectiveRank.toFixed(1)})`,
    );
    lines.push(`kernel    ${parts.join(' · ')}`);
  }
  if (step) {
    const error = `predicted to ${twoDigits(100 * step.relativeError)} % of the measured change`;
    const sign = `same sign ${(100 * step.signAgreement).toFixed(1)} %`;
    lines.push(
      `step      ${error} · R² ${step.r2.toFixed(4)} · ${sign}`,
      changeLine('entropy', step.entropy),
      changeLine('max-prob', step.maxProb),
    );
  }
  return lines;
}

function changeLine(name: string, change: ChangeOf): string {
  const parts = [
    `${name.padEnd(9)} ${change.before.toPrecision(4)}`,
    `R ${signed(change.representation)}`,
    `G ${signed(change.gradient)}`,
    ...(change.cross === 0 ? [] : [`cross ${signed(change.cross)}`]),
    `predicted ${signed(change.predicted)}`,
    `measured ${signed(change.measured)}`,
  ];
  return `  ${parts.join('  ')}`;
}
