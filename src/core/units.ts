/** Quantities for people. */

const PREFIXES = ['', 'k', 'M', 'G', 'T', 'P'];

function scaled(value: number, unit: string): string {
  let power = 0;
  // 999.6 would be rounded to 1.00e+3.
  for (; value >= 999.5 && power < PREFIXES.length - 1; ++power) value /= 1000;
  return `${value.toPrecision(3)} ${PREFIXES[power]!}${unit}`;
}
export const flopsText = (flops: number): string => scaled(flops, 'FLOP');
export const bytesText = (bytes: number): string => scaled(bytes, 'B');

/** 0.13, 5.2, 150. */
export const twoDigits = (value: number): string => (value >= 99.5 ? value.toFixed(0) : value.toPrecision(2));
export const secondsText = (seconds: number): string =>
  seconds < 1
    ? `${twoDigits(1000 * seconds)} ms`
    : seconds < 120
      ? `${twoDigits(seconds)} s`
      : `${twoDigits(seconds / 60)} min`;
