/** What `headfirst ntk` prints without --json. */
import { secondsText } from '../core/units.js';

/** The figures of a kernel. */
export interface KernelFacts {
  readonly shape: readonly number[];
  readonly parts: readonly { readonly name: string; readonly trace: number }[];
  readonly spectrum?: {
    readonly eigenvalues: readonly number[];
    readonly effectiveRank: number;
    readonly participationRatio: number;
    readonly rank: number;
    /** null = infinite. */
    readonly condition: number | null;
  };
  readonly seconds: number;
}

const EIGENVALUES_SHOWN = 8;

export function analysisText({ shape, parts, spectrum, seconds }: KernelFacts): string {
  const total = parts.find(({ name }) => name === 'total')!.trace;
  const width = Math.max(...parts.map(({ name }) => name.length));
  const partLine = ({ name, trace }: KernelFacts['parts'][number]) => {
    const share = ((100 * trace) / total).toFixed(1);
    return `${name.padEnd(width)}  trace ${trace.toPrecision(5).padStart(12)}  ${share.padStart(6)} %`;
  };
  return [
    `kernel ${shape.join(' × ')} in ${secondsText(seconds)}`,
    ...parts.map(partLine),
    ...(spectrum ? spectrumLines(spectrum, shape[0]!) : []),
  ].join('\n');
}

function spectrumLines(spectrum: NonNullable<KernelFacts['spectrum']>, functions: number): string[] {
  const { eigenvalues, effectiveRank, participationRatio, rank, condition } = spectrum;
  const figures = [
    `effective rank ${effectiveRank.toFixed(2)} of ${functions} ` +
      '(exp of the entropy of the normalised eigenvalues)',
    `participation ratio ${participationRatio.toFixed(2)}`,
    `rank ${rank}`,
    `condition ${condition === null ? '∞' : condition.toPrecision(3)}`,
  ];
  const shown = eigenvalues.slice(0, EIGENVALUES_SHOWN).map((value) => value.toPrecision(4));
  if (eigenvalues.length > EIGENVALUES_SHOWN) shown.push('…');
  return [figures.join(' · '), `eigenvalues ${shown.join(', ')}`];
}
