/** Quantities for people. */

const PREFIXES = ['', 'k', 'M', 'G', 'T', 'P'];

function scaled(value: number, unit: string): string {
  let rest = value;
  let power = 0;
  // 999.6 would be rounded to 1.00e+3.
  while (rest >= 999.5 && power < PREFIXES.length - 1) {
    rest /= 1000;
    power += 1;
  }
  return `${rest.toPrecision(3)} ${PREFIXES[power]!}${unit}`;
}

export const flopsText = (flops: number): string => scaled(flops, 'FLOP');
export const bytesText = (bytes: number): string => scaled(bytes, 'B');

/** 0.13, 5.2, 150. */
export const twoDigits = (value: number): string => (value >= 99.5 ? value.toFixed(0) : value.toPrecision(2));
export function secondsText(seconds: number): string {
  if (seconds < 1) return `${twoDigits(1000 * seconds)} ms`;
  if (seconds < 120) return `${twoDigits(seconds)} s`;
  return `${twoDigits(seconds / 60)} min`;
}

/** −0.0123, +4.50: three digits and the sign. */
export const signed = (value: number): string => `${value < 0 ? '−' : '+'}${Math.abs(value).toPrecision(3)}`;
