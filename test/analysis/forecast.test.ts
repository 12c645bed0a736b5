import { describe, expect, it } from 'vitest';

import { analysis } from '../../src/index.js';

/** Falls by .02 a step from 1; the components foresee half and all of it. */
const falling: analysis.EntropyPoint[] = Array.from({ length: 21 }, (_, i) => ({
  step: 2 * i,
  entropy: 1 - 0.04 * i,
  representation: i ? -0.01 : NaN,
  predicted: i ? -0.02 : NaN,
}));

describe('forecasts of entropy', () => {
  it('add the mean rate of the window, or the slope, to what is now', () => {
    const at = (by: analysis.ForecastBy) =>
      analysis.forecastEntropy(falling, { by, horizon: 10, window: 3 })[5]!;
    expect(at('representation')).toBeCloseTo(0.8 - 0.1, 12);
    expect(at('predicted')).toBeCloseTo(0.8 - 0.2, 12);
    expect(at('average')).toBeCloseTo(0.8 - 0.2, 12);
    expect(at('last')).toBe(0.8);
    expect(analysis.forecastEntropy(falling, { by: 'average', horizon: 10, window: 3 }).slice(0, 3)).toEqual([
      NaN,
      NaN,
      NaN,
    ]);
    expect(() => analysis.forecastEntropy(falling, { by: 'last', horizon: 0 })).toThrow('horizon');
  });

  it('are judged by error, alarms and lead, up to the crossing', () => {
    const judge = (by: analysis.ForecastBy) =>
      analysis.judgeForecast(falling, analysis.forecastEntropy(falling, { by, horizon: 10, window: 3 }), {
        horizon: 10,
        threshold: 0.5,
      });
    // Below .5 first at step 26 (.48). Steps 16 … 24 are within ten steps of it.
    expect(judge('predicted')).toEqual({
      error: expect.closeTo(0, 12) as number,
      forecasts: 13,
      crossing: 26,
      alarms: 5,
      rightAlarms: 5,
      due: 5,
      lead: 10,
    });
    expect(judge('last')).toMatchObject({
      error: expect.closeTo(0.2, 12) as number,
      alarms: 0,
      rightAlarms: 0,
      due: 5,
      lead: undefined,
    });
    // Half the rate: alarms from .6 − .1 on.
    expect(judge('representation')).toMatchObject({ alarms: 2, rightAlarms: 2, lead: 4 });
    const flat = falling.map((p) => ({ ...p, entropy: 0.6 }));
    expect(
      analysis.judgeForecast(
        flat,
        flat.map(() => 0.4),
        { horizon: 10, threshold: 0.5 },
      ),
    ).toMatchObject({ crossing: undefined, alarms: 21, rightAlarms: 0, due: 0, lead: undefined });
  });
});
