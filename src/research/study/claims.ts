/**
 * The paper's five claims (arXiv 2601.04670), each with a criterion written down before the study's results
 * were read (the demo's were known), the verdict it gives and the numbers behind. A criterion has parts, each
 * asked of several runs; all met in all = reproduced, none in any = not reproduced, else partly.
 */
import { interval, type Interval, mean } from '../../evaluation/estimators.js';
import type { MarkRecord } from '../experiment/arms.js';
import { comparisonsOf, minus, passAt1, type Results } from './compare.js';
import { CF_MULTIPLIERS } from './studyPlan.js';

export type ClaimVerdict = 'reproduced' | 'partly' | 'not reproduced' | 'unknown';

export interface ClaimPart {
  readonly criterion: string;
  /** By run; undefined = the study has no numbers yet. */
  readonly runs: readonly {
    readonly run: string;
    readonly met: boolean | undefined;
    readonly evidence: string;
  }[];
}
export interface Claim {
  readonly claim: string;
  readonly verdict: ClaimVerdict;
  readonly parts: readonly ClaimPart[];
  /** What a reader must know beside the verdict. */
  readonly care: string;
}

const number = (x: number, digits = 3) => (Number.isFinite(x) ? x.toFixed(digits).replace('-', '−') : '–');
const signed = (x: number, digits = 3) => (x > 0 ? '+' : '') + number(x, digits);
export const intervalText = ({ mean: centre, low, high }: Interval, digits = 3): string =>
  !Number.isFinite(centre)
    ? '–'
    : Number.isFinite(low)
      ? `${signed(centre, digits)} [${signed(low, digits)}, ${signed(high, digits)}]`
      : signed(centre, digits);

const above = (i: Interval): boolean | undefined => (i.n === 0 ? undefined : i.low > 0);
const below = (i: Interval): boolean | undefined => (i.n === 0 ? undefined : i.high < 0);
const all = (parts: readonly (boolean | undefined)[]): boolean | undefined =>
  parts.length === 0 || parts.includes(undefined) ? undefined : parts.every(Boolean);

function claim(text: string, care: string, parts: readonly ClaimPart[]): Claim {
  const met = parts.flatMap((p) => p.runs.map((r) => r.met));
  const verdict: ClaimVerdict = met.includes(undefined)
    ? 'unknown'
    : met.every(Boolean)
      ? 'reproduced'
      : met.some(Boolean)
        ? 'partly'
        : 'not reproduced';
  return { claim: text, verdict, parts, care };
}

const across = (
  criterion: string,
  runs: readonly Results[],
  measure: (run: Results) => { readonly met: boolean | undefined; readonly text: string },
): ClaimPart => ({
  criterion,
  runs: runs.map((run) => {
    const { met, text } = measure(run);
    return { run: run.run.id, met, evidence: text };
  }),
});

const ascent = (record: MarkRecord) => record.dynamics!.ascent;
const growth = (record: MarkRecord) => record.dynamics!.growth;
const bestOf = (n: number) => (record: MarkRecord) => record.bestOf.find((b) => b.n === n)!.reward;

/** Least-squares slope over the first `count` values. */
export function slope(values: readonly number[], count: number): number {
  const y = values.slice(0, count);
  const [mx, my] = [(y.length - 1) / 2, mean(y)];
  let [top, bottom] = [0, 0];
  y.forEach((v, i) => {
    top += (i - mx) * (v - my);
    bottom += (i - mx) ** 2;
  });
  return top / bottom;
}

