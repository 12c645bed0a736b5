/**
 * Early warning of entropy collapse. A recorded step says by how much each component was predicted to change
 * the entropy; if the next steps are like the last ones, the entropy h steps ahead is today's plus h times
 * that rate. The plain alternative, against which it must be judged, is the slope of the entropy itself.
 */
import {
  check,
  checkOptions,
  choice,
  count,
  finite,
  list,
  listOf,
  object,
  positive,
  required,
  type Rules,
} from '../core/check.js';

/** One step of a recorded run, as forecastEntropy() takes it; analysis.record's rows have these numbers. */
export interface EntropyPoint {
  readonly step: number;
  /** Nats. */
  readonly entropy: number;
  /**
   * Predicted change of the entropy by this one step: of the representation component, and of both. NaN where
   * the step was not explained.
   */
  readonly representation: number;
  readonly predicted: number;
}

/** 'average': slope of the entropy over the window; 'last': no change. */
export type ForecastBy = 'representation' | 'predicted' | 'average' | 'last';

/** How far ahead forecastEntropy() looks, and by what. */
export interface ForecastOptions {
  readonly by: ForecastBy;
  /** Steps ahead. */
  readonly horizon: number;
  /** Points that rates are averaged over. Default 3. */
  readonly window?: number;
}

const POINTS = listOf('an array of points { step, entropy, representation, predicted }', object.accepts);
const OPTIONS: Rules = {
  by: required(choice('representation', 'predicted', 'average', 'last')),
  horizon: required(positive),
  window: count,
};
const JUDGE: Rules = { horizon: required(positive), threshold: required(finite) };

/** Entropy expected `horizon` steps after each point; NaN until there are enough points. */
export function forecastEntropy(points: readonly EntropyPoint[], options: ForecastOptions): number[] {
  check('analysis.forecastEntropy', 'points', points, POINTS);
  checkOptions('analysis.forecastEntropy', options, OPTIONS);
  const { by, horizon, window = 3 } = options;
  return points.map(({ step, entropy }, i) => {
    if (by === 'last') return entropy;
    if (i < window) return NaN;
    const first = points[i - window]!;
    if (by === 'average') return entropy + (horizon * (entropy - first.entropy)) / (step - first.step);
    const rates = points.slice(i - window + 1, i + 1).map((p) => p[by]);
    return entropy + (horizon * rates.reduce((a, b) => a + b, 0)) / window;
  });
}

/** How good forecasts were; all steps are the points' own. */
export interface ForecastQuality {
  /** Mean |forecast − entropy| where the entropy `horizon` steps later is known. */
  readonly error: number;
  readonly forecasts: number;
  /** First step at which the entropy is below the threshold; undefined = it never is. */
  readonly crossing: number | undefined;
  /** Points above the threshold that foresee a crossing within the horizon: all, and those that are right. */
  readonly alarms: number;
  readonly rightAlarms: number;
  /** Points from which the crossing is within the horizon, at which a forecast was possible. */
  readonly due: number;
  /** Steps from the first right alarm to the crossing; undefined without one. */
  readonly lead: number | undefined;
}

/** How right forecasts were, in hindsight. Once the threshold is crossed nothing more is to be foreseen. */
export function judgeForecast(
  points: readonly EntropyPoint[],
  forecasts: readonly number[],
  options: { readonly horizon: number; readonly threshold: number },
): ForecastQuality {
  check('analysis.judgeForecast', 'points', points, POINTS);
  check('analysis.judgeForecast', 'forecasts', forecasts, list);
  checkOptions('analysis.judgeForecast', options, JUDGE);
  const { horizon, threshold } = options;
  const crossing = points.find((p) => p.entropy < threshold)?.step;
  const entropyAt = new Map(points.map((p) => [p.step, p.entropy]));
  let [error, count, alarms, right, due] = [0, 0, 0, 0, 0];
  let lead: number | undefined;
  points.forEach(({ step }, i) => {
    const forecast = forecasts[i]!;
    if (Number.isNaN(forecast)) return;
    const later = entropyAt.get(step + horizon);
    if (later !== undefined) [error, count] = [error + Math.abs(forecast - later), count + 1];
    if (crossing !== undefined && step >= crossing) return;
    const soon = crossing !== undefined && crossing <= step + horizon;
    if (soon) ++due;
    if (forecast >= threshold) return;
    ++alarms;
    if (!soon) return;
    ++right;
    lead ??= crossing - step;
  });
  return { error: error / count, forecasts: count, crossing, alarms, rightAlarms: right, due, lead };
}
