/**
 * The losses a second time, in double and as their papers write them: what the kernel's are compared with.
 * One row for each row of src/policy/losses.ts; tests that loop over the losses need nothing else.
 */
import { lossDefaults, type LossParameters, type PolicyLossName } from '../../src/policy/losses.js';
import type { CaseArgs } from '../cases/define.js';

/** What a loss sees of a token. */
export interface Token {
  readonly ratio: number;
  readonly advantage: number;
  readonly logp: number;
}

/** A token's loss, and its derivatives by the ratio and by the log-probability. */
export interface TokenLoss {
  readonly value: number;
  readonly byRatio: number;
  readonly byLogp: number;
  /** −1 stopped at the lower bound, +1 at the upper one. */
  readonly clipped: number;
}

export interface LossFormula {
  /** Numbers with which random tokens meet every branch. */
  readonly parameters: LossParameters;
  /** Further numbers to compare the kernel with; default: no others. */
  readonly variants?: readonly LossParameters[];
  readonly of: (token: Token, parameters: Required<LossParameters>) => TokenLoss;
  /** Worked by hand, with log ½ for the log-probability, and away from where the loss has a kink. */
  readonly examples: readonly (Omit<Token, 'logp'> & TokenLoss & { readonly parameters: LossParameters })[];
}

const quarter = { epsilonLow: 0.25, epsilonHigh: 0.25 };
const { LN2 } = Math;

export const LOSS_FORMULAS: Readonly<Record<PolicyLossName, LossFormula>> = {
  clip: {
    parameters: { epsilonLow: 0.2, epsilonHigh: 0.3 },
    variants: [{}, { delta: 1.35 }, { delta: 1.6 }],
    of: ({ ratio, advantage }, { epsilonLow, epsilonHigh, delta }) => {
      const [low, high] = [1 - epsilonLow, 1 + epsilonHigh];
      const capped = Math.min(ratio, delta || Infinity);
      const value = -Math.min(capped * advantage, Math.min(Math.max(ratio, low), high) * advantage);
      return {
        value,
        byRatio: value === -ratio * advantage ? -advantage : 0,
        byLogp: 0,
        clipped: ratio < low && advantage < 0 ? -1 : ratio > high && advantage > 0 ? 1 : 0,
      };
    },
    examples: [
      { ratio: 1, advantage: 1, parameters: {}, value: -1, byRatio: -1, byLogp: 0, clipped: 0 },
      { ratio: 0.5, advantage: 1, parameters: quarter, value: -0.5, byRatio: -1, byLogp: 0, clipped: 0 },
      { ratio: 0.5, advantage: -1, parameters: quarter, value: 0.75, byRatio: 0, byLogp: 0, clipped: -1 },
      { ratio: 2, advantage: 1, parameters: quarter, value: -1.25, byRatio: 0, byLogp: 0, clipped: 1 },
      { ratio: 2, advantage: -1, parameters: quarter, value: 2, byRatio: 1, byLogp: 0, clipped: 0 },
      {
        ratio: 2,
        advantage: -1,
        parameters: { ...quarter, delta: 1.5 },
        value: 1.5,
        byRatio: 0,
        byLogp: 0,
        clipped: 0,
      },
    ],
  },
  cispo: {
    parameters: { epsilonHigh: 1.1 },
    of: ({ ratio, advantage, logp }, { epsilonHigh }) => {
      const weight = Math.min(ratio, epsilonHigh) * advantage;
      return {
        value: -weight * logp,
        byRatio: 0,
        byLogp: -weight,
        clipped: ratio > epsilonHigh && advantage > 0 ? 1 : 0,
      };
    },
    examples: [
      {
        ratio: 1,
        advantage: 1,
        parameters: { epsilonHigh: 5 },
        value: LN2,
        byRatio: 0,
        byLogp: -1,
        clipped: 0,
      },
      {
        ratio: 8,
        advantage: 1,
        parameters: { epsilonHigh: 5 },
        value: 5 * LN2,
        byRatio: 0,
        byLogp: -5,
        clipped: 1,
      },
      {
        ratio: 8,
        advantage: -1,
        parameters: { epsilonHigh: 5 },
        value: -5 * LN2,
        byRatio: 0,
        byLogp: 5,
        clipped: 0,
      },
      {
        ratio: 0.5,
        advantage: 2,
        parameters: { epsilonHigh: 5 },
        value: LN2,
        byRatio: 0,
        byLogp: -1,
        clipped: 0,
      },
    ],
  },
};

const fieldOf = (parameter: string) => parameter.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
/** The same numbers by the names of the op's fields: epsilon_low. */
export const asFields = (parameters: LossParameters): Record<string, number> =>
  Object.fromEntries(Object.entries(parameters).map(([name, value]) => [fieldOf(name), value]));
/** The numbers of a call of the op, defaults included. */
export const parametersOf = (args: CaseArgs): Required<LossParameters> =>
  Object.fromEntries(
    Object.entries(lossDefaults).map(([name, value]) => [name, args[fieldOf(name)] ?? value]),
  ) as Required<LossParameters>;
