/**
 * Every op, from its case file: CPU against the double reference by the accuracy rule on every instruction
 * set, the same bits for one and two threads, guard bands, poisoned outputs and padded rows, gradients
 * against finite differences, jvp against both, invariants and refusals.
 */
import { describe, expect, it } from 'vitest';

import { allCases } from '../cases/index.js';
import { addonOps, cpuBackends, entry, hasEntry } from '../helpers/kernels.js';
import { checkDerivatives, checkOwnGradients, invariantTests, parityTest } from '../helpers/parity.js';
import { Random } from '../helpers/random.js';
import type { ArrayView } from '../../src/core/addon/contract.js';

describe.each(allCases.map((cases) => [cases.op, cases] as const))('%s', (_, cases) => {
  for (const test of cases.cases) {
    parityTest(cases, test, cpuBackends);
    if ((hasEntry(`${cases.op}_backward`) || hasEntry(`${cases.op}_jvp`)) && !test.skipGradient)
      it(`${test.name}: gradients against finite differences`, () => checkDerivatives(cases, test));
    if (test.objective)
      it(`${test.name}: own gradients against finite differences`, () => checkOwnGradients(cases.op, test));
  }
  invariantTests(cases, ['reference64', ...cpuBackends]);
  for (const refusal of cases.refused ?? [])
    it(`refuses ${refusal.name}`, () => {
      const op = entry(refusal.entry ?? cases.op);
      const args = refusal.args(new Random(1)) as Record<string, ArrayView>;
      let caught: unknown;
      try {
        op.runSync(args);
      } catch (error) {
        caught = error;
      }
      expect(caught, 'nothing was thrown').toBeDefined();
      expect((caught as { code: string }).code).toBe(refusal.code);
      expect((caught as Error).message).toContain(refusal.message);
    });
});

describe('the op table', () => {
  it('has a case file and every CPU column for every op', () => {
    const covered = new Set(allCases.map((cases) => cases.op));
    for (const op of addonOps) {
      expect(covered, `test/cases/<family>/${op.op}.ts`).toContain(op.op);
      expect(op.backends, op.name).toEqual(
        expect.arrayContaining(['reference32', 'reference64', ...cpuBackends]),
      );
    }
  });
});
