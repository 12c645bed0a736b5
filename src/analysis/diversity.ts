/**
 * How varied completions of the same prompt are, without embeddings.
 *   distinct-n  different n-grams / n-grams, over a prompt's completions together     (Li et al. 2016, arXiv 1510.03055)
 *   self-BLEU   mean BLEU-4 of each completion against the prompt's others            (Zhu et al. 2018, arXiv 1802.01886)
 * BLEU with uniform weights over the orders that the completion is long enough for, brevity penalty against
 * the nearest reference length, and a match count of ε = 0.1 where there is none (Chen & Cherry 2014, method
 * 1, as nltk).
 */
import { check, checkOptions, count, nonEmptyList, rule, type Rules } from '../core/check.js';
import { fail } from '../errors.js';
import { mean } from '../evaluation/estimators.js';
import type { Completion } from '../model/generation.js';

/** Text (split at white space), token ids, or a completion of model.generate (its completionIds). */
export type CompletionLike = string | readonly number[] | Pick<Completion, 'completionIds'>;

/**
 * How varied completions of the same prompt are: distinct-n (1510.03055), different completions, self-BLEU
 * (1802.01886).
 */
export interface Diversity {
  /** By n, from 1; mean over prompts, those without any n-gram left out (NaN when all are). */
  readonly distinctN: readonly number[];
  /** Different completions / completions, and their mean number per prompt. */
  readonly distinctCompletions: number;
  readonly distinctPerPrompt: number;
  /**
   * Mean BLEU-4 of each completion against the prompt's others; 1 = all the same. NaN with fewer than two
   * completions per prompt.
   */
  readonly selfBleu: number;
  readonly prompts: number;
  readonly perPrompt: number;
}

const COMPLETION = rule(
  'text, token ids or a completion { completionIds }',
  (value) =>
    typeof value === 'string' ||
    Array.isArray(value) ||
    Array.isArray((value as Pick<Completion, 'completionIds'> | null)?.completionIds),
);
const OPTIONS: Rules = { perPrompt: count, maxN: count };
const EPSILON = 0.1;
const ORDERS = 4;
type Tokens = readonly (string | number)[];

function tokensOf(completion: CompletionLike): Tokens {
  if (typeof completion === 'string') return completion.split(/\s+/).filter((word) => word !== '');
  return 'completionIds' in completion ? completion.completionIds : completion;
}

function ngrams(tokens: Tokens, n: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let i = 0; i + n <= tokens.length; ++i) {
    const key = tokens.slice(i, i + n).join(' ');
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

/** BLEU of completion `at` against the others. */
function bleu(
  lengths: readonly number[],
  counts: readonly (readonly Map<string, number>[])[],
  at: number,
): number {
  const length = lengths[at]!;
  if (length === 0) return lengths.every((other) => other === 0) ? 1 : 0;
  const others = lengths.map((_, i) => i).filter((i) => i !== at);
  const logs: number[] = [];
  for (let n = 0; n < Math.min(ORDERS, length); ++n) {
    let [matches, total] = [0, 0];
    for (const [gram, count] of counts[at]![n]!) {
      const most = others.reduce((best, i) => Math.max(best, counts[i]![n]!.get(gram) ?? 0), 0);
      matches += Math.min(count, most);
      total += count;
    }
    logs.push(Math.log((matches || EPSILON) / total));
  }
  // The reference length nearest to the completion's; the shorter of two equally near.
  const nearest = others
    .map((i) => lengths[i]!)
    .reduce((best, r) => {
      const [d, e] = [Math.abs(r - length), Math.abs(best - length)];
      return d < e || (d === e && r < best) ? r : best;
    });
  const brevity = length >= nearest ? 0 : 1 - nearest / length;
  return Math.exp(brevity + mean(logs));
}

/**
 * `completions` holds each prompt's completions next to each other, as model.generate returns them; perPrompt
 * says how many (default: all belong to one prompt). Self-BLEU takes O(perPrompt²) per prompt.
 */
export function diversity(
  completions: readonly CompletionLike[],
  options: { readonly perPrompt?: number; readonly maxN?: number } = {},
): Diversity {
  const caller = 'analysis.diversity';
  check(caller, 'completions', completions, nonEmptyList);
  completions.forEach((completion, i) => check(caller, `completions[${i}]`, completion, COMPLETION));
  checkOptions(caller, options, OPTIONS);
  const { perPrompt = completions.length, maxN = 4 } = options;
  if (completions.length % perPrompt !== 0)
    fail(
      'ERR_INVALID_ARG',
      `${caller}: perPrompt must divide the number of completions (${completions.length}), got ${perPrompt}`,
    );
  const prompts = completions.length / perPrompt;
  const perPromptFigures = Array.from({ length: prompts }, (_, p) => {
    const group = completions.slice(p * perPrompt, (p + 1) * perPrompt).map(tokensOf);
    const counts = group.map((tokens) =>
      Array.from({ length: Math.max(maxN, ORDERS) }, (_, n) => ngrams(tokens, n + 1)),
    );
    const lengths = group.map((tokens) => tokens.length);
    const distinct = Array.from({ length: maxN }, (_, n) => {
      const total = lengths.reduce((sum, length) => sum + Math.max(length - n, 0), 0);
      return total === 0 ? NaN : new Set(counts.flatMap((c) => [...c[n]!.keys()])).size / total;
    });
    return {
      distinct,
      completions: new Set(group.map((tokens) => JSON.stringify(tokens))).size,
      selfBleu: perPrompt < 2 ? NaN : mean(group.map((_, i) => bleu(lengths, counts, i))),
    };
  });
  return {
    distinctN: Array.from({ length: maxN }, (_, n) =>
      mean(perPromptFigures.map((f) => f.distinct[n]!).filter((x) => !Number.isNaN(x))),
    ),
    distinctCompletions: mean(perPromptFigures.map((f) => f.completions / perPrompt)),
    distinctPerPrompt: mean(perPromptFigures.map((f) => f.completions)),
    selfBleu: mean(perPromptFigures.map((f) => f.selfBleu)),
    prompts,
    perPrompt,
  };
}
