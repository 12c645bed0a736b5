/**
 * The paper's five claims (arXiv 2601.04670), each with a criterion written down before the study's results
 * were read (the demo's were known), the verdict it gives and the numbers behind. A criterion has parts, each
 * asked of several runs; all met in all = reproduced, none in any = not reproduced, else partly.
 */
import { interval, type Interval, mean } from '../../evaluation/estimators.js';
import type { MarkRecord } from '../experiment/arms.js';
import { comparisonsOf, minus, passAt1, type Results } from './compare.js';
import { CF_MULTIPLIERS, isRl } from './studyPlan.js';

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

/** Mean and bounds; the mean alone where there is one value, '–' where there is none. */
export function intervalText({ mean: centre, low, high }: Interval, digits = 3): string {
  if (!Number.isFinite(centre)) return '–';
  if (!Number.isFinite(low)) return signed(centre, digits);
  return `${signed(centre, digits)} [${signed(low, digits)}, ${signed(high, digits)}]`;
}

/** How a part that is met, not met or unknown is marked. */
export function mark(met: boolean | undefined): string {
  if (met === undefined) return '?';
  return met ? '✓' : '✗';
}

const above = (i: Interval): boolean | undefined => (i.n === 0 ? undefined : i.low > 0);
const below = (i: Interval): boolean | undefined => (i.n === 0 ? undefined : i.high < 0);

/** undefined while one of them is, or there is none. */
export const allMet = (parts: readonly (boolean | undefined)[]): boolean | undefined =>
  parts.length === 0 || parts.includes(undefined) ? undefined : parts.every(Boolean);

function verdictOf(met: readonly (boolean | undefined)[]): ClaimVerdict {
  if (met.includes(undefined)) return 'unknown';
  if (met.every(Boolean)) return 'reproduced';
  return met.some(Boolean) ? 'partly' : 'not reproduced';
}

function judged(claim: string, care: string, parts: readonly ClaimPart[]): Claim {
  const met = parts.flatMap(({ runs }) => runs.map((run) => run.met));
  return { claim, verdict: verdictOf(met), parts, care };
}

/** One criterion asked of several runs. */
function across(
  criterion: string,
  runs: readonly Results[],
  measure: (run: Results) => { readonly met: boolean | undefined; readonly text: string },
): ClaimPart {
  return {
    criterion,
    runs: runs.map((run) => {
      const { met, text } = measure(run);
      return { run: run.run.id, met, evidence: text };
    }),
  };
}

const dynamics = (record: MarkRecord) => record.dynamics!;
const norm = (record: MarkRecord) => dynamics(record).classifierNorm;
const drift = (record: MarkRecord) => dynamics(record).featureDrift;
const bestOf = (n: number) => (record: MarkRecord) => record.bestOf.find((best) => best.n === n)!.reward;
const atBase = (run: Results, value: (record: MarkRecord) => number) => run.of('base', 0, value);

/** Least-squares slope over the first `count` values. */
export function slope(values: readonly number[], count: number): number {
  const y = values.slice(0, count);
  const centreX = (y.length - 1) / 2;
  const centreY = mean(y);
  let top = 0;
  let bottom = 0;
  y.forEach((value, i) => {
    top += (i - centreX) * (value - centreY);
    bottom += (i - centreX) ** 2;
  });
  return top / bottom;
}

/** The training reward of each step. */
type Rewards = (run: Results, arm: string, seed: number) => readonly number[];

/** What every claim is judged from: runs by kind, and the lengths of the plan. */
interface Evidence {
  readonly grpo: readonly Results[];
  /** GRPO and RLOO. */
  readonly rl: readonly Results[];
  readonly supervised: readonly Results[];
  readonly fullSteps: number;
  readonly classifierSteps: number;
  /** fullSteps + classifierSteps. */
  readonly total: number;
  readonly rewards: Rewards;
}

