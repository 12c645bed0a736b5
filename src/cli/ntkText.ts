/** Numbers for people. */
import { secondsText } from '../core/units.js';

interface Facts {
  readonly shape: readonly number[];
  readonly parts: readonly { readonly name: string; readonly trace: number }[];
  readonly spectrum?: {
    readonly eigenvalues: readonly number[];
    readonly effectiveRank: number;
    readonly participationRatio: number;
    readonly rank: number;
    readonly condition: number | null;
  };
  readonly seconds: number;
}

/** What `headfirst ntk` prints without --json. */
export function analysisText({ shape, parts, spectrum, seconds }: Facts): string {
  const total = parts.find((p) => p.name === 'total')!.trace;
  const width = Math.max(...parts.map((p) => p.name.length));
  const number = (value: number) => value.toPrecision(5).padStart(12);
  return [
    `kernel ${shape.join(' × ')} in ${secondsText(seconds)}`,
    ...parts.map(
      ({ name, trace }) =>
        `${name.padEnd(width)}  trace ${number(trace)}  ${((100 * trace) / total).toFixed(1).padStart(6)} %`,
    ),
    ...(spectrum
      ? [
          `effective rank ${spectrum.effectiveRank.toFixed(2)} of ${shape[0]} (exp of the entropy of the ` +
            `normalised eigenvalues) · participation ratio ${spectrum.participationRatio.toFixed(2)} · rank ` +
            `${spectrum.rank} · condition ` +
            `${spectrum.condition === null ? '∞' : spectrum.condition.toPrecision(3)}`,
          `eigenvalues ${spectrum.eigenvalues
            .slice(0, 8)
            .map((x) => x.toPrecision(4))
            .join(', ')}${spectrum.eigenvalues.length > 8 ? ', …' : ''}`,
        ]
      : []),
  ].join('\n');
}
