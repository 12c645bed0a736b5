/** The list of planted faults belongs to the sources as they are; `npm run check:mutants` runs it. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { listedMutants, planted } from '../../scripts/mutants.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
const mutants = listedMutants();

it('has no fault twice', () => {
  expect(mutants.length).toBeGreaterThan(0);
  expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length);
});

it.each(mutants)('$name: can be planted in $file, and its tests exist', (mutant) => {
  expect(mutant.replace).not.toBe(mutant.find);
  expect(planted(mutant)).toContain(mutant.replace);
  expect(mutant.tests.length).toBeGreaterThan(0);
  for (const test of mutant.tests) expect(existsSync(join(root, test)), test).toBe(true);
});
