/** A run for people without a browser: the verdict and the evaluation table as text. */
import { contentOf, shortLabel } from './content.js';
import { DEFINITIONS } from './definitions.js';
import type { Run } from './run.js';

export function terminalSummary(run: Run): string {
  const { verdict, columns, rows } = contentOf(run);
  const lines = [verdict.headline, ...verdict.sentences.map(({ text }) => `  ${text}`)];
  if (rows.length > 0) {
    const several = rows.some((row) => row.cells.some((cell) => cell && cell.count > 1));
    const heads = columns.map(shortLabel);
    const table = [['', ...heads], ...rows.map((row) => [row.label, ...row.cells.map((cell, i) => {
      const digits = columns[i]!.digits;
      return cell ? `${cell.mean.toFixed(digits)}${several ? ` ±${cell.deviation.toFixed(digits).replace(/^0/, '')}` : ''}` : '–';
    })])];
    const widths = table[0]!.map((_, column) => Math.max(...table.map((line) => line[column]!.length)));
    lines.push('', ...table.map((line) => line.map((text, i) => (i === 0 ? text.padEnd(widths[i]!) : text.padStart(widths[i]!))).join('  ')));
    lines.push('', `fixed = ${DEFINITIONS.fixed.name}, the base model's samples, frozen; own = on what the model writes itself${several ? '; ± one standard deviation over seeds' : ''}`);
  }
  lines.push(...run.problems.map((problem) => `note: ${problem}`));
  return lines.join('\n');
}
