/**
 * From a run to what a reader should see: curves with seed bands, the evaluation table, a verdict. Pages and
 * terminals only lay it out.
 */
import { mean, standardDeviation } from '../evaluation/estimators.js';
import type { DefinitionKey } from './definitions.js';
import { type Arm, type EvaluationRecord, groupBy, type MetricsLine, type Run } from './readRun.js';

export interface Point {
  readonly x: number;
  readonly mean: number;
  /** Over seeds; 0 for one seed. */
  readonly deviation: number;
}
export interface Curve {
  readonly arm: Arm;
  /** Place of the arm in the run: its colour everywhere. */
  readonly index: number;
  readonly points: readonly Point[];
}
export interface Figure {
  readonly id: string;
  readonly title: string;
  readonly definition: DefinitionKey;
  readonly curves: readonly Curve[];
  /** Drawn as points joined by lines rather than a dense curve. */
  readonly markers: boolean;
}

export interface Cell {
  readonly mean: number;
  readonly deviation: number;
  readonly count: number;
}
export interface Column {
  readonly key: string;
  readonly label: string;
  readonly definition: DefinitionKey;
  /** Whose text a distribution was measured on. */
  readonly qualifier?: 'fixed' | 'onPolicy';
  readonly digits: number;
}
/** For where there is no room for the definition's name. */
export const shortLabel = ({ label, qualifier }: Column) =>
  qualifier ? `${label}/${qualifier === 'fixed' ? 'fixed' : 'own'}` : label;

export interface Row {
  readonly label: string;
  readonly armIndex: number;
  readonly cells: readonly (Cell | undefined)[];
}

export type Tone = 'good' | 'warn' | 'bad' | 'none';
export interface Verdict {
  readonly tone: Tone;
  readonly headline: string;
  readonly sentences: readonly { readonly tone: Tone; readonly text: string }[];
}

export interface Content {
  readonly verdict: Verdict;
  readonly figures: readonly Figure[];
  /** From analysis.record. */
  readonly watched: readonly Figure[];
  readonly columns: readonly Column[];
  readonly rows: readonly Row[];
  /** Seeds that anything is known of. */
  readonly seeds: number;
}

const TRAINING_FIGURES: readonly {
  id: string;
  title: string;
  definition: DefinitionKey;
  keys: readonly string[];
}[] = [
  { id: 'reward', title: 'Reward in training', definition: 'reward', keys: ['reward'] },
  { id: 'entropy', title: 'Entropy', definition: 'entropy', keys: ['entropy'] },
  { id: 'max-prob', title: 'Max-prob', definition: 'maxProb', keys: ['max_prob'] },
  { id: 'grad-norm', title: 'Gradient norm', definition: 'gradNorm', keys: ['grad_norm'] },
  { id: 'length', title: 'Completion length', definition: 'length', keys: ['completions/mean_length'] },
  { id: 'kl', title: 'KL to the start', definition: 'kl', keys: ['kl'] },
];

/** Keys of analysis.jsonl, nested names joined by '/'. */
const WATCHED_FIGURES: typeof TRAINING_FIGURES = [
  {
    id: 'step-r',
    title: 'The step’s effect on entropy: R',
    definition: 'stepR',
    keys: ['explained/entropy/representation'],
  },
  {
    id: 'step-g',
    title: 'The step’s effect on entropy: G',
    definition: 'stepG',
    keys: ['explained/entropy/gradient'],
  },
  {
    id: 'step-error',
    title: 'Prediction error of the step',
    definition: 'stepError',
    keys: ['explained/relativeError'],
  },
  { id: 'fixed-entropy', title: 'Entropy on fixed text', definition: 'entropy', keys: ['entropy'] },
  { id: 'drift', title: 'Feature drift', definition: 'featureDrift', keys: ['featureDrift'] },
  {
    id: 'classifier-moved',
    title: 'Classifier moved',
    definition: 'classifierMoved',
    keys: ['classifierMoved'],
  },
  { id: 'mean-cosine', title: 'Mean cosine of features', definition: 'cosine', keys: ['meanCosine'] },
  {
    id: 'effective-rank',
    title: 'Effective rank of the kernel',
    definition: 'effectiveRank',
    keys: ['kernel/effectiveRank'],
  },
  {
    id: 'alignment',
    title: 'Alignment of the kernel with the first',
    definition: 'kernelAlignment',
    keys: ['kernel/alignment'],
  },
  {
    id: 'sampled-distinct',
    title: 'Different completions per prompt',
    definition: 'distinct',
    keys: ['sampled/distinct'],
  },
  { id: 'sampled-best', title: 'Best of n', definition: 'bestOfN', keys: ['sampled/bestOfN'] },
];

