/** Native code refuses a list of functions whose indices do not fit together, whoever made it. */
import { expect, it } from 'vitest';

import type { NativeFunctions } from '../../src/core/addon/contract.js';
import { createContext, Model } from '../../src/index.js';
import { golden } from '../helpers/files.js';

const model = await Model.fromPretrained(golden('llama'), { context: await createContext() });
const V = model.spec.vocabSize;
const int = (...values: number[]) => Int32Array.from(values);
// Two sequences of three and two tokens; three functions, the last of two terms.
const good: NativeFunctions = {
  ids: int(1, 2, 3, 4, 5),
  offsets: int(0, 3, 5),
  sequence: int(0, 0, 1),
  termOffsets: int(0, 1, 2, 4),
  rows: int(0, 2, 3, 4),
  targets: int(1, 2, 3, 4),
  output: 'logp',
};
const options = { wanted: new Uint8Array(model.spec.parameters.length).fill(1), maxBytes: 1e9 };
const run = (functions: NativeFunctions) => model.native.perSampleGradients(functions, options).promise;

it('takes what fits together', async () => {
  const gradients = await run(good);
  expect(gradients.shape[0]).toBe(3);
});

it.each<[string, Partial<NativeFunctions>]>([
  ['a token outside the vocabulary', { ids: int(1, 2, 3, 4, V) }],
  ['a negative target', { targets: int(1, 2, 3, -1) }],
  ['sequences that do not cover the tokens', { offsets: int(0, 3, 4) }],
  ['sequences that overlap', { offsets: int(0, 6, 5) }],
  ['a sequence that is not there', { sequence: int(0, 0, 2) }],
  ['sequences out of order', { sequence: int(0, 1, 0), rows: int(0, 3, 1, 2) }],
  ['a row of another sequence', { rows: int(0, 3, 3, 4) }],
  ['a row before its own sequence', { rows: int(0, 2, 2, 4) }],
  ['the same row twice', { rows: int(0, 2, 3, 3) }],
  ['fewer targets than rows', { targets: int(1, 2, 3) }],
  ['terms that do not cover the rows', { termOffsets: int(0, 1, 2, 3) }],
  ['more functions than terms', { sequence: int(0, 0, 1, 1) }],
])('refuses %s', async (_, change) => {
  await expect(async () => run({ ...good, ...change })).rejects.toMatchObject({
    code: 'ERR_INVALID_ARG',
    message: 'perSampleGradients: the list of functions is not consistent',
  });
});