/** The arm that the claims about classifier-first RL are about, CF ×10. */
const CF = 'cf-10';

/** The paper's claims in its order. `rewards`: the training reward of each step. */
export function claimsOf(runs: readonly Results[], rewards: Rewards): Claim[] {
  const { fullSteps, classifierSteps } = runs[0]!.run.plan.scale;
  const evidence: Evidence = {
    grpo: runs.filter(({ run }) => run.kind === 'grpo'),
    rl: runs.filter(({ run }) => isRl(run)),
    supervised: runs.filter(({ run }) => run.kind === 'supervised'),
    fullSteps,
    classifierSteps,
    total: fullSteps + classifierSteps,
    rewards,
  };
  return [
    featuresVaryLittle(evidence),
    representationSharpens(evidence),
    gradientNeedsShapedClassifier(evidence),
    classifierFirstIsFaster(evidence),
    notLinearProbing(evidence),
  ];
}

type CosineKey = keyof NonNullable<MarkRecord['dynamics']>['cosine'];

function featuresVaryLittle({ grpo }: Evidence): Claim {
  const part = (criterion: string, cosineKey: CosineKey, positiveKey: CosineKey) =>
    across(criterion, grpo, (run) => {
      const cosine = interval(atBase(run, (r) => dynamics(r).cosine[cosineKey]));
      const positive = interval(atBase(run, (r) => dynamics(r).cosine[positiveKey]));
      return {
        met: cosine.n === 0 ? undefined : cosine.mean >= 0.5 && positive.mean >= 0.9,
        text: `cosine ${number(cosine.mean, 2)}, ${number(100 * positive.mean, 0)} % positive`,
      };
    });
  return judged(
    'Features vary little: ⟨φ, φ′⟩ is mostly positive and cosines are high.',
    'The paper tabulates prompts of a 2.8-billion-parameter model; this model has 64 dimensions, and its ' +
      'features change with the position in the answer.',
    [
      part('between prompts: mean cosine ≥ .5 and ≥ 90 % positive', 'prompts', 'promptsPositive'),
      part(
        'between states at equal positions of different answers: the same',
        'samePosition',
        'samePositionPositive',
      ),
      part('between all states: the same', 'all', 'allPositive'),
    ],
  );
}

function representationSharpens({ grpo, rl, total }: Evidence): Claim {
  const atTheStart = across(
    'at the base model, R of one plain step raises mean max-prob and lowers mean entropy at unseen states',
    grpo,
    (run) => {
      const entropyR = interval(atBase(run, (r) => dynamics(r).ascent.entropy.representation));
      const entropyG = interval(atBase(run, (r) => dynamics(r).ascent.entropy.gradient));
      const maxProbR = interval(atBase(run, (r) => dynamics(r).ascent.maxProb.representation));
      const adam = interval(
        atBase(run, (r) => dynamics(r).adam.entropy.gradient / dynamics(r).adam.entropy.representation),
      );
      return {
        met: allMet([below(entropyR), above(maxProbR)]),
        text:
          `dH/dη of R ${intervalText(entropyR)}, of G ${intervalText(entropyG)}; ` +
          `d max-prob/dη of R ${intervalText(maxProbR)}; under Adam’s direction G / R ${number(adam.mean, 1)}`,
      };
    },
  );
  const afterTraining = across(
    `after ${total} steps of standard RL entropy on own samples and different answers per prompt have fallen`,
    rl,
    (run) => {
      const change = (value: (r: MarkRecord) => number) =>
        interval(minus(run.of('standard', total, value), atBase(run, value)));
      const entropy = change((r) => r.onPolicy.entropy);
      const distinct = change((r) => r.distinct);
      return {
        met: allMet([below(entropy), below(distinct)]),
        text: `entropy ${intervalText(entropy)}, answers ${intervalText(distinct, 2)}`,
      };
    },
  );
  const bestOfN = across(
    'the best-of-8 gain of standard RL over the base model is smaller than its best-of-1 gain',
    rl,
    (run) => {
      const gain = (n: number) => minus(run.of('standard', total, bestOf(n)), atBase(run, bestOf(n)));
      const largest = run.at('base', run.seeds[0]!, 0)?.bestOf.at(-1)?.n ?? 1;
      const one = gain(1);
      const most = gain(largest);
      return {
        met: above(interval(minus(one, most))),
        text: `best-of-1 ${intervalText(interval(one))}, best-of-${largest} ${intervalText(interval(most))}`,
      };
    },
  );
  return judged(
    'So the representation component raises confidence: entropy and diversity fall, and best-of-N gains over ' +
      'the base model narrow as N grows.',
    'The components are those of a plain ascent step; under Adam’s direction the gradient component does most.',
    [atTheStart, afterTraining, bestOfN],
  );
}

