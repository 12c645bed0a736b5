/**
 * ntk.sketch against the exact kernel: parameter by parameter on every family, and its error bar over a
 * hundred seeds.
 */
import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

import { createContext, Model, ntk, type Sample } from '../../src/index.js';
import { Random } from '../helpers/random.js';

const golden = fileURLToPath(new URL('../golden/', import.meta.url));
const families = readdirSync(golden).filter((name) => existsSync(`${golden}${name}/config.json`));
const context = await createContext();

function makeSamples(seed: number, V: number, lengths: readonly number[]): Sample[] {
  const random = new Random(seed);
  return lengths.map((length) => ({
    inputIds: Array.from({ length }, () => random.integer(0, V)),
    scoreFrom: random.integer(1, length),
  }));
}
const norm = (x: ArrayLike<number>) => Math.hypot(...Array.from(x));
const error = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  norm(Array.from(a, (value, i) => value - b[i]!));

describe.each(families)('%s', (family) => {
  it('every parameter alone, and all of them, lie within the error bar, square and rectangular', async () => {
    const model = await Model.fromPretrained(`${golden}${family}`, { context });
    const [x, y] = [
      makeSamples(1, model.spec.vocabSize, [6, 3, 9]),
      makeSamples(2, model.spec.vocabSize, [4, 8]),
    ];
    // A tied matrix has both its uses in one kernel, with their cross terms.
    for (const chosen of [undefined, ...model.parameters().map(({ name }) => name)]) {
      const params =
        chosen === undefined ? undefined : ({ name }: { readonly name: string }) => name === chosen;
      for (const second of [null, y]) {
        const exact = await ntk.gram(model, x, second, { params });
        const { kernel, halfWidth, shape } = await ntk.sketch(model, x, second, {
          params,
          repeats: 64,
          confidence: 0.99999,
        });
        expect(shape).toEqual(exact.shape);
        exact.kernel.forEach((value, i) =>
          expect(Math.abs(kernel[i]! - value), `${chosen} [${i}]`).toBeLessThanOrEqual(
            halfWidth[i]! + 1e-5 * norm(exact.kernel),
          ),
        );
        if (!second) expect(norm(halfWidth), chosen).toBeLessThan(1.5 * norm(exact.kernel) + 1e-12);
      }
    }
    model.dispose();
  });
});

it('over 100 seeds the 99 % bar covers, is at most 6 errors wide, and errors fall as 1/√repeats', {
  timeout: 60_000,
}, async () => {
  const model = await Model.fromPretrained(`${golden}gpt2`, { context });
  const x = makeSamples(5, model.spec.vocabSize, [8, 5, 11, 4]);
  const { kernel: exact } = await ntk.gram(model, x);
  const rms: number[] = [];
  for (const repeats of [32, 128]) {
    let [covered, within, squares, widths] = [0, 0, 0, 0];
    for (let seed = 0; seed < 100; ++seed) {
      const { kernel, halfWidth } = await ntk.sketch(model, x, null, { repeats, size: 16, seed });
      covered += Number(error(kernel, exact) <= norm(halfWidth));
      within +=
        kernel.filter((value, i) => Math.abs(value - exact[i]!) <= halfWidth[i]!).length / exact.length;
      squares += error(kernel, exact) ** 2;
      widths += norm(halfWidth);
    }
    rms.push(Math.sqrt(squares / 100));
    expect(covered).toBeGreaterThanOrEqual(95);
    expect(within).toBeGreaterThanOrEqual(95);
    expect(widths / 100).toBeLessThanOrEqual(6 * rms.at(-1)!);
  }
  expect(rms[0]! / rms[1]!).toBeGreaterThan(2 * 0.8);
  expect(rms[0]! / rms[1]!).toBeLessThan(2 * 1.2);
  model.dispose();
});

it('does not depend on blocks or order; the same seed repeats it', async () => {
  const model = await Model.fromPretrained(`${golden}llama`, { context });
  const x = makeSamples(7, model.spec.vocabSize, [9, 4, 12, 7, 5]);
  const { kernel } = await ntk.sketch(model, x, null, { seed: 3 });
  const again = await ntk.sketch(model, x, x, { seed: 3 });
  expect(error(again.kernel, kernel)).toBeLessThan(1e-6 * norm(kernel));
  const reversed = await ntk.sketch(model, [...x].reverse(), null, { seed: 3 });
  expect(error([...reversed.kernel].reverse(), kernel)).toBeLessThan(1e-6 * norm(kernel));
  const other = await ntk.sketch(model, x, null, { seed: 4 });
  expect(error(other.kernel, kernel)).toBeGreaterThan(1e-3 * norm(kernel));
  const one = await ntk.gram(model, x.slice(2, 3)).then(({ cost }) => cost.bytes);
  const blocks = await ntk.sketch(model, x, null, { seed: 3, maxBytes: 4 * one });
  expect(error(blocks.kernel, kernel)).toBeLessThan(1e-6 * norm(kernel));
  model.dispose();
});

it('refuses what makes no sense, before any work', async () => {
  const model = await Model.fromPretrained(`${golden}llama`, { context });
  const x = makeSamples(1, model.spec.vocabSize, [5]);
  for (const options of [
    { repeats: 1 },
    { size: 0 },
    { confidence: 1 },
    { seed: -1 },
    { projection: 'fourier' as 'gaussian' },
  ])
    await expect(ntk.sketch(model, x, null, options)).rejects.toMatchObject({ code: 'ERR_INVALID_ARG' });
  await expect(ntk.sketch(model, x, null, { maxBytes: 1000 })).rejects.toMatchObject({
    code: 'ERR_OUT_OF_MEMORY',
  });
  await expect(ntk.sketch(model, [{ inputIds: [1], scoreFrom: 1 }])).rejects.toMatchObject({
    code: 'ERR_INVALID_ARG',
  });
  model.dispose();
});
