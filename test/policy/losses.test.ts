/**
 * The table of losses on the TypeScript side and that of the kernel say the same, and every loss has the
 * values and derivatives that were worked out by hand.
 */
import { describe, expect, it } from 'vitest';

import { addon } from '../../src/core/addon/addon.js';
import {
  importanceLevels,
  klEstimators,
  LOSS_OPTIONS,
  lossDefaults,
  LOSS_TYPES,
  POLICY_LOSSES,
  policyLosses,
  type PolicyLossName,
} from '../../src/policy/losses.js';
import { cpuBackends, entry, numbers, runCase } from '../helpers/kernels.js';
import { ints, reals } from '../helpers/random.js';
import { asFields, LOSS_FORMULAS } from './lossFormulas.js';

const OP = 'linear_policy_gradient';
const choicesOf = (field: string) => entry(OP).fields.find(({ name }) => name === field)!.choices;

describe('the two tables', () => {
  it('name the same losses, with the same parameters, defaults and ranges', () => {
    const here = policyLosses.map((name) => ({
      name,
      parameters: Object.fromEntries(
        POLICY_LOSSES[name].reads.map((option) => {
          const { parameter, default: value, least, most } = LOSS_OPTIONS[option];
          return [parameter, { default: value, least, most }];
        }),
      ),
    }));
    expect(addon.losses).toEqual(here);
  });
  it('name the same choices', () => {
    expect(choicesOf('loss')).toEqual(['coefficients', ...policyLosses]);
    expect(choicesOf('kl')).toEqual(klEstimators);
    expect(choicesOf('importance')).toEqual(importanceLevels);
  });
  it('have formulas and examples for every loss, and a trainer’s name', () => {
    expect(Object.keys(LOSS_FORMULAS)).toEqual(policyLosses);
    for (const name of policyLosses) {
      expect(LOSS_FORMULAS[name].examples.length, name).toBeGreaterThan(1);
      expect(Object.values(LOSS_TYPES).map(({ loss }) => loss)).toContain(name);
    }
  });
});

const examples = policyLosses.flatMap((loss) =>
  LOSS_FORMULAS[loss].examples.map((example) => ({ loss, ...example })),
);

describe('worked examples', () => {
  it.each(examples)('$loss at ratio $ratio, advantage $advantage, $parameters', (example) => {
    const { loss, ratio, advantage, parameters, value, byRatio, byLogp, clipped } = example;
    const formula = LOSS_FORMULAS[loss].of(
      { ratio, advantage, logp: -Math.LN2 },
      { ...lossDefaults, ...parameters },
    );
    expect(formula.value).toBeCloseTo(value, 12);
    expect(formula.byRatio).toBeCloseTo(byRatio, 12);
    expect(formula.byLogp).toBeCloseTo(byLogp, 12);
    expect(formula.clipped).toBe(clipped);

    // Two tokens of equal probability, so that logp is log ½ and its gradient by the first logit is ½.
    const call = {
      hidden: { data: new Float64Array(1), shape: [1, 1] },
      weight: { data: new Float64Array(2), shape: [2, 1] },
      targets: ints(0),
      loss,
      ...asFields(parameters),
      advantages: reals(advantage),
      old_logps: reals(-Math.LN2 - Math.log(ratio)),
      losses: true,
      clipped: true,
      d_bias: { data: new Float64Array(2), shape: [2] },
    };
    for (const backend of ['reference64', 'reference32', ...cpuBackends] as const) {
      const result = runCase(entry(OP), call, backend);
      expect(numbers(result['losses']!)[0], backend).toBeCloseTo(value, 6);
      expect(numbers(result['clipped']!)[0], backend).toBe(clipped);
      expect(numbers(result['d_bias']!)[0], backend).toBeCloseTo((byLogp + ratio * byRatio) / 2, 6);
    }
  });

  it.each(policyLosses)('%s: every parameter changes a value or a flag', (loss: PolicyLossName) => {
    const { of, parameters } = LOSS_FORMULAS[loss];
    const plain = { ...lossDefaults, ...parameters };
    for (const option of POLICY_LOSSES[loss].reads) {
      const { parameter, most } = LOSS_OPTIONS[option];
      const other = { ...plain, [parameter]: Math.min(most, plain[parameter] + 1.5) };
      const tokens = [0.1, 0.7, 1.2, 5].flatMap((ratio) =>
        [-1, 1].map((advantage) => ({ ratio, advantage, logp: -1 })),
      );
      const differs = tokens.some(
        (token) => JSON.stringify(of(token, plain)) !== JSON.stringify(of(token, other)),
      );
      expect(differs, parameter).toBe(true);
    }
  });
});