function gradientNeedsShapedClassifier({ rl, fullSteps, classifierSteps, rewards }: Evidence): Claim {
  const early = Math.min(20, fullSteps);
  const growth = across(
    'stage 1 of CF ×10, which leaves the body as it is, multiplies the body’s growth',
    rl,
    (run) => {
      const logGrowth = (r: MarkRecord) => Math.log(dynamics(r).growth.gradient);
      const ratio = (arm: string, step: number) =>
        interval(minus(run.of(arm, step, logGrowth), atBase(run, logGrowth)));
      const times = (i: Interval) =>
        `× ${number(Math.exp(i.mean), 2)} [${number(Math.exp(i.low), 2)}, ${number(Math.exp(i.high), 2)}]`;
      const own = ratio(CF, classifierSteps);
      const others = CF_MULTIPLIERS.filter((m) => m !== 10).map(
        (m) => `CF ×${m} ${times(ratio(`cf-${m}`, classifierSteps))}`,
      );
      const scaled =
        run.run.kind === 'grpo'
          ? [2, 4].map((c) => `W × ${c} untrained ${times(ratio(`scale-${c}`, 0))}`)
          : [];
      return { met: above(own), text: `${times(own)} (${[...others, ...scaled].join(', ')})` };
    },
  );
  const faster = across(
    `training reward rises faster in the first ${early} steps of stage 2 of CF ×10 than in the first ${early} ` +
      'of standard RL',
    rl,
    (run) => {
      const slopes = (arm: string, from: number) =>
        run.seeds.map((seed) => slope(rewards(run, arm, seed).slice(from), early));
      const cf = slopes(CF, classifierSteps);
      const standard = slopes('standard', 0);
      const difference = interval(minus(cf, standard));
      const thousandths = {
        ...difference,
        mean: 1000 * difference.mean,
        low: 1000 * difference.low,
        high: 1000 * difference.high,
      };
      const rate = (values: readonly number[]) => number(1000 * mean(values.filter(Number.isFinite)), 1);
      return {
        met: above(difference),
        text:
          `${rate(cf)} against ${rate(standard)} thousandths a step, ` +
          `difference ${intervalText(thousandths, 1)}`,
      };
    },
  );
  return judged(
    'The gradient component needs a shaped W: how usefully the body learns depends on how far W is already ' +
      'shaped.',
    'Growth is ‖∂J/∂θ_φ‖², what a plain ascent step gains through the body per unit of learning rate. Scaling ' +
      'W makes it grow as well, without any shaping.',
    [growth, faster],
  );
}

