/**
 * The embedded experiment's task: add two numbers below 100 after watching a demonstrator who is often wrong.
 * No download, four answer formats of different reliability, and a reward that only looks at the final
 * number.
 *
 *   prompt `^AB+CD=` (7 bytes)     response, at most 12 bytes, ends with `.`
 *   direct   `S.`        is   `is S.`        chain of thought `U,T:A.`        refusal `no.`
 *
 * The contrast variant's direct answers are wrong in a systematic way (the carry is forgotten): there
 * sharpening what the base model already does is not enough.
 */
import { Random } from '../../core/random.js';

export type NoisyAdderVariant = 'main' | 'contrast';

export interface Addition {
  readonly a: number;
  readonly b: number;
}

interface Demonstrator {
  /** Cumulative shares of direct and chain of thought and `is`; the rest refuses. */
  readonly direct: number;
  readonly chain: number;
  readonly is: number;
  /** Probability that a direct answer is right. */
  readonly directRight: number;
  /** Probability that a direct answer forgets a carry where there is one. */
  readonly forgetsCarry: number;
}

const DEMONSTRATORS: Readonly<Record<NoisyAdderVariant, Demonstrator>> = {
  main: { direct: 0.4, chain: 0.65, is: 0.8, directRight: 0.35, forgetsCarry: 0 },
  contrast: { direct: 0.45, chain: 0.7, is: 0.8, directRight: 0.7, forgetsCarry: 0.65 },
};
const IS_RIGHT = 0.5;
const SLIP = 0.2;

export const PROMPT_TOKENS = 7;
export const MAX_RESPONSE_TOKENS = 12;
export const EOS = '.'.charCodeAt(0);
const HELD_OUT = 1000;
/** Streams of the task's seed; training and sampling use streams of their own seeds. */
const SPLIT_STREAM = 1;

/** The experiment's model (132,928 parameters) on this byte-level vocabulary. */
export const NOISY_ADDER_MODEL = {
  model_type: 'gpt',
  vocab_size: 256,
  hidden_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  intermediate_size: 256,
  max_position_embeddings: PROMPT_TOKENS + MAX_RESPONSE_TOKENS,
  tie_word_embeddings: false,
  bos_token_id: '^'.charCodeAt(0),
  eos_token_id: EOS,
} as const;

export const encode = (text: string): number[] => Array.from(text, (c) => c.charCodeAt(0));
export const decode = (ids: readonly number[]): string => String.fromCharCode(...ids);

export function promptText({ a, b }: Addition): string {
  const two = (n: number) => String(n).padStart(2, '0');
  return `^${two(a)}+${two(b)}=`;
}

const DIRECT_ANSWER = /^(?:0|[1-9][0-9]*)$/;

/**
 * The number a response commits to: after its last `:`, else after a leading `is `, else all of it; undefined
 * when it is none.
 */
export function finalNumber(response: string): number | undefined {
  if (!response.endsWith('.')) return undefined;
  const text = response.slice(0, -1);
  const answer = answerIn(text);
  return DIRECT_ANSWER.test(answer) ? Number(answer) : undefined;
}

function answerIn(text: string): string {
  const colon = text.lastIndexOf(':');
  if (colon >= 0) return text.slice(colon + 1);
  return text.startsWith('is ') ? text.slice('is '.length) : text;
}

/** 1 when the final number is the sum, else 0. */
export function reward({ a, b }: Addition, response: string): 0 | 1 {
  return finalNumber(response) === a + b ? 1 : 0;
}

const near = (random: Random, value: number, offsets: readonly number[]): number => {
  for (;;) {
    const moved = value + random.pick(offsets);
    if (moved >= 0) return moved;
  }
};
const wrongSum = (random: Random, sum: number) => near(random, sum, [-10, -2, -1, 1, 2, 10]);
const slip = (random: Random, value: number) =>
  random.uniform() < SLIP ? near(random, value, [-1, 1]) : value;

/** One fresh demonstration: the response to a's and b's prompt. */
export function demonstrate({ a, b }: Addition, random: Random, variant: NoisyAdderVariant = 'main'): string {
  const { direct, chain, is, directRight, forgetsCarry } = DEMONSTRATORS[variant];
  const sum = a + b;
  const kind = random.uniform();
  if (kind < direct) {
    const carries = (a % 10) + (b % 10) >= 10;
    if (carries && forgetsCarry > 0 && random.uniform() < forgetsCarry) return `${sum - 10}.`;
    return `${random.uniform() < directRight ? sum : wrongSum(random, sum)}.`;
  }
  if (kind < chain) {
    const units = slip(random, (a % 10) + (b % 10));
    const tens = slip(random, Math.floor(a / 10) + Math.floor(b / 10) + Math.floor(units / 10));
    return `${units},${tens}:${10 * tens + (units % 10)}.`;
  }
  if (kind < is) return `is ${random.uniform() < IS_RIGHT ? sum : wrongSum(random, sum)}.`;
  return 'no.';
}

/** A demonstration drawn again until it is right: clean supervised data in the demonstrator's own formats. */
export function correctDemonstration(
  pair: Addition,
  random: Random,
  variant: NoisyAdderVariant = 'main',
): string {
  for (;;) {
    const response = demonstrate(pair, random, variant);
    if (reward(pair, response) === 1) return response;
  }
}

/** The seeded split of all 10,000 pairs: 9,000 to train on and 1,000 held out, both in random order. */
export function splitAdditions(seed: number): { train: Addition[]; heldOut: Addition[] } {
  const pairs = Array.from({ length: 10_000 }, (_, i): Addition => ({ a: Math.floor(i / 100), b: i % 100 }));
  const shuffled = new Random(seed, SPLIT_STREAM).shuffle(pairs);
  return { train: shuffled.slice(HELD_OUT), heldOut: shuffled.slice(0, HELD_OUT) };
}