function overSeeds(values: readonly number[]): Cell | undefined {
  const finite = values.filter(Number.isFinite);
  return finite.length === 0
    ? undefined
    : { mean: mean(finite), deviation: standardDeviation(finite), count: finite.length };
}

/** The first colour is the base model's, also where there is none. */
export const colourOf = (arms: readonly Arm[], arm: Arm | undefined) =>
  arm === undefined ? -1 : arms.indexOf(arm) + (arms[0]!.id === 'base' ? 0 : 1);

function curve(arm: Arm, index: number, samples: readonly { x: number; y: number }[]): Curve {
  const byStep = [...groupBy(samples, ({ x }) => x)].sort(([a], [b]) => a - b);
  const points = byStep.map(([x, group]) => ({ x, ...overSeeds(group.map(({ y }) => y))! }));
  return { arm, index, points };
}

function curvesOf(
  arms: readonly Arm[],
  lines: readonly MetricsLine[],
  figures: typeof TRAINING_FIGURES,
): Figure[] {
  const byArm = groupBy(lines, (line) => line.arm);
  return figures.map(({ id, title, definition, keys }): Figure => {
    const value = (line: MetricsLine) => keys.map((key) => line.values[key]).find((v) => v !== undefined);
    const curves = arms.map((arm) =>
      curve(
        arm,
        colourOf(arms, arm),
        (byArm.get(arm.id) ?? [])
          .map((line) => ({ x: line.step, y: value(line) ?? NaN }))
          .filter(({ y }) => Number.isFinite(y)),
      ),
    );
    return {
      id,
      title,
      definition,
      markers: false,
      curves: curves.filter(({ points }) => points.length > 0),
    };
  });
}

/** Every arm starts at the base model. */
function evaluationFigure({ summary }: Run): Figure {
  const trained = summary.arms.filter((arm) =>
    summary.evaluations.some((e) => e.arm === arm.id && e.step > 0),
  );
  const start = summary.evaluations.filter((e) => e.arm === 'base');
  const curves = trained.map((arm) => {
    const own = summary.evaluations.filter((e) => e.arm === arm.id && e.step > 0);
    const samples = [...start, ...own]
      .filter((e) => Number.isFinite(e.passAt1))
      .map((e) => ({ x: e.step, y: e.passAt1 }));
    return curve(arm, colourOf(summary.arms, arm), samples);
  });
  return {
    id: 'pass-at-1',
    title: 'Right answers on held-out prompts',
    definition: 'passAt1',
    markers: true,
    curves: curves.filter(({ points }) => points.length > 1),
  };
}

const COLUMNS: readonly (Column & { readonly value: (e: EvaluationRecord) => number | undefined })[] = [
  { key: 'passAt1', label: 'pass@1', definition: 'passAt1', digits: 3, value: (e) => e.passAt1 },
  { key: 'passAtK', label: 'pass@k', definition: 'passAtK', digits: 3, value: (e) => e.passAtK },
  { key: 'greedy', label: 'greedy', definition: 'greedy', digits: 3, value: (e) => e.greedy },
  { key: 'distinct', label: 'distinct', definition: 'distinct', digits: 2, value: (e) => e.distinct },
  {
    key: 'maxProbFixed',
    label: 'max-prob',
    definition: 'maxProb',
    qualifier: 'fixed',
    digits: 3,
    value: (e) => e.fixed?.maxProb,
  },
  {
    key: 'maxProbOwn',
    label: 'max-prob',
    definition: 'maxProb',
    qualifier: 'onPolicy',
    digits: 3,
    value: (e) => e.onPolicy?.maxProb,
  },
  {
    key: 'entropyFixed',
    label: 'entropy',
    definition: 'entropy',
    qualifier: 'fixed',
    digits: 3,
    value: (e) => e.fixed?.entropy,
  },
  {
    key: 'entropyOwn',
    label: 'entropy',
    definition: 'entropy',
    qualifier: 'onPolicy',
    digits: 3,
    value: (e) => e.onPolicy?.entropy,
  },
];

function table({ summary }: Run): { columns: Column[]; rows: Row[] } {
  const k = summary.evaluations.find((e) => Number.isFinite(e.k))?.k;
  const columns = COLUMNS.map(({ value: _, ...column }) =>
    column.key === 'passAtK' && k ? { ...column, label: `pass@${k}` } : column,
  );
  const rows = [...groupBy(summary.evaluations, (e) => e.row)].map(
    ([label, records]): Row => ({
      label,
      armIndex: colourOf(
        summary.arms,
        summary.arms.find((arm) => arm.id === records[0]!.arm),
      ),
      cells: COLUMNS.map(({ value }) => overSeeds(records.map((e) => value(e) ?? NaN))),
    }),
  );
  return { columns, rows };
}