function classifierFirstIsFaster({ rl, classifierSteps, total }: Evidence): Claim {
  const firstStage = across(
    'stage 1 of CF ×10 brings less than a quarter of its whole gain in pass@1',
    rl,
    (run) => {
      const base = atBase(run, passAt1);
      const first = interval(minus(run.of(CF, classifierSteps, passAt1), base));
      const last = interval(minus(run.of(CF, total, passAt1), base));
      const known = first.n > 0 && last.n > 0 && last.mean !== 0;
      const share = number(100 * (first.mean / last.mean), 0);
      return {
        met: known ? first.mean < last.mean / 4 : undefined,
        text: `${share} % (${intervalText(first)} of ${intervalText(last)})`,
      };
    },
  );
  const ahead = across('CF ×10 is ahead of standard RL at equal full steps', rl, (run) => {
    const { gains } = comparisonsOf(run).find(({ arm }) => arm === CF)!;
    return {
      met: above(gains['full steps']),
      text: `${intervalText(gains['full steps'])}; at equal total steps ${intervalText(gains['total steps'])}`,
    };
  });
  const surer = across('max-prob on fixed text rises from the base model to the end of CF ×10', rl, (run) => {
    const maxProb = (r: MarkRecord) => r.fixed!.maxProb;
    const rise = interval(minus(run.of(CF, total, maxProb), atBase(run, maxProb)));
    return { met: above(rise), text: intervalText(rise) };
  });
  return judged(
    'CF-RL: stage 1 alone moves the reward little; stage 2 then optimises faster than standard RL at the same ' +
      'number of stage-2 steps, and confidence rises.',
    'Equal stage-2 steps leave out the cost of stage 1. At equal total steps, sampled tokens and wall time see ' +
      'the comparison tables; one stage with a larger learning rate on W is the control to beat.',
    [firstStage, ahead, surer],
  );
}

function notLinearProbing({ grpo, rl, supervised, fullSteps, total }: Evidence): Claim {
  const linearProbing = across(
    'supervised, from a new W: LP-FT ends with less feature drift and a larger ‖W‖ than FT',
    supervised,
    (run) => {
      const difference = (value: (r: MarkRecord) => number) =>
        interval(minus(run.of('lp-ft-new', undefined, value), run.of('ft-new', undefined, value)));
      const lessDrift = difference(drift);
      const moreNorm = difference(norm);
      return {
        met: allMet([below(lessDrift), above(moreNorm)]),
        text:
          `drift ${intervalText(lessDrift)}, ‖W‖ ${intervalText(moreNorm, 2)}, ` +
          `pass@1 ${intervalText(difference(passAt1))}`,
      };
    },
  );
  const distortion = across(
    'CF ×10 does not distort features less than standard RL at equal full steps',
    rl,
    (run) => {
      const more = interval(minus(run.of(CF, total, drift), run.of('standard', fullSteps, drift)));
      return { met: more.n === 0 ? undefined : !below(more), text: `drift ${intervalText(more)}` };
    },
  );
  const classifierNorm = across(
    'CF ×10 has a smaller ‖W‖ than 2 × the base model’s and yet a higher pass@1 than W × 2',
    grpo,
    (run) => {
      const base = atBase(run, norm);
      const times = interval(run.of(CF, total, norm).map((x, i) => x / base[i]!));
      const pass = interval(minus(run.of(CF, total, passAt1), run.of('scale-2', 0, passAt1)));
      const reached = (arm: string, step: number) => number(interval(run.of(arm, step, passAt1)).mean);
      return {
        met: times.n === 0 ? undefined : allMet([times.mean < 2, above(pass)]),
        text:
          `‖W‖ × ${number(times.mean, 2)}; pass@1 ${intervalText(pass)} over W × 2 ` +
          `(CF ×10 reaches ${reached(CF, total)}, W × 6 untrained ${reached('scale-6', 0)})`,
      };
    },
  );
  return judged(
    'It is not LP-FT: supervised LP-FT gains by a larger classifier norm and less feature distortion; under ' +
      'CF-RL neither explains the gain.',
    'The norm part compares with the base model’s classifier multiplied by 2, which has twice the norm and is ' +
      'not trained at all. Multiplied by more it sharpens further, and may reach as much pass@1 by sampling ' +
      'less, but its greedy answers stay the base model’s.',
    [linearProbing, distortion, classifierNorm],
  );
}
