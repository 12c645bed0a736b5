/** The maths reward: what counts as the same answer, and every answer of GSM8K. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

import { mathReward, sameAnswer } from '../../../src/rl/rewards/index.js';
import { finalAnswer } from '../../../src/rl/rewards/answer.js';
import type { RewardInput } from '../../../src/rl/interfaces.js';
import { needsSharedData, sharedData, withoutSharedData } from '../../helpers/files.js';

const score = (completions: string[], answer: unknown[]) =>
  mathReward()({ completions, answer } as unknown as RewardInput) as (number | null)[];

describe('final answers', () => {
  it.each([
    ['The answer is 42.', '42'],
    ['#### 1,234', '1,234'],
    ['it was 7\n#### -3.5\nbye 8', '-3.5'],
    ['5-3=2', '2'],
    ['3-2', '2'],
    ['−4', '−4'],
    ['no number', undefined],
    ['1,23', '23'],
    ['.5', '.5'],
    ['v1.2', '1.2'],
    ['', undefined],
    ['pays $5 and then $6 more', '$6'],
    ['so $x = \\frac{1}{2}$', 'x = \\frac{1}{2}'],
    ['\\boxed{\\frac{3}{4}}', '\\frac{3}{4}'],
    ['\\boxed{1} no, \\boxed{\\{1, {2}\\}}, I think', '\\{1, {2}\\}'],
    ['#### 5, or \\boxed{6}', '6'],
    ['\\boxed{6}\n#### 5', '5'],
    ['\\boxed{7', '7'],
    ['it takes 1 1/2 hours', '1 1/2'],
    ['about 12.5% of 3/4', '3/4'],
    ['about 12.5 %', '12.5 %'],
    ['-$3', '-$3'],
    ['\\(x^2\\) is it', 'x^2'],
    ['\\frac{3}{4}', '\\frac{3}{4}'],
  ])('of %j', (text, answer) => expect(finalAnswer(text)).toBe(answer));
});

describe('the same answer', () => {
  it.each([
    ['1/2', '0.5'],
    ['\\frac{1}{2}', '.50'],
    ['\\dfrac12', '1/2'],
    ['1 1/2', '3/2'],
    ['2\\frac{3}{4}', '2.75'],
    ['-1 1/2', '-1.5'],
    ['50%', '0.5'],
    ['50\\%', '50'],
    ['12.5 percent', '1/8'],
    ['1,234,567', '1234567'],
    ['10\\,000', '10000'],
    ['\\$1,000.00', '1000'],
    ['18 dollars', '18'],
    ['$18', '18 eggs'],
    ['5 km', '5000 m'],
    ['5 km', '5'],
    ['90 km/h', '25 m/s'],
    ['2 hours', '120 minutes'],
    ['30\\text{ cm}', '0.3 \\mathrm{m}'],
    ['45^\\circ', '45°'],
    ['\\sqrt{8}', '2\\sqrt{2}'],
    ['√2', '1.41421356237309'],
    ['\\sqrt[3]{27}', '3'],
    ['2\\pi', '6.283185307179586'],
    ['2^{10}', '1024'],
    ['x=5', '5'],
    ['x^2+2x+1', '(x+1)^2'],
    ['2xy', 'yx*2'],
    ['\\frac{x}{2}', '0.5x'],
    ['(1, 2)', '\\left(1,2\\right)'],
    ['\\{1,2,3\\}', '\\{3, 1, 2\\}'],
    ['[0, \\infty)', '[0,\\infty)'],
    ['1, 2', '1,2'],
    ['3.0', '3'],
    ['+7', '7'],
    ['007', '7'],
    ['100000000000000000001', '100000000000000000001'],
    ['3 \\times 10^8', '300000000'],
    ['5 men', '5'],
    ['6 \\cdot 7', '42'],
    ['1/3 + 1/6', '.5'],
    ['e^0', '1'],
  ])('%s = %s', (a, b) => {
    expect(sameAnswer(a, b)).toBe(true);
    expect(sameAnswer(b, a)).toBe(true);
  });
  it.each([
    ['1/3', '0.33'],
    ['0.5', '5'],
    ['50%', '5'],
    ['50%', '500%'],
    ['1,234', '1.234'],
    ['5 km', '5 m'],
    ['5 km', '5 kg'],
    ['-3', '3'],
    ['100000000000000000001', '100000000000000000002'],
    ['x+1', 'x-1'],
    ['2x', '2y'],
    ['2x', '2'],
    ['(1,2)', '(2,1)'],
    ['(1,2)', '[1,2]'],
    ['\\{1,1\\}', '\\{1,2\\}'],
    ['(1,2)', '1'],
    ['\\sqrt{2}', '1.414'],
    ['2^10', '1025'],
    ['x=5', '6'],
    ['', '0'],
    ['nothing', '0'],
    ['3.14', '\\pi'],
  ])('%s ≠ %s', (a, b) => {
    expect(sameAnswer(a, b)).toBe(false);
    expect(sameAnswer(b, a)).toBe(false);
  });
  it('what a model may write to stall it takes no time', () => {
    const began = performance.now();
    for (const text of [
      '9^9^9^9^9',
      '((9^64)^64)^64',
      '1/((9^99)^99)^99',
      '1e999999999',
      '1/1e999999999',
      '2^2^2^2^2^2^2',
      '(((((((((1',
      '9'.repeat(290),
      '('.repeat(300),
      '\\frac{'.repeat(60),
      'f(x)=import("fs")',
      '99999999!',
      '1:100000000',
      '$'.repeat(5000),
    ])
      sameAnswer(text, '1');
    expect(performance.now() - began).toBeLessThan(2000);
  });
  it('reward: null without an answer to compare with, 0 for what is no answer', () => {
    expect(
      score(
        ['so 42', '41', '', '\\boxed{42}', '#### 42 apples', '#### none, 42 later 4'],
        ['#### 42', 42, '42', 'x \\boxed{42}', '42', '42'],
      ),
    ).toEqual([1, 0, 0, 1, 1, 1]);
    expect(score(['1', '1'], ['unknown', ''])).toEqual([null, null]);
    expect(() => mathReward()({ completions: ['1'] } as unknown as RewardInput)).toThrow("column 'answer'");
  });
});

describe.skipIf(withoutSharedData)(`GSM8K${needsSharedData}`, () => {
  it.each([
    ['train', 7473],
    ['test', 1319],
  ])('%s: all %i gold answers are read, right ones score 1, perturbed ones 0', (split, count) => {
    const answers = readFileSync(sharedData(`gsm8k/${split}.jsonl`), 'utf8')
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { answer: string }).answer);
    expect(answers).toHaveLength(count);
    // Read independently of the reward: the data set writes integers with or without commas.
    const numbers = answers.map((answer) => Number(/#### (-?[\d,]+)$/.exec(answer)![1]!.replaceAll(',', '')));
    const grouped = (n: number) => n.toLocaleString('en-US');
    const right: ((n: number, answer: string) => string)[] = [
      (_, answer) => answer,
      (n) => `So the answer is ${grouped(n)}.`,
      (n) => `\\boxed{${2 * n}/2}`,
      (n) => `he has $${n}.00`,
      (n) => `= \\boxed{${n}\\text{ eggs}}`,
    ];
    const wrong: ((n: number) => string)[] = [
      (n) => `#### ${n + 1}`,
      (n) => `#### ${grouped(-n - 1)}`,
      (n) => `\\boxed{${10 * n + 1}}`,
      (n) => `The answer is ${n}.01`,
      (n) => `it is ${n} - 1 = ${n - 1}`,
    ];
    for (const [write, expected] of [
      ...right.map((f) => [f, 1] as const),
      ...wrong.map((f) => [f, 0] as const),
    ]) {
      const scores = score(
        numbers.map((n, i) => write(n, answers[i]!)),
        answers,
      );
      for (const [i, value] of [...scores].entries()) {
        const about = `${write(numbers[i]!, answers[i]!)} for ${answers[i]}`;
        if (value !== expected) expect(value, about).toBe(expected);
      }
    }
  });
});
