/**
 * Every op of the CUDA column against the double reference, from the same case files as the CPU columns: on
 * the emulated device, or a GPU.
 */
import './device.js';

import { describe, expect, it } from 'vitest';

import { allCases } from '../cases/index.js';
import { addonOps } from '../helpers/kernels.js';
import { invariantTests, parityTest } from '../helpers/parity.js';

describe.each(allCases.map((cases) => [cases.op, cases] as const))('%s', (_, cases) => {
  for (const test of cases.cases) parityTest(cases, test, ['cuda']);
  invariantTests(cases, ['cuda']);
});

it('the CUDA column has every op', () => {
  for (const op of addonOps) expect(op.backends, op.name).toContain('cuda');
});
