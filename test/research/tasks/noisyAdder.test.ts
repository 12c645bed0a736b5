/** The embedded experiment's task: split, demonstrator shares and correctness, reward. */
import { describe, expect, it } from 'vitest';

import { Random } from '../../../src/core/random.js';
import {
  type Addition,
  decode,
  demonstrate,
  encode,
  finalNumber,
  MAX_RESPONSE_TOKENS,
  type NoisyAdderVariant,
  promptText,
  PROMPT_TOKENS,
  reward,
  splitAdditions,
} from '../../../src/research/tasks/noisyAdder.js';

const N = 40_000;
/**
 * Five standard errors of a proportion: a seeded test of a share that is really p fails with p < 1e-6 over
 * all seeds.
 */
const within = (count: number, total: number, p: number) =>
  expect(Math.abs(count / total - p)).toBeLessThan(5 * Math.sqrt((p * (1 - p)) / total));

function demonstrations(variant: NoisyAdderVariant): (Addition & { text: string })[] {
  const random = new Random(7);
  return Array.from({ length: N }, () => {
    const pair = { a: random.integer(100), b: random.integer(100) };
    return { ...pair, text: demonstrate(pair, random, variant) };
  });
}
const isDirect = ({ text }: { text: string }) => /^\d+\.$/.test(text);
const isChain = ({ text }: { text: string }) => text.includes(':');
const isIs = ({ text }: { text: string }) => text.startsWith('is ');
const right = (d: Addition & { text: string }) => reward(d, d.text) === 1;
const carries = ({ a, b }: Addition) => (a % 10) + (b % 10) >= 10;

describe('Random', () => {
  it('is Philox-4x32-10: the known answer for an all-zero key and counter', () => {
    // Random123 kat_vectors: 6627e8d5 e169c58d …; uniform() takes 53 bits of the first two words.
    const bits = (0x6627e8d5n << 21n) | (0xe169c58dn >> 11n);
    expect(new Random(0).uniform()).toBe((Number(bits) + 0.5) / 2 ** 53);
  });
  it('draws by position: a stream can be entered anywhere', () => {
    const whole = new Random(3, 9);
    const draws = Array.from({ length: 6 }, () => whole.uniform());
    const resumed = new Random(3, 9);
    resumed.counter = 4;
    expect([resumed.uniform(), resumed.uniform()]).toEqual(draws.slice(4));
    expect(new Random(4, 9).uniform()).not.toBe(draws[0]);
    expect(new Random(3, 8).uniform()).not.toBe(draws[0]);
  });
});

describe('noisy adder', () => {
  it('prompts are seven tokens and responses at most twelve with the end', () => {
    expect(promptText({ a: 5, b: 40 })).toBe('^05+40=');
    expect(encode(promptText({ a: 99, b: 0 }))).toHaveLength(PROMPT_TOKENS);
    for (const variant of ['main', 'contrast'] as const)
      expect(
        demonstrations(variant).filter(
          ({ text }) => text.length > MAX_RESPONSE_TOKENS || !text.endsWith('.'),
        ),
      ).toEqual([]);
    expect(decode(encode('is 12.'))).toBe('is 12.');
  });

  it('holds out 1,000 pairs, disjoint from the 9,000 trained on, by seed', () => {
    const { train, heldOut } = splitAdditions(1);
    expect([train.length, heldOut.length]).toEqual([9000, 1000]);
    expect(new Set([...train, ...heldOut].map(promptText)).size).toBe(10_000);
    expect(splitAdditions(1).heldOut).toEqual(heldOut);
    expect(splitAdditions(2).heldOut).not.toEqual(heldOut);
  });

  it('reward reads the final number and nothing else', () => {
    const pair = { a: 27, b: 35 };
    for (const text of ['62.', '12,6:62.', 'is 62.', 'x:1:62.', '??:62.'])
      expect(reward(pair, text), text).toBe(1);
    for (const text of [
      '62',
      '62..',
      '062.',
      '12,6:062.',
      'is  62.',
      'no.',
      '.',
      ':.',
      'is .',
      '62:.',
      ' 62.',
      '6 2.',
      '62:63.',
      '+62.',
      'is 62:63.',
    ])
      expect(reward(pair, text), text).toBe(0);
    expect(finalNumber('0.')).toBe(0);
    expect(finalNumber('is 00.')).toBeUndefined();
  });

  it('main demonstrator: shares of formats and how often each is right', () => {
    const all = demonstrations('main');
    const direct = all.filter(isDirect);
    within(direct.length, N, 0.4);
    within(all.filter(isChain).length, N, 0.25);
    within(all.filter(isIs).length, N, 0.15);
    within(all.filter((d) => d.text === 'no.').length, N, 0.2);
    within(direct.filter(right).length, direct.length, 0.35);
    const is = all.filter(isIs);
    within(is.filter(right).length, is.length, 0.5);
    // Wrong answers are a step of 1, 2 or 10 away, each direction as likely (where both are possible).
    const misses = direct
      .filter((d) => !right(d) && d.a + d.b >= 10)
      .map((d) => finalNumber(d.text)! - d.a - d.b);
    for (const offset of [-10, -2, -1, 1, 2, 10])
      within(misses.filter((m) => m === offset).length, misses.length, 1 / 6);
    expect(all.some((d) => /-/.test(d.text))).toBe(false);
  });

  it('chain of thought: units and tens slip one time in five each, and the answer follows from them', () => {
    const chain = demonstrations('main')
      .filter(isChain)
      .map((d) => ({
        ...d,
        parts: d.text
          .match(/^(\d+),(\d+):(\d+)\.$/)!
          .slice(1)
          .map(Number) as [number, number, number],
      }));
    expect(chain.filter(({ parts: [units, tens, answer] }) => answer !== 10 * tens + (units % 10))).toEqual(
      [],
    );
    const unitsSlip = chain.filter(({ a, b, parts }) => parts[0] !== (a % 10) + (b % 10));
    const tensSlip = chain.filter(
      ({ a, b, parts }) => parts[1] !== Math.floor(a / 10) + Math.floor(b / 10) + Math.floor(parts[0] / 10),
    );
    within(unitsSlip.length, chain.length, 0.2);
    within(tensSlip.length, chain.length, 0.2);
    expect(unitsSlip.filter(({ a, b, parts }) => Math.abs(parts[0] - (a % 10) - (b % 10)) !== 1)).toEqual([]);
  });

  it('contrast demonstrator: forgets the carry in direct answers, and only there', () => {
    const all = demonstrations('contrast');
    const direct = all.filter(isDirect);
    within(direct.length, N, 0.45);
    within(all.filter(isChain).length, N, 0.25);
    within(all.filter(isIs).length, N, 0.1);
    within(all.filter((d) => d.text === 'no.').length, N, 0.2);
    const [carry, plain] = [direct.filter(carries), direct.filter((d) => !carries(d))];
    within(plain.filter(right).length, plain.length, 0.7);
    within(carry.filter(right).length, carry.length, 0.35 * 0.7);
    // s − 10: forgotten, or one of the six ordinary misses.
    within(
      carry.filter((d) => finalNumber(d.text) === d.a + d.b - 10).length,
      carry.length,
      0.65 + (0.35 * 0.3) / 6,
    );
    within(
      plain.filter((d) => finalNumber(d.text) === d.a + d.b - 10 && d.a + d.b >= 10).length,
      plain.filter((d) => d.a + d.b >= 10).length,
      0.3 / 6,
    );
  });
});