const percent = (x: number) => `${Math.round(100 * x)}\u00a0%`;

/** Mean of the first or last fifth of a curve: single steps are noisy. */
function ends({ points }: Curve): { first: number; last: number; best: number } {
  const width = Math.max(1, Math.floor(points.length / 5));
  const window = (from: number) => mean(points.slice(from, from + width).map((p) => p.mean));
  const all = Array.from({ length: points.length - width + 1 }, (_, i) => window(i));
  return { first: all[0]!, last: all.at(-1)!, best: Math.max(...all) };
}

/** Fewer steps than this are noise. */
const STEPS_TO_JUDGE = 15;

/** Collapse: most of the best reward lost again, or no entropy left while the reward did not rise. */
function armVerdict(
  reward: Curve,
  entropy: Curve | undefined,
  final: Row | undefined,
  start: Row | undefined,
): { tone: Tone; text: string } {
  const r = ends(reward);
  const h = entropy && ends(entropy);
  const { label } = reward.arm;
  const gained = r.last - r.first;
  const change = `${r.first.toFixed(2)} → ${r.last.toFixed(2)}`;
  if (
    r.best > r.first &&
    r.last < r.first + 0.4 * (r.best - r.first) &&
    r.best - r.last > 0.1 * Math.abs(r.best)
  )
    return {
      tone: 'bad',
      text: `${label} collapsed: reward rose to ${r.best.toFixed(2)} and fell back to ${r.last.toFixed(2)}.`,
    };
  if (h && h.last < 0.05 * h.first && gained <= 0)
    return {
      tone: 'bad',
      text:
        `${label} collapsed: entropy is nearly gone (${h.first.toFixed(2)} → ${h.last.toFixed(2)}) and ` +
        `reward did not rise (${change}).`,
    };
  const variety =
    final?.cells[3] && start?.cells[3]
      ? `; different answers per prompt ${start.cells[3].mean.toFixed(1)} → ${final.cells[3].mean.toFixed(1)}`
      : '';
  const sharpness = h ? `, entropy ${h.first.toFixed(2)} → ${h.last.toFixed(2)}` : '';
  if (gained <= 0) return { tone: 'warn', text: `${label} did not learn: reward ${change}${sharpness}.` };
  return {
    tone: h && h.last < 0.1 * h.first ? 'warn' : 'good',
    text: `${label} learned and did not collapse: reward ${change}${sharpness}${variety}.`,
  };
}

function verdict(figures: readonly Figure[], rows: readonly Row[]): Verdict {
  const figure = (id: string) => figures.find((f) => f.id === id)?.curves ?? [];
  const rewards = figure('reward').filter((c) => c.points.length >= STEPS_TO_JUDGE);
  const start = rows.find((row) => row.armIndex >= 0 && !rewards.some((c) => c.index === row.armIndex));
  const judged = rewards.map((c) =>
    armVerdict(
      c,
      figure('entropy').find((e) => e.index === c.index),
      rows.findLast((row) => row.armIndex === c.index),
      start,
    ),
  );
  if (judged.length === 0)
    return {
      tone: 'none',
      headline: `Too short to judge: fewer than ${STEPS_TO_JUDGE} training steps.`,
      sentences: [],
    };
  const tones = judged.map(({ tone }) => tone);
  const tone = tones.includes('bad') ? 'bad' : tones.includes('warn') ? 'warn' : 'good';
  const best = rows
    .filter((row) => row.cells[0])
    .reduce<Row | undefined>((a, row) => (!a || row.cells[0]!.mean > a.cells[0]!.mean ? row : a), undefined);
  const headline =
    best && start?.cells[0]
      ? `${percent(start.cells[0].mean)} right before, ${percent(best.cells[0]!.mean)} after ${best.label}.`
      : tone === 'bad'
        ? 'This run collapsed.'
        : tone === 'warn'
          ? 'Look again: see below.'
          : 'Reward rose, and the run did not collapse.';
  return { tone, headline, sentences: judged };
}

export function contentOf(run: Run): Content {
  const { arms } = run.summary;
  const figures = [evaluationFigure(run), ...curvesOf(arms, run.metrics, TRAINING_FIGURES)];
  const watched = curvesOf(arms, run.watched, WATCHED_FIGURES);
  const { columns, rows } = table(run);
  const seeds = new Set([...run.metrics, ...run.summary.evaluations].map(({ seed }) => seed)).size;
  return {
    verdict: verdict(figures, rows),
    figures: figures.filter((f) => f.curves.length > 0),
    watched: watched.filter((f) => f.curves.length > 0),
    columns,
    rows,
    seeds,
  };
}
