/** A run for people without a browser: the verdict and the evaluation table as text. */
import type { ChangeOf } from '../analysis/explain.js';
import type { Snapshot } from '../analysis/snapshot.js';
import { twoDigits } from '../core/units.js';
import { contentOf, shortLabel } from './content.js';
import { DEFINITIONS } from './definitions.js';
import type { Run } from './readRun.js';

const signed = (x: number) => `${x < 0 ? '−' : '+'}${Math.abs(x).toPrecision(3)}`;

function snapshotLines({ kernels, step, figures }: Snapshot): string[] {
  const change = (name: string, c: ChangeOf) =>
    `  ${name.padEnd(9)} ${c.before.toPrecision(4)}  R ${signed(c.representation)}  G ` +
    `${signed(c.gradient)}${c.cross === 0 ? '' : `  cross ${signed(c.cross)}`}  predicted ` +
    `${signed(c.predicted)}  measured ${signed(c.measured)}`;
  return [
    figures.map(({ name, value }) => `${name} ${value.toPrecision(3)}`).join(' · '),
    ...(kernels.length > 0
      ? [
          'kernel    ' +
            `${kernels.map(({ name, share, effectiveRank }) => `${name} ${(100 * share).toFixed(1)} % (effective rank ${effectiveRank.toFixed(1)})`).join(' · ')}`,
        ]
      : []),
    ...(step
      ? [
          `step      predicted to ${twoDigits(100 * step.relativeError)} % of the measured change · R² ` +
            `${step.r2.toFixed(4)} · same sign ${(100 * step.signAgreement).toFixed(1)} %`,
          change('entropy', step.entropy),
          change('max-prob', step.maxProb),
        ]
      : []),
  ];
}

export function terminalSummary(run: Run): string {
  const { summary } = run;
  const { verdict, columns, rows } = contentOf(run);
  const analysed = run.snapshot ? snapshotLines(run.snapshot) : [];
  if (run.metrics.length === 0 && run.snapshot)
    return [...analysed, ...run.problems.map((problem) => `note: ${problem}`)].join('\n');
  const lines = [verdict.headline, ...verdict.sentences.map(({ text }) => `  ${text}`)];
  if (rows.length > 0) {
    const several = rows.some((row) => row.cells.some((cell) => cell && cell.count > 1));
    const heads = columns.map(shortLabel);
    const table = [
      ['', ...heads],
      ...rows.map((row) => [
        row.label,
        ...row.cells.map((cell, i) => {
          const digits = columns[i]!.digits;
          return cell
            ? `${cell.mean.toFixed(digits)}${several ? ` ±${cell.deviation.toFixed(digits).replace(/^0/, '')}` : ''}`
            : '–';
        }),
      ]),
    ];
    const widths = table[0]!.map((_, column) => Math.max(...table.map((line) => line[column]!.length)));
    lines.push(
      '',
      ...table.map((line) =>
        line.map((text, i) => (i === 0 ? text.padEnd(widths[i]!) : text.padStart(widths[i]!))).join('  '),
      ),
    );
    lines.push(
      '',
      `fixed = ${DEFINITIONS.fixed.name}, the base model's samples, frozen; own = on what the model writes ` +
        `itself${several ? '; ± one standard deviation over seeds' : ''}`,
    );
  }
  if (analysed.length > 0) lines.push('', ...analysed);
  if (summary.claims?.length)
    lines.push(
      '',
      ...summary.claims.map(({ claim, verdict: found }, i) => `${i + 1}. ${found.padEnd(14)}  ${claim}`),
    );
  lines.push(...run.problems.map((problem) => `note: ${problem}`));
  return lines.join('\n');
}