/** `rewards(run, arm, seed)`: the training reward of each step. */
export function claimsOf(
  runs: readonly Results[],
  rewards: (run: Results, arm: string, seed: number) => readonly number[],
): Claim[] {
  const rl = runs.filter(({ run }) => run.kind === 'grpo' || run.kind === 'rloo');
  const grpo = runs.filter(({ run }) => run.kind === 'grpo');
  const supervised = runs.filter(({ run }) => run.kind === 'supervised');
  const { fullSteps, classifierSteps } = runs[0]!.run.plan.scale;
  const total = fullSteps + classifierSteps;
  const early = Math.min(20, fullSteps);
  const cfId = 'cf-10';

  return [
    claim(
      'Features vary little: ⟨φ, φ′⟩ is mostly positive and cosines are high.',
      'The paper tabulates prompts of a 2.8-billion-parameter model; this model has 64 dimensions, and its features change with the position in the answer.',
      [
        across('between prompts: mean cosine ≥ .5 and ≥ 90 % positive', grpo, (run) => {
          const [cosine, positive] = [
            interval(run.of('base', 0, (r) => r.dynamics!.cosine.prompts)),
            interval(run.of('base', 0, (r) => r.dynamics!.cosine.promptsPositive)),
          ];
          return {
            met: cosine.n === 0 ? undefined : cosine.mean >= 0.5 && positive.mean >= 0.9,
            text: `cosine ${number(cosine.mean, 2)}, ${number(100 * positive.mean, 0)} % positive`,
          };
        }),
        across('between states at equal positions of different answers: the same', grpo, (run) => {
          const [cosine, positive] = [
            interval(run.of('base', 0, (r) => r.dynamics!.cosine.samePosition)),
            interval(run.of('base', 0, (r) => r.dynamics!.cosine.samePositionPositive)),
          ];
          return {
            met: cosine.n === 0 ? undefined : cosine.mean >= 0.5 && positive.mean >= 0.9,
            text: `cosine ${number(cosine.mean, 2)}, ${number(100 * positive.mean, 0)} % positive`,
          };
        }),
        across('between all states: the same', grpo, (run) => {
          const [cosine, positive] = [
            interval(run.of('base', 0, (r) => r.dynamics!.cosine.all)),
            interval(run.of('base', 0, (r) => r.dynamics!.cosine.allPositive)),
          ];
          return {
            met: cosine.n === 0 ? undefined : cosine.mean >= 0.5 && positive.mean >= 0.9,
            text: `cosine ${number(cosine.mean, 2)}, ${number(100 * positive.mean, 0)} % positive`,
          };
        }),
      ],
    ),
    claim(
      'So the representation component raises confidence: entropy and diversity fall, and best-of-N gains over the base model narrow as N grows.',
      'The components are those of a plain ascent step; under Adam’s direction the gradient component does most.',
      [
        across(
          'at the base model, R of one plain step raises mean max-prob and lowers mean entropy at unseen states',
          grpo,
          (run) => {
            const [h, m, g] = [
              interval(run.of('base', 0, (r) => ascent(r).entropy.representation)),
              interval(run.of('base', 0, (r) => ascent(r).maxProb.representation)),
              interval(run.of('base', 0, (r) => ascent(r).entropy.gradient)),
            ];
            const adam = interval(
              run.of(
                'base',
                0,
                (r) => r.dynamics!.adam.entropy.gradient / r.dynamics!.adam.entropy.representation,
              ),
            );
            return {
              met: all([below(h), above(m)]),
              text: `dH/dη of R ${intervalText(h)}, of G ${intervalText(g)}; d max-prob/dη of R ${intervalText(m)}; under Adam’s direction G / R ${number(adam.mean, 1)}`,
            };
          },
        ),
        across(
          `after ${total} steps of standard RL entropy on own samples and different answers per prompt have fallen`,
          rl,
          (run) => {
            const [h, d] = [
              interval(
                minus(
                  run.of('standard', total, (r) => r.onPolicy.entropy),
                  run.of('base', 0, (r) => r.onPolicy.entropy),
                ),
              ),
              interval(
                minus(
                  run.of('standard', total, (r) => r.distinct),
                  run.of('base', 0, (r) => r.distinct),
                ),
              ),
            ];
            return {
              met: all([below(h), below(d)]),
              text: `entropy ${intervalText(h)}, answers ${intervalText(d, 2)}`,
            };
          },
        ),
        across(
          'the best-of-8 gain of standard RL over the base model is smaller than its best-of-1 gain',
          rl,
          (run) => {
            const gap = (n: number) =>
              minus(run.of('standard', total, bestOf(n)), run.of('base', 0, bestOf(n)));
            const largest = run.at('base', run.seeds[0]!, 0)?.bestOf.at(-1)?.n ?? 1;
            const [one, most] = [gap(1), gap(largest)];
            return {
              met: above(interval(minus(one, most))),
              text: `best-of-1 ${intervalText(interval(one))}, best-of-${largest} ${intervalText(interval(most))}`,
            };
          },
        ),
      ],
    ),
    claim(
      'The gradient component needs a shaped W: how usefully the body learns depends on how far W is already shaped.',
      'Growth is ‖∂J/∂θ_φ‖², what a plain ascent step gains through the body per unit of learning rate. Scaling W makes it grow as well, without any shaping.',
      [
        across(
          'stage 1 of CF ×10, which leaves the body as it is, multiplies the body’s growth',
          rl,
          (run) => {
            const ratio = (arm: string, step: number) =>
              run
                .of(arm, step, (r) => Math.log(growth(r).gradient))
                .map((x, i) => x - run.of('base', 0, (r) => Math.log(growth(r).gradient))[i]!);
            const times = (i: Interval) =>
              `× ${number(Math.exp(i.mean), 2)} [${number(Math.exp(i.low), 2)}, ${number(Math.exp(i.high), 2)}]`;
            const own = interval(ratio(cfId, classifierSteps));
            const others = CF_MULTIPLIERS.filter((m) => m !== 10).map(
              (m) => `CF ×${m} ${times(interval(ratio(`cf-${m}`, classifierSteps)))}`,
            );
            const scaled =
              run.run.kind === 'grpo'
                ? [2, 4].map((c) => `W × ${c} untrained ${times(interval(ratio(`scale-${c}`, 0)))}`)
                : [];
            return { met: above(own), text: `${times(own)} (${[...others, ...scaled].join(', ')})` };
          },
        ),
        across(
          `training reward rises faster in the first ${early} steps of stage 2 of CF ×10 than in the first ${early} of standard RL`,
          rl,
          (run) => {
            const of = (arm: string, from: number) =>
              run.seeds.map((seed) => slope(rewards(run, arm, seed).slice(from), early));
            const [cf, standard] = [of(cfId, classifierSteps), of('standard', 0)];
            const difference = interval(minus(cf, standard));
            return {
              met: above(difference),
              text: `${number(1000 * mean(cf.filter(Number.isFinite)), 1)} against ${number(1000 * mean(standard.filter(Number.isFinite)), 1)} thousandths a step, difference ${intervalText({ ...difference, mean: 1000 * difference.mean, low: 1000 * difference.low, high: 1000 * difference.high }, 1)}`,
            };
          },
        ),
      ],
    ),
    claim(
      'CF-RL: stage 1 alone moves the reward little; stage 2 then optimises faster than standard RL at the same number of stage-2 steps, and confidence rises.',
      'Equal stage-2 steps leave out the cost of stage 1. At equal total steps, sampled tokens and wall time see the comparison tables; one stage with a larger learning rate on W is the control to beat.',
      [
        across('stage 1 of CF ×10 brings less than a quarter of its whole gain in pass@1', rl, (run) => {
          const base = run.of('base', 0, passAt1);
          const [first, last] = [
            interval(minus(run.of(cfId, classifierSteps, passAt1), base)),
            interval(minus(run.of(cfId, total, passAt1), base)),
          ];
          return {
            met: first.n === 0 || last.n === 0 || last.mean === 0 ? undefined : first.mean < last.mean / 4,
            text: `${number(100 * (first.mean / last.mean), 0)} % (${intervalText(first)} of ${intervalText(last)})`,
          };
        }),
        across('CF ×10 is ahead of standard RL at equal full steps', rl, (run) => {
          const gains = comparisonsOf(run).find((c) => c.arm === cfId)!.gains;
          return {
            met: above(gains['full steps']),
            text: `${intervalText(gains['full steps'])}; at equal total steps ${intervalText(gains['total steps'])}`,
          };
        }),
        across('max-prob on fixed text rises from the base model to the end of CF ×10', rl, (run) => {
          const rise = interval(
            minus(
              run.of(cfId, total, (r) => r.fixed!.maxProb),
              run.of('base', 0, (r) => r.fixed!.maxProb),
            ),
          );
          return { met: above(rise), text: intervalText(rise) };
        }),
      ],
    ),
    claim(
      'It is not LP-FT: supervised LP-FT gains by a larger classifier norm and less feature distortion; under CF-RL neither explains the gain.',
      'The norm part compares with the base model’s classifier multiplied by 2, which has twice the norm and is not trained at all. Multiplied by more it sharpens further, and may reach as much pass@1 by sampling less, but its greedy answers stay the base model’s.',
      [
        across(
          'supervised, from a new W: LP-FT ends with less feature drift and a larger ‖W‖ than FT',
          supervised,
          (run) => {
            const drift = interval(
              minus(
                run.of('lp-ft-new', undefined, (r) => r.dynamics!.featureDrift),
                run.of('ft-new', undefined, (r) => r.dynamics!.featureDrift),
              ),
            );
            const norm = interval(
              minus(
                run.of('lp-ft-new', undefined, (r) => r.dynamics!.classifierNorm),
                run.of('ft-new', undefined, (r) => r.dynamics!.classifierNorm),
              ),
            );
            const pass = interval(
              minus(run.of('lp-ft-new', undefined, passAt1), run.of('ft-new', undefined, passAt1)),
            );
            return {
              met: all([below(drift), above(norm)]),
              text: `drift ${intervalText(drift)}, ‖W‖ ${intervalText(norm, 2)}, pass@1 ${intervalText(pass)}`,
            };
          },
        ),
        across('CF ×10 does not distort features less than standard RL at equal full steps', rl, (run) => {
          const drift = interval(
            minus(
              run.of(cfId, total, (r) => r.dynamics!.featureDrift),
              run.of('standard', fullSteps, (r) => r.dynamics!.featureDrift),
            ),
          );
          return { met: drift.n === 0 ? undefined : !below(drift), text: `drift ${intervalText(drift)}` };
        }),
        across(
          'CF ×10 has a smaller ‖W‖ than 2 × the base model’s and yet a higher pass@1 than W × 2',
          grpo,
          (run) => {
            const norm = interval(
              run
                .of(cfId, total, (r) => r.dynamics!.classifierNorm)
                .map((x, i) => x / run.of('base', 0, (r) => r.dynamics!.classifierNorm)[i]!),
            );
            const pass = interval(minus(run.of(cfId, total, passAt1), run.of('scale-2', 0, passAt1)));
            return {
              met: norm.n === 0 ? undefined : all([norm.mean < 2, above(pass)]),
              text: `‖W‖ × ${number(norm.mean, 2)}; pass@1 ${intervalText(pass)} over W × 2 (CF ×10 reaches ${number(interval(run.of(cfId, total, passAt1)).mean)}, W × 6 untrained ${number(interval(run.of('scale-6', 0, passAt1)).mean)})`,
            };
          },
        ),
      ],
    ),
  ];
}
