/**
 * TRL's use_adaptive_entropy: the bonus grows by a step while entropy is at or below its target, shrinks
 * above it, and acts only below.
 */
import type { ResolvedGRPOConfig } from '../config/config.js';

export interface EntropyControl {
  readonly coef: number;
  /** Of the step before; null before the first. */
  readonly last: number | null;
}

export const initialControl = (config: ResolvedGRPOConfig): EntropyControl => ({
  coef: config.entropyCoef,
  last: null,
});

/** The coefficient that acts in this step. */
export const activeCoefficient = ({ coef, last }: EntropyControl, config: ResolvedGRPOConfig): number =>
  !config.useAdaptiveEntropy || (last !== null && last <= config.entropyTarget) ? coef : 0;

/** After a step whose mean entropy was `entropy`. */
export function nextControl(
  { coef, last }: EntropyControl,
  entropy: number,
  config: ResolvedGRPOConfig,
): EntropyControl {
  if (!config.useAdaptiveEntropy) return { coef, last };
  const { entropyCoefDelta, entropyCoefMin, entropyCoefMax, entropyTarget } = config;
  return {
    coef:
      entropy <= entropyTarget
        ? Math.min(coef + entropyCoefDelta, entropyCoefMax)
        : Math.max(coef - entropyCoefDelta, entropyCoefMin),
    last: entropy,
  };
}
