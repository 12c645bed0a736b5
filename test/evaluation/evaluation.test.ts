/** Evaluation maths against enumeration, and evaluate() against a scripted policy. */
import { describe, expect, it } from 'vitest';

import { mean, passAtK, standardDeviation } from '../../src/evaluation/estimators.js';
import { evaluate } from '../../src/evaluation/evaluate.js';
import type { Sample } from '../../src/model/batch.js';
import type { Completion, GenerateOptions } from '../../src/model/generation.js';
import type { Model } from '../../src/model/model.js';

/** Share of the k-subsets of n samples, c of them right, that hold a right one. */
function passByEnumeration(n: number, c: number, k: number): number {
  let [hits, total] = [0, 0];
  for (let set = 0; set < 1 << n; ++set) {
    const members = Array.from({ length: n }, (_, i) => i).filter((i) => set & (1 << i));
    if (members.length !== k) continue;
    ++total;
    if (members.some((i) => i < c)) ++hits;
  }
  return hits / total;
}

describe('estimators', () => {
  it('passAtK is the share of k-subsets with a right sample', () => {
    for (let n = 1; n <= 7; ++n)
      for (let c = 0; c <= n; ++c)
        for (let k = 1; k <= n; ++k) expect(passAtK(n, c, k)).toBeCloseTo(passByEnumeration(n, c, k), 12);
    expect(passAtK(2000, 3, 1000)).toBeCloseTo(0.875, 2);
    expect(() => passAtK(4, 1, 5)).toThrowError(/k must be an integer in 1 … 4/);
  });
  it('mean and unbiased standard deviation', () => {
    expect(mean([1, 2, 6])).toBe(3);
    expect(standardDeviation([1, 3])).toBeCloseTo(Math.SQRT2, 12);
    expect(standardDeviation([5])).toBe(0);
  });
});

/**
 * Two prompts; sampling gives the scripted ids, greedy always id 9; token t of a sample has max-prob t / 10
 * and entropy t.
 */
function scripted(samples: number[][][]): Model {
  return {
    async generate(prompts: readonly (readonly number[])[], options: GenerateOptions): Promise<Completion[]> {
      return prompts.flatMap((prompt, p) =>
        (options.temperature === 0 ? [[9]] : samples[p]!).map(
          (completionIds): Completion => ({
            inputIds: [...prompt, ...completionIds],
            completionIds,
            text: '',
            logps: new Float32Array(completionIds.length),
            finishReason: 'stop',
          }),
        ),
      );
    },
    async score(given: readonly Sample[]) {
      const tokens = given.flatMap(({ inputIds, scoreFrom }) => inputIds.slice(scoreFrom));
      return {
        logps: new Float32Array(tokens.length),
        maxProb: Float32Array.from(tokens, (t) => t / 10),
        entropy: Float32Array.from(tokens),
      };
    },
  } as unknown as Model;
}

describe('evaluate', () => {
  const policy = scripted([
    [[9], [9], [1, 2], [1, 2]],
    [[1], [2], [3], []],
  ]);
  const options = {
    prompts: [[50], [60]],
    reward: (_: number, c: Completion) => (c.completionIds[0] === 9 ? 1 : 0.5),
    maxNewTokens: 4,
    samples: 4,
  };

  it('counts right, distinct, length and confidence', async () => {
    const { evaluation, samples } = await evaluate(policy, {
      ...options,
      k: 2,
      fixed: [{ inputIds: [1, 4, 6], scoreFrom: 1 }],
    });
    expect(evaluation).toMatchObject({
      prompts: 2,
      samplesPerPrompt: 4,
      k: 2,
      passAt1: 0.25,
      greedy: 1,
      distinct: 3,
      meanLength: 9 / 8,
    });
    expect(evaluation.passAtK).toBeCloseTo((1 - 1 / 6) / 2, 12);
    expect(evaluation.reward).toBeCloseTo((2 + 6 * 0.5) / 8, 12);
    expect(evaluation.fixed!.entropy).toBeCloseTo(5, 6);
    expect(evaluation.onPolicy.entropy).toBeCloseTo((9 + 9 + 1 + 2 + 1 + 2 + 1 + 2 + 3) / 9, 6);
    expect(evaluation.onPolicy.maxProb).toBeCloseTo(evaluation.onPolicy.entropy / 10, 6);
    // Samples for the next evaluation's `fixed`: an empty completion has nothing to score.
    expect(samples).toHaveLength(7);
    expect(samples[2]).toEqual({ inputIds: [50, 1, 2], scoreFrom: 1 });
  });
});
